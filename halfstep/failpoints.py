"""Named points at which a test can make a process fail: free when off, switched on by the environment only.

HALFSTEP_FAILPOINTS="pod.create=kill,finish.after=stop:0.5@6,claim.after=kill(0.3)": at each point an action, with a chance (1 if
none is given), from an age of the process in seconds on (0). Every verb has the points `<verb>.before` and `<verb>.after`, named
after its SQL file; the exchange also `claim.…` and `finish.…`, met only if it claims or finishes something.

Actions: `kill` (SIGKILL to ourselves), `kill(S)` (at some moment of the next S seconds), `stop` (SIGSTOP, once: somebody must
continue us), `delay(S)` (S seconds), `raise` (RuntimeError), `lose` (after a verb: it is done, and its reply never comes).
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

VARIABLE = "HALFSTEP_FAILPOINTS"
_FORM = re.compile(
    r"(?P<point>[\w.-]+)=(?P<action>kill|stop|delay|raise|lose)(\((?P<seconds>[\d.]+)\))?(:(?P<chance>[\d.]+))?(@(?P<age>[\d.]+))?"
)
SETTLED_SECONDS = 0.05
_began = time.monotonic()


@dataclass(frozen=True, slots=True)
class Failure:
    """What happens at a point. seconds: of the action; age: of the process, before which nothing happens."""

    action: str
    seconds: float = 0.0
    chance: float = 1.0
    age: float = 0.0


def parse(text: str) -> dict[str, Failure]:
    """{point: failure}. ValueError for what it can't read."""
    return dict(_read(item) for item in filter(None, text.replace(" ", "").split(",")))


def reach(point: str, lose: Callable[[], None] | None = None) -> None:
    """The code stands at this point. Nothing happens unless a test has asked for it. lose: what losing a reply means here."""
    if _active:
        _meet(point, lose)


def _read(item: str) -> tuple[str, Failure]:
    found = _FORM.fullmatch(item)
    if not found:
        raise ValueError(f"{item!r} is no failpoint; write point=action, like finish.after=kill or claim.after=delay(0.5):0.1@6.")
    seconds, chance, age = (float(found[name] or default) for name, default in (("seconds", 0), ("chance", 1), ("age", 0)))
    return found["point"], Failure(found["action"], seconds, chance, age)


def _meet(point: str, lose: Callable[[], None] | None) -> None:
    failure = _active.get(point)
    if failure and time.monotonic() - _began >= failure.age and random.random() < failure.chance:
        _act(point, failure, lose)


def _act(point: str, failure: Failure, lose: Callable[[], None] | None) -> None:
    match failure.action:
        case "kill" if failure.seconds:
            threading.Timer(random.uniform(0, failure.seconds), _signal, [signal.SIGKILL]).start()
        case "kill":
            _signal(signal.SIGKILL)
        case "stop":
            del _active[point]
            _signal(signal.SIGSTOP)
        case "delay":
            threading.Event().wait(failure.seconds)
        case "lose" if lose:
            lose()
        case _:
            raise RuntimeError(f"Failpoint {point}.")


def _signal(number: signal.Signals) -> None:
    """Another thread may be the one to take it: this one is not to go a step further meanwhile."""
    os.kill(os.getpid(), number)
    threading.Event().wait(SETTLED_SECONDS)


_active = parse(os.environ.get(VARIABLE, ""))
