"""Named points at which a test can make a process fail: free when off, switched on by the environment only.

HALFSTEP_FAILPOINTS="pod.create=kill,pod.settled=stop:0.5": at each point an action, with a probability (1 if none is given).
Actions: `kill` (SIGKILL to ourselves), `stop` (SIGSTOP: somebody must continue us), `raise` (RuntimeError).
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping

VARIABLE = "HALFSTEP_FAILPOINTS"
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def parse(text: str) -> dict[str, tuple[str, float]]:
    """{point: (action, probability)}. ValueError for what it can't read."""
    points = {}
    for item in filter(None, text.replace(" ", "").split(",")):
        name, _, act = item.partition("=")
        action, _, chance = act.partition(":")
        if action not in (*_SIGNALS, "raise"):
            raise ValueError(f"There is no failpoint action {action!r}.")
        points[name] = (action, float(chance or 1))
    return points


_active: Mapping[str, tuple[str, float]] = parse(os.environ.get(VARIABLE, ""))


def reach(point: str) -> None:
    """The code stands at this point. Nothing happens unless a test has asked for it."""
    if _active:
        _act(point)


def _act(point: str) -> None:
    action, chance = _active.get(point, ("", 0.0))
    if random.random() >= chance:
        return
    if action == "raise":
        raise RuntimeError(f"Failpoint {point}.")
    os.kill(os.getpid(), _SIGNALS[action])
