"""One slot of a real pool with the real operators, used as a worker uses it."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from halfstep.outcomes import Failed, Lost, Outcome
from halfstep_worker.children import Ended, Event, Line, Pool, PoolSettings, Progress, TaskMessage, Unstarted, allowed_environment
from isolation.marked import sweep
from isolation.polluting import MEMORY_BYTES

TURN_SECONDS = 0.02
STOP_GRACE = 0.3


@dataclass(frozen=True, slots=True)
class Given:
    """A task to run; `key` is its own."""

    key: Hashable
    operator: str
    args: Mapping[str, Any]
    timeout: float | None = None


@dataclass(slots=True)
class Told:
    """What came of a task: its outcome, and by stream the lines that came before it."""

    outcome: Outcome | None = None
    lines: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    vain: int = 0
    unfinished: set[str] = field(default_factory=set)
    """Streams whose last line was told in part."""

    def add(self, stream: str, text: str, *, goes_on: bool) -> None:
        """A line, or more of one: a slow machine makes parts of what is written at once."""
        lines = self.lines[stream]
        if stream in self.unfinished:
            lines[-1] += text
        else:
            lines.append(text)
        (self.unfinished.add if goes_on else self.unfinished.discard)(stream)

    @property
    def end(self) -> str:
        """In a word: `succeeded`, `failed:REASON`."""
        name = type(self.outcome).__name__.lower()
        return f"{name}:{self.outcome.reason}" if isinstance(self.outcome, Failed) else name


class Bay:
    """A pool of one child. What comes back unstarted is given again, what runs too long is stopped: as the worker's desk does."""

    def __init__(self, loader_settings: Mapping[str, Any], **settings: Any) -> None:
        self.mark = f"isolation-{secrets.token_hex(8)}"
        given = {name: value for name, value in allowed_environment(os.environ).items() if not name.startswith("PYTEST_")}
        defaults = {
            "loader_settings": loader_settings,
            "slots": 1,
            "environment": given | {"ISOLATION_MARK": self.mark},
            "memory_bytes": MEMORY_BYTES,
            "sample_seconds": 0.1,
        }
        self.pool = Pool(PoolSettings(**(defaults | settings)))
        self.pool.start()

    def close(self) -> None:
        """Ends the pool, and whatever it left."""
        self.pool.stop(grace=0)
        sweep(self.mark)

    def run(self, tasks: Sequence[Given], *, seconds: float = 30.0) -> dict[Hashable, Told]:
        """All of them, queued at once on the same child as far as it takes them. AssertionError: not over after `seconds`."""
        known = {task.key: task for task in tasks}
        told = {key: Told() for key in known}
        waiting = deque(known)
        deadline = time.monotonic() + seconds
        while any(one.outcome is None for one in told.values()):
            assert time.monotonic() < deadline, f"hangs: {[key for key, one in told.items() if one.outcome is None]}"
            self._give(known, waiting)
            for event in self.pool.poll(TURN_SECONDS):
                _take(event, told, waiting)
            self._enforce_timeouts()
        return told

    def _give(self, known: Mapping[Hashable, Given], waiting: deque[Hashable]) -> None:
        child = next((child for child in self.pool.children if child.open), None)
        while child and child.open and waiting:
            task = known[waiting.popleft()]
            child.send(TaskMessage(task.key, 7, 1, task.operator, json.dumps(task.args), task.timeout))

    def _enforce_timeouts(self) -> None:
        now = time.monotonic()
        for current in [child.current for child in self.pool.children]:
            if current and current[0].timeout is not None and now - current[1] >= current[0].timeout:
                self.pool.stop_body(current[0].key, "timeout", grace=STOP_GRACE)


def _take(event: Event, told: dict[Hashable, Told], waiting: deque[Hashable]) -> None:
    key = getattr(event, "key", None)
    if key not in told or told[key].outcome is not None:
        return  # of somebody who is over: a worker writes it nowhere
    match event:
        case Line(stream=stream, text=text, goes_on=goes_on):
            told[key].add(stream, text, goes_on=goes_on)
        case Progress(text=text):
            told[key].lines["progress"].append(text)
        case Ended(outcome=Lost()) if not _is_guilty(key):  # through no fault of its own: a worker releases it
            told[key].lines.clear()
            waiting.append(key)
        case Ended(outcome=outcome, seconds=seconds):
            told[key].outcome, told[key].seconds = outcome, seconds
        case Unstarted(read=read):
            told[key].vain += read
            waiting.append(key)
            if told[key].vain == 3:  # as a worker does
                waiting.remove(key)
                told[key].outcome = Failed("Its process was killed each time.", "crash")


def _is_guilty(key: Hashable) -> bool:
    return isinstance(key, tuple) and key[0] == "guilty"
