"""What a polluter is: a body that leaves its process other than it found it, and what is expected of its own end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MEMORY_BYTES = 320 * 2**20
"""What a body may use in these tests."""


@dataclass(frozen=True, slots=True)
class Polluter:
    """One polluting body."""

    name: str
    args: dict[str, Any]
    operator: str = "python"
    ends: tuple[str, ...] = ("succeeded",)
    """How its own task may end: `succeeded`, `failed`, or `failed:` and the reason."""
    told: str = ""
    """A word of the line by which its own log says why its child was replaced; none: the child may be put right instead."""
    timeout: float | None = None
    """Its time limit, for a body that hangs."""
    times: int = 1
    """How many such bodies run one after the other."""
    root: bool = field(default=False)
    """Whether it takes root to do it."""


TABLE: list[Polluter] = []
"""Filled by the modules `polluters_…`."""


def pollutes(
    *ends: str, told: str = "", timeout: float | None = None, times: int = 1, root: bool = False
) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Enters the decorated function into the table, as a body of operator `python`."""

    def enter(function: Callable[[], object]) -> Callable[[], object]:
        args = {"function": f"{function.__module__}:{function.__qualname__}"}
        name = f"{function.__module__.rpartition('_')[2]}-{function.__qualname__}"
        TABLE.append(Polluter(name, args, "python", ends or ("succeeded",), told, timeout, times, root))
        return function

    return enter
