"""The arguments of an operator as data: names, types, what is required. One check for all operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from halfstep.errors import InvalidTask

_WORDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. `kinds` are JSON types, none for any value; a required string may not be blank."""

    name: str
    kinds: tuple[type, ...]
    required: bool = False
    default: Any = None

    def accepts(self, value: object) -> bool:
        """Whether the value is of one of the kinds. true is no number, and a whole number is a number."""
        return not self.kinds or type(value) in self.kinds or (type(value) is int and float in self.kinds)

    @property
    def words(self) -> str:
        """The kinds for people: `a string or a list`."""
        return " or ".join(_WORDS[kind] for kind in self.kinds)


def word_for(value: object) -> str:
    """What a JSON value is, for people: `a list`."""
    return _WORDS.get(type(value), type(value).__name__)


def check_arguments(operator: str, arguments: Sequence[Argument], args: object) -> None:
    """InvalidTask, naming the argument, if `args` has an unknown or missing argument or one of a wrong type."""
    if not isinstance(args, dict):
        raise InvalidTask(f"The args of operator '{operator}' must be a JSON object, not {word_for(args)}.")
    if sum([argument.name in args for argument in arguments]) < len(args):
        unknown = next(name for name in args if all(name != argument.name for argument in arguments))
        raise InvalidTask(f"Operator '{operator}' has no argument '{unknown}'; known: {_names(arguments)}.")
    for argument in arguments:
        _check_argument(operator, argument, args.get(argument.name), arguments)


def with_defaults(arguments: Sequence[Argument], args: dict[str, Any]) -> dict[str, Any]:
    """`args` with the defaults of what is left out or null."""
    return {a.name: a.default if args.get(a.name) is None else args[a.name] for a in arguments}


def _check_argument(operator: str, argument: Argument, value: object, arguments: Sequence[Argument]) -> None:
    if value is None:
        if argument.required:
            raise InvalidTask(f"Operator '{operator}' needs the argument '{argument.name}'; known: {_names(arguments)}.")
        return
    if not argument.accepts(value):
        raise InvalidTask(f"Argument '{argument.name}' of operator '{operator}' must be {argument.words}, not {word_for(value)}.")
    if argument.required and isinstance(value, str) and not value.strip():
        raise InvalidTask(f"Argument '{argument.name}' of operator '{operator}' must not be empty.")


def _names(arguments: Sequence[Argument]) -> str:
    return ", ".join(argument.name for argument in arguments)


def check_strings(operator: str, name: str, values: dict[str, Any]) -> None:
    """InvalidTask unless every value of the object `values` is a string."""
    for key, value in values.items():
        if not isinstance(value, str):
            raise InvalidTask(f"'{key}' in argument '{name}' of operator '{operator}' must be a string, not {word_for(value)}.")
