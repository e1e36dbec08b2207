"""Care that any long-lived process gives the queue: promote what is due, rescue from the dead, prune what is old, fold the tally.

Workers, `halfstep up` and the scaler each run one, so that nothing is stranded when no worker is there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from halfstep.administration import Administration
from halfstep.database import Row
from halfstep.errors import HalfstepError, NotPermitted, RefusedValue
from halfstep.events import emit
from halfstep.queue import Queue

REFUSED_SECONDS = 10.0
"""How long a promotion that was refused waits before it is tried again."""


@dataclass(slots=True)
class _Sighting:
    counter: int
    since: float
    last_look: float


class Observer:
    """Tells which leases have not moved for a whole lease of the observer's own monotonic time.

    Neither a clock jump of the server nor a gap in the looking (an outage, a frozen observer) can make a living worker look
    dead: a gap longer than a third of the lease starts the observation anew.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Sighting] = {}

    def look(self, leases: Sequence[Row], *, now: float) -> list[tuple[str, int]]:
        """The (worker, counter) of leases to mark dead. leases: rows of `Queue.leases`; now: monotonic seconds."""
        living = [row for row in leases if not row["dead"]]
        self._seen = {row["worker"]: self._sighting(row, now) for row in living}
        return [(row["worker"], row["counter"]) for row in living if now - self._seen[row["worker"]].since >= row["seconds"]]

    def _sighting(self, row: Row, now: float) -> _Sighting:
        before = self._seen.get(row["worker"])
        if before is None or before.counter != row["counter"] or now - before.last_look > row["seconds"] / 3:
            return _Sighting(row["counter"], now, now)
        before.last_look = now
        return before


class Caretaker:
    """`tick` does what is due and returns at once otherwise. Times are seconds of the clock given."""

    def __init__(self, queue: Queue, *, clock: Callable[[], float], promote_every: float = 0.7, look_every: float = 1.0) -> None:
        self._queue = queue
        self._clock = clock
        self._observer = Observer()
        self._promote_every = promote_every
        self._look_every = look_every
        self._next_promote = 0.0
        self._next_look = 0.0
        self._next_prune = clock() + random.uniform(5, 60)
        self._next_fold = clock() + random.uniform(5, 60)

    def next_due(self) -> float:
        """When `tick` has something to do again."""
        return min(self._next_promote, self._next_look)

    def tick(self, *, idle: bool = False) -> None:
        """Promotes and rescues when due; folds the tally about every minute; prunes about every hour, only while `idle`.

        Raises DatabaseUnavailable.
        """
        now = self._clock()
        if now >= self._next_promote:
            self._promote(now)
        if now >= self._next_look:
            self._look(now)
        if now >= self._next_fold:
            self._next_fold = now + random.uniform(40, 80)
            self._queue.fold()
        if idle and now >= self._next_prune:
            self._next_prune = now + random.uniform(3000, 4200)
            self._prune()

    def _promote(self, now: float) -> None:
        full = 1000
        try:
            promoted = self._queue.promote(batch=full)
        except RefusedValue as error:  # one task's; the care of all others goes on
            emit("promote.refused", error=error)
            self._next_promote = now + REFUSED_SECONDS
            return
        self._next_promote = now if promoted == full else now + self._promote_every * random.uniform(0.7, 1.0)

    def _look(self, now: float) -> None:
        leases = self._queue.leases()
        shortest = min((row["seconds"] for row in leases), default=10.0)
        self._next_look = now + min(self._look_every, shortest / 4) * random.uniform(0.7, 1.0)
        for worker, counter in self._observer.look(leases, now=now):
            if self._queue.mark_dead(worker, counter=counter):
                emit("worker.dead", worker=worker)
                self._next_look = now
        if any(row["dead"] for row in leases):
            rescued = self._queue.rescue()
            if rescued:
                emit("task.rescued", count=rescued)
                self._next_look = now

    def _prune(self) -> None:
        try:
            Administration(self._queue.database).prune()
        except NotPermitted:
            return  # a role that only works leaves retention to the owner of the schema
        except HalfstepError as error:
            emit("prune.failed", error=str(error))
