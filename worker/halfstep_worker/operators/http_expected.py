"""Which status codes a task takes for success."""

from __future__ import annotations

from typing import Any

from halfstep.errors import InvalidTask
from halfstep_worker.operators.arguments import word_for


def check_expected(expect: Any) -> None:
    """InvalidTask: not a status code, or a list of them."""
    for status in expect if isinstance(expect, list) else [expect]:
        if status is not None and (type(status) is not int or not 100 <= status <= 599):
            shown = status if type(status) is int else word_for(status)
            raise InvalidTask(f"Argument 'expect' of operator 'http' holds status codes (100 to 599), not {shown}.")


def is_expected(status: int, expect: Any) -> bool:
    """Whether the status is the expected one, one of the expected, or below 300 where none is named."""
    if expect is None:
        return 200 <= status <= 299
    return status in expect if isinstance(expect, list) else status == expect


def expected_words(expect: Any) -> str:
    """The expected codes for people."""
    if expect is None:
        return "200 to 299"
    return " or ".join(map(str, expect)) if isinstance(expect, list) else str(expect)
