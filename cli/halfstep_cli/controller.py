"""How many local workers there are: by demand, with the arithmetic of the KEDA scaler. A step to test, and no loop of its own.

The controller polls: enqueue notifies only while a worker waits, so at zero workers there would be nothing to hear.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from halfstep.caretaker import Caretaker
from halfstep.demand import Backlog, Bounds, wanted_workers
from halfstep.queue import Queue
from halfstep_cli.crew import Fallen

STEP_SECONDS = 0.2
"""Between two steps: what a task at zero workers waits in addition to a worker's start."""
COOLDOWN_SECONDS = 2.0

_BUSY = """-- Processes of the workers that hold tasks.
SELECT DISTINCT w.pid FROM halfstep.task t JOIN halfstep.worker w ON w.id = t.worker_id WHERE t.state = 'running'"""


@dataclass(frozen=True, slots=True)
class Status:
    """What a step saw. waiting and running: tasks; wanted, workers and draining: workers."""

    waiting: int
    running: int
    wanted: int
    workers: int
    draining: int

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self.running


class Staff(Protocol):
    """The workers, as the controller sees them (`Crew`)."""

    @property
    def active(self) -> int: ...

    @property
    def draining(self) -> int: ...

    def start(self, count: int, /) -> None: ...

    def drain(self, count: int, /, *, keep: Collection[int]) -> None: ...

    def reap(self) -> None: ...

    def fallen(self) -> Sequence[Fallen]: ...


class Work(Protocol):
    """The queue, as the controller sees it (`QueueWork`)."""

    def backlogs(self) -> list[Backlog]: ...

    def busy(self) -> set[int]: ...

    def bury(self, fallen: Fallen, /) -> None: ...


class Cooldown:
    """More workers at once. Fewer only when fewer were enough for `seconds` without a break: the most wanted in that time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._most = 0

    def change(self, wanted: int, *, running: int, now: float) -> int:
        """Workers to start (positive) or to drain (negative). now: monotonic seconds."""
        if wanted >= running:
            self._since = None
            return wanted - running
        if self._since is None:
            self._since, self._most = now, wanted
        self._most = max(self._most, wanted)
        if now - self._since < self._seconds:
            return 0
        self._since = None
        return self._most - running


class Controller:
    """Brings the number of workers to what the work needs. Only idle workers are drained: a drain cuts long bodies short."""

    def __init__(
        self,
        work: Work,
        staff: Staff,
        bounds: Bounds,
        *,
        cooldown: float = COOLDOWN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._staff = staff
        self._bounds = bounds
        self._cooldown = Cooldown(cooldown)
        self._clock = clock
        self._idle_since: float | None = None

    def step(self) -> Status:
        """Looks at the work, and starts or drains workers. Raises DatabaseUnavailable, and what `Crew.reap` raises."""
        self._staff.reap()
        for one in self._staff.fallen():
            self._work.bury(one)
        backlogs = self._work.backlogs()
        wanted = wanted_workers(backlogs, self._bounds)
        self._apply(self._cooldown.change(wanted, running=self._staff.active, now=self._clock()))
        return self._status(backlogs, wanted)

    @property
    def idle_seconds(self) -> float:
        """How long there has been nothing to do."""
        return 0.0 if self._idle_since is None else self._clock() - self._idle_since

    def _apply(self, change: int) -> None:
        if change > 0:
            self._staff.start(change)
        elif change < 0:
            self._staff.drain(-change, keep=self._work.busy())

    def _status(self, backlogs: Sequence[Backlog], wanted: int) -> Status:
        waiting, running = sum(b.waiting for b in backlogs), sum(b.running for b in backlogs)
        status = Status(waiting, running, wanted, self._staff.active, self._staff.draining)
        if not status.idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._clock()
        return status


class QueueWork:
    """The work in SQL. Each look also takes care of the queue, so that nothing is stranded at zero workers."""

    def __init__(self, queue: Queue, queues: Sequence[str] = ()) -> None:
        self._queue = queue
        self._queues = list(queues) or None
        self._caretaker = Caretaker(queue, clock=time.monotonic)
        self._idle = False

    def backlogs(self) -> list[Backlog]:
        """How much there is to do. Raises DatabaseUnavailable."""
        self._caretaker.tick(idle=self._idle)
        seen = self._queue.measure(queues=self._queues)
        self._idle = not any(b.waiting or b.running for b in seen)
        return seen

    def bury(self, fallen: Fallen) -> None:
        """A worker of ours died: its tasks need not wait for its lease. If that can't be said, the lease ends."""
        if self._queue.died(fallen.name, host=fallen.host, code=fallen.code):
            self._queue.rescue()

    def busy(self) -> set[int]:
        """Process ids of workers that hold a task (those of other machines too, which does no harm)."""
        return {int(row["pid"]) for row in self._queue.database.execute(_BUSY)}
