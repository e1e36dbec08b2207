"""An operator of your own: halfstep enqueue shout '{"text": "hello"}'"""

from __future__ import annotations

from halfstep.errors import InvalidTask


class ShoutOperator:
    """Returns its text, louder."""

    name = "shout"

    def check(self, args: dict[str, object]) -> None:
        """Raises InvalidTask for args that can never work."""
        if not isinstance(args.get("text"), str):
            raise InvalidTask("Operator 'shout' needs the argument 'text', a string.")

    def run(self, args: dict[str, object]) -> object:
        """The result of the task."""
        return str(args["text"]).upper() + "!"
