"""Bodies that return, raise or say what can't be stored. Imported by workers."""

from __future__ import annotations

import math
from typing import Any

from halfstep import current
from halfstep.outcomes import Cancelled, Failed, Lost, Retry, Succeeded

_HALF = "half of a pair \ud800, a NUL \0, an escape \\u0000"


def returns(kind: str) -> object:
    """One of the values below."""
    return VALUES[kind]()


def raises() -> None:
    """A message that no database takes."""
    raise ValueError(_HALF)


def reports_nan() -> None:
    """Progress that is no JSON."""
    current().heartbeat({"done": math.nan})


def reports_past_the_check(text: str) -> None:
    """Progress that nobody looked at; it may be dropped."""
    current().link.heartbeat(text)


def says() -> str:
    """Lines that no database takes as they are."""
    current().log(_HALF)
    print(_HALF.encode("utf-8", "surrogatepass"), "\0", "x" * 100_000)
    return "said"


def takes(value: object) -> str:
    """Whatever it is given."""
    return type(value).__name__


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


VALUES: dict[str, Any] = {
    "nan": lambda: {"x": math.nan},
    "infinity": lambda: -math.inf,
    "nul": lambda: {"a\0": "b"},
    "half of a pair": lambda: _HALF,
    "bytes": lambda: b"raw",
    "set": lambda: {1},
    "deep": lambda: _deep(50_000),
    "large": lambda: "x" * 20_000_000,
    "a number of 5,000 digits": lambda: 10**5000,
    "a retry that never comes": lambda: Retry("later", 1e300),
    "a retry at no time": lambda: Retry("later", math.nan),
    "a retry in the past": lambda: Retry("later", -5),
    "a retry whose delay is a text": lambda: Retry("later", "soon"),  # type: ignore[arg-type]
    "no text at all": lambda: Failed(None, reason=None),  # type: ignore[arg-type]
    "a failure without end": lambda: Failed(_HALF * 100_000, reason="x" * 1000),
    "a success that is no JSON": lambda: Succeeded("{"),
    "a success of 5,000 digits": lambda: Succeeded("1" + "0" * 5000),
    "a cancel of half a text": lambda: Cancelled(_HALF),
    "a loss of half a text": lambda: Lost("lost", _HALF),
    "a success beyond all numbers": lambda: Succeeded("1e400000"),
}
