"""Demand: how many workers the work needs. Pure arithmetic, the same for `halfstep up` and for the KEDA scaler."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Backlog:
    """One queue's work, counts capped. `alone`: suspects, a whole worker each, not in `ready`. `due`, `orphaned`: soon ready."""

    queue: str
    weight: int
    paused: bool
    ready: int
    alone: int
    due: int
    running: int
    orphaned: int

    @property
    def waiting(self) -> int:
        """Tasks that could start now, or are about to be able to."""
        return self.ready + self.alone + self.due + self.orphaned


@dataclass(frozen=True, slots=True)
class Bounds:
    """slots: bodies a worker runs at once. minimum and maximum: numbers of workers."""

    slots: int
    minimum: int = 0
    maximum: int = 1


def wanted_workers(backlogs: Iterable[Backlog], bounds: Bounds) -> int:
    """ceil((ready + running) / slots), plus one worker for every task that must run alone, within the bounds."""
    seen = list(backlogs)
    shared = sum(b.ready + b.due + b.orphaned + b.running for b in seen)
    lone = sum(b.alone for b in seen)
    return max(bounds.minimum, min(bounds.maximum, ceil(shared / bounds.slots) + lone))
