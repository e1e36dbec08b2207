"""Demand: how many workers the work needs. Pure arithmetic, the same for `halfstep up` and for the KEDA scaler."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Backlog:
    """One queue's work, counts capped. `alone`: suspects, a whole worker each, not in `ready`. `due`, `orphaned`: soon ready.

    oldest_seconds: how long the oldest task that could run has waited since it was due; 0 if none does.
    """

    queue: str
    weight: int
    paused: bool
    ready: int
    alone: int
    due: int
    running: int
    orphaned: int
    placement: str = "worker"
    cluster: str = ""
    oldest_seconds: float = 0.0

    @property
    def waiting(self) -> int:
        """Tasks that could start now, or are about to be able to."""
        return self.ready + self.alone + self.due + self.orphaned


@dataclass(frozen=True, slots=True)
class Bounds:
    """slots: bodies a worker runs at once, or pods that a launcher keeps. minimum and maximum: numbers of workers."""

    slots: int
    minimum: int = 0
    maximum: int = 1

    def clamp(self, workers: int) -> int:
        """The nearest number that is allowed."""
        return max(self.minimum, min(self.maximum, workers))


def is_active(backlogs: Iterable[Backlog]) -> bool:
    """Whether anything waits or runs: as long as it does, the last worker must not go."""
    return any(b.waiting or b.running for b in backlogs)


def wanted_workers(backlogs: Iterable[Backlog], bounds: Bounds) -> int:
    """ceil((ready + running) / slots), plus one worker for every task that must run alone, within the bounds.

    Pods of a launcher count as running: they take its capacity and no slot of a worker.
    """
    seen = list(backlogs)
    shared = sum(b.ready + b.due + b.orphaned + b.running for b in seen)
    lone = sum(b.alone for b in seen)
    return bounds.clamp(ceil(shared / bounds.slots) + lone)


MOST_COUNTED = 100_000
"""Nobody counts further: about 20 ms of reading."""


def useful_cap(bounds: Bounds, *, target_wait: float = 0.0, shortest_mean: float = 1.0) -> int:
    """How far counting can change the answer: the tasks that `maximum` workers start at once, or within `target_wait` seconds."""
    rounds = max(1.0, target_wait / max(shortest_mean, 0.001))
    return min(MOST_COUNTED, ceil(bounds.maximum * bounds.slots * rounds) + 1)


def wanted_for_latency(
    backlogs: Iterable[Backlog],
    bounds: Bounds,
    *,
    target_wait: float,
    mean_seconds: Mapping[tuple[str, str], float],
    cap: int | None = None,
) -> int:
    """The workers with which every waiting task starts within `target_wait` seconds of being due, within the bounds.

    A task that starts t seconds from now has seen S slots busy for t seconds: S * t <= the work ahead of it (greedy list
    scheduling, R. L. Graham 1966). So work / (what is left of the target for the oldest) slots are enough, and a slot a task
    always is. mean_seconds: run time by (queue, placement); a queue without one gets a slot a task. What runs may take as long
    as if it had just begun. cap: where counting stopped; who reaches it has more work than the maximum can do in time.
    """
    seen = list(backlogs)
    if cap is not None and any(max(b.ready, b.due) >= cap for b in seen):
        return bounds.maximum
    left = target_wait - max((b.oldest_seconds for b in seen if b.waiting), default=0.0)
    work, unknown, tasks = 0.0, 0, 0
    for backlog in seen:
        mean = mean_seconds.get((backlog.queue, backlog.placement))
        number = backlog.waiting - backlog.alone + backlog.running
        tasks += number
        work += number * (mean or 0.0)
        unknown += number if mean is None else 0
    slots = tasks if left <= 0 else min(tasks, unknown + ceil(work / left))
    slots = max(slots, sum(b.running for b in seen), min(tasks, 1))
    return bounds.clamp(ceil(slots / bounds.slots) + sum(b.alone for b in seen))


class Steady:
    """More at once, less only later: the most that was wanted within `hold` seconds; and in a panic not less at all.

    A panic begins when more than `ratio` times as much is wanted as on average within `stable` seconds, the last
    `panic_window` left out, and ends `stable` seconds after that was last so. Source: the two windows of Knative's
    autoscaler.
    """

    def __init__(self, hold: float = 30.0, *, stable: float = 60.0, panic_window: float = 6.0, ratio: float = 2.0) -> None:
        self._hold = hold
        self._stable = stable
        self._panic_window = panic_window
        self._ratio = ratio
        self._seen: deque[tuple[float, int]] = deque()
        self._panic_until = float("-inf")
        self._settled = 0

    @property
    def panicking(self) -> bool:
        """Whether the last answer was given in a panic."""
        return bool(self._seen) and self._seen[-1][0] < self._panic_until

    def settle(self, wanted: int, now: float) -> int:
        """What to have now: never less than `wanted`. now: monotonic seconds, never less than before."""
        self._look_for_panic(wanted, now)
        self._seen.append((now, wanted))
        while self._seen[0][0] < now - max(self._hold, self._stable):
            self._seen.popleft()
        held = max(number for at, number in self._seen if at >= now - self._hold)
        self._settled = max(held, self._settled) if self.panicking else held
        return self._settled

    def _look_for_panic(self, wanted: int, now: float) -> None:
        usual = [number for at, number in self._seen if now - self._stable <= at <= now - self._panic_window]
        if usual and wanted > self._ratio * max(1.0, sum(usual) / len(usual)):
            self._panic_until = now + self._stable


class RunTimes(Generic[K]):
    """Mean run times of about the last `window` seconds, from totals that only grow; all-time ones where few have ended since."""

    def __init__(self, *, window: float = 600.0, enough: int = 20) -> None:
        self._window = window
        self._enough = enough
        self._seen: deque[tuple[float, dict[K, tuple[int, float]]]] = deque()

    def note(self, totals: Mapping[K, tuple[int, float]], *, now: float) -> dict[K, float]:
        """The means. totals: how many have ended ever, and their seconds in all. now: monotonic seconds."""
        if not self._seen or now - self._seen[-1][0] >= self._window / 10:
            self._seen.append((now, dict(totals)))
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._window:
            self._seen.popleft()
        before = self._seen[0][1]
        return {key: self._mean(value, before.get(key, (0, 0.0))) for key, value in totals.items() if value[0] > 0}

    def _mean(self, total: tuple[int, float], before: tuple[int, float]) -> float:
        count, seconds = total[0] - before[0], total[1] - before[1]
        if count < self._enough or seconds < 0:
            count, seconds = total
        return seconds / count
