"""Waiting in tests: on a condition, with a deadline, never a bare sleep."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 150.0
"""Seconds. How long a test waits for what comes for certain, however busy the machine is. It bounds no promise: it ends a test that
would hang. Whoever gives another figure means it: the figure is then what is tested."""


def wait_until(condition: Callable[[], T], *, seconds: float = PATIENCE, what: str = "the condition") -> T:
    """The first true value of `condition`, asked every 10 ms; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds:g} s"
        pause.wait(0.01)
