"""Waiting in tests: on a condition, with a deadline, never a bare sleep."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

QUIET_START = 0.1
"""Seconds in which a small Python program starts and ends while nothing else runs."""

PATIENCE = 150.0
"""Seconds. How long a test waits for what comes for certain, however busy the machine is. It bounds no promise, it ends a test
that hangs. Whoever gives another figure means it: the figure is what is tested."""
NEVER = 3600.0
"""Seconds, for a lease, a grace or a poll that must not be what something comes by: far longer than any test waits."""


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


def is_within(seconds: float, took: float) -> bool:
    """Whether something took no longer than it may, on a machine that is quiet. A busy one is granted as many times more, and as
    much again, as it takes longer just now to start a program than a quiet one: the bounds themselves are for benchmarks."""
    return took < seconds or took < seconds * 2 * _slowness()


def _slowness() -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import json, logging, subprocess"], check=True)
    return max(1.0, (time.monotonic() - begun) / QUIET_START)
