"""Which names queues and operators may have; the SQL function `halfstep.enqueue_many` has the same rules."""

from __future__ import annotations

import re

from halfstep.errors import InvalidSettings

_QUEUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_OPERATOR = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def check_queue_name(name: str) -> None:
    """Raises InvalidSettings unless a queue can be called that."""
    if not _QUEUE.fullmatch(name):
        raise InvalidSettings(f"A queue name has 1 to 63 letters, digits, dots, dashes or underscores, not {name!r}.")


def check_operator_name(name: str) -> None:
    """Raises InvalidSettings unless an operator can be called that."""
    if not _OPERATOR.fullmatch(name):
        raise InvalidSettings(f"An operator is a name of letters, digits, dots, dashes or underscores, not {name!r}.")
