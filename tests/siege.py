"""Workers under siege: each is killed or frozen at a failpoint of its own, and the server crashes, while work goes on."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from effects import Effects
from halfstep.database import Database
from halfstep.errors import DatabaseUnavailable
from halfstep.producer import NewTask, enqueue_many
from own_server import OwnServer
from waiting import wait_until
from worker_processes import WorkerProcess

POINTS = (
    "register.after", "claim.before", "claim.after", "finish.before", "finish.after", "renew.before", "renew.after",
    "write_log.before", "write_log.after", "promote.after", "leases.after", "rescue.before", "rescue.after", "mark_dead.after",
)  # fmt: skip
"""Where a fate may strike. Some are met rarely: who does not meet his within PATIENCE is killed wherever he stands."""
PATIENCE = 5.0
LEASE = 3.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one worker. age: seconds of its life before it may happen."""

    point: str
    action: str
    age: float

    @property
    def failpoint(self) -> str:
        """As the environment tells it. After a claim the kill comes at some moment of the next bodies."""
        within = "(0.2)" if self.action == "kill" and self.point == "claim.after" else ""
        return f"{self.point}={self.action}{within}@{self.age:.1f}"


def plan(kills: int, stops: int, *, seed: int, ages: tuple[float, float]) -> list[Fate]:
    """Fates in random order; every point as often as it fits. Who is to stop does so at half the age, as he is killed later."""
    dice = random.Random(seed)
    actions = ["kill"] * kills + ["stop"] * stops
    points = [POINTS[n % len(POINTS)] for n in range(len(actions))]
    dice.shuffle(points)
    dice.shuffle(actions)
    return [
        Fate(point, action, dice.uniform(*ages) / (2 if action == "stop" else 1))
        for point, action in zip(points, actions, strict=True)
    ]


@dataclass(slots=True)
class Victim:
    """A worker and its fate. Times are monotonic."""

    worker: WorkerProcess
    fate: Fate | None
    born: float
    frozen_at: float | None = None
    woken_at: float | None = None
    died_at: float | None = None

    def step(self, now: float, frozen_for: float) -> None:
        """Takes its life a step further."""
        if self.worker.process.poll() is not None:
            self.died_at = now
        elif self.fate and self.fate.action == "stop" and self.woken_at is None:
            self._freeze(now, frozen_for)
        elif self.fate and now > (self.woken_at or self.born + self.fate.age) + PATIENCE:
            self.worker.signal(signal.SIGKILL)

    def _freeze(self, now: float, frozen_for: float) -> None:
        if self.frozen_at is None:
            if is_stopped(self.worker.process.pid):
                self.frozen_at = now
            elif self.fate and now > self.born + self.fate.age + PATIENCE:
                self.worker.signal(signal.SIGSTOP)
        elif now - self.frozen_at > frozen_for:
            self.woken_at = now
            self.worker.signal(signal.SIGCONT)


@dataclass(slots=True)
class Siege:
    """`crew` workers at a time, until all fates have been met; then workers without one, until `stop`. Used by one thread."""

    start: Callable[..., WorkerProcess]
    fates: list[Fate]
    crew: int
    frozen_for: float = 2 * LEASE
    variant: str = ""
    living: list[Victim] = field(default_factory=list)
    dead: list[Victim] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether every fate has been met and every frozen worker was woken."""
        return not self.fates and all(victim.fate is None or victim.woken_at for victim in self.living)

    def step(self) -> None:
        """Looks after everybody once."""
        now = time.monotonic()
        for victim in self.living:
            victim.step(now, self.frozen_for)
        self.dead += [victim for victim in self.living if victim.died_at]
        self.living = [victim for victim in self.living if not victim.died_at]
        while len(self.living) < self.crew:
            self.living.append(self._next(now))

    def stop(self) -> list[int]:
        """Those who live are drained; their exit codes."""
        for victim in self.living:
            victim.worker.signal(signal.SIGCONT)
            wait_until(lambda worker=victim.worker: worker.log.stat().st_size, what="the start of a worker")
            victim.worker.signal(signal.SIGTERM)
        return [victim.worker.wait() for victim in self.living]

    def done(self) -> Counter[str]:
        """How many were killed and how many frozen."""
        everybody = self.dead + self.living
        killed = sum(victim.worker.process.poll() == -signal.SIGKILL for victim in everybody)
        return Counter(kill=killed, stop=sum(victim.frozen_at is not None for victim in everybody))

    def mean_life(self) -> float:
        """Seconds, of those who were killed. Time in the frost counts as life: nobody else lives it."""
        lives = [victim.died_at - victim.born for victim in self.dead if victim.died_at]
        return sum(lives) / len(lives) if lives else 0.0

    def complaints(self) -> list[str]:
        """Workers that ended by themselves, which none should."""
        return [
            f"{victim.worker.log}: exit code {victim.worker.process.returncode}"
            for victim in self.dead
            if victim.worker.process.returncode != -signal.SIGKILL
        ]

    def _next(self, now: float) -> Victim:
        fate = self.fates.pop() if self.fates else None
        number = len(self.dead) + len(self.living)
        worker = self.start(
            name=f"w{number}", lease_seconds=LEASE, renew_seconds=0.8, failpoints=fate.failpoint if fate else "",
            variant=self.variant,
        )  # fmt: skip
        return Victim(worker, fate, now)


class Producer(threading.Thread):
    """Enqueues `count` noted tasks over about `seconds`. What it was not told of it sends again, under the same key.

    mix: the functions of `noted` that they call, and their shares.
    """

    def __init__(
        self, url: str, effects: Effects, *, count: int, seconds: float, seed: int, mix: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(name="producer", daemon=True)
        self.acknowledged: list[int] = []
        self.repeated = 0
        self._url, self.effects, self._count, self._seconds = url, effects, count, seconds
        self._mix = dict(mix or {"effect": 1.0})
        self._dice = random.Random(seed)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Batches of a fifth of a second."""
        began, batch = time.monotonic(), max(1, round(self._count / self._seconds / 5))
        with closing(Database(self._url)) as database:
            for first in range(0, self._count, batch):
                self._stopped.wait(max(0.0, began + first / self._count * self._seconds - time.monotonic()))
                self._send(database, [self._task(n) for n in range(first, min(first + batch, self._count))])

    def _task(self, number: int) -> NewTask:
        seconds = self._dice.uniform(0.1, 0.5) if self._dice.random() < 0.05 else self._dice.uniform(0, 0.1)
        [function] = self._dice.choices(list(self._mix), weights=list(self._mix.values()))
        call = self.effects.call(round(seconds, 3), function)
        return NewTask("python", call, {"unique_key": f"siege-{number}", "unique_for": 86_400.0, "backoff_base": 0.1})

    def _send(self, database: Database, tasks: Sequence[NewTask]) -> None:
        while not self._stopped.is_set():
            try:
                self.acknowledged += enqueue_many(database, tasks)
                return
            except DatabaseUnavailable:
                self.repeated += len(tasks)
                self._stopped.wait(0.1)

    def stop(self) -> None:
        """Gives up."""
        self._stopped.set()


@dataclass(slots=True)
class Crashes:
    """Lets the server crash `times` times, once every so many seconds. Used by the siege's thread; waits for nothing."""

    server: OwnServer
    times: int
    every: float
    done: int = 0
    last_at: float = field(default_factory=time.monotonic)

    def step(self) -> None:
        """Crashes it when due."""
        now = time.monotonic()
        if self.done < self.times and now - self.last_at >= self.every:
            self.server.crash()
            self.server.start(wait=False)
            self.done, self.last_at = self.done + 1, now


def live_tasks(database: Database) -> int:
    """Tasks that have not ended; -1 while the server can't be asked."""
    try:
        return int(database.execute("SELECT count(*) AS n FROM halfstep.task")[0]["n"])
    except DatabaseUnavailable:
        return -1


def is_stopped(pid: int) -> bool:
    """Whether that process is frozen by a signal."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except FileNotFoundError:
        return False
