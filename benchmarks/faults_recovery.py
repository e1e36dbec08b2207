"""How soon a task runs again after its worker died, and after its worker was drained: with default settings. Uses tests/."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Collection
from contextlib import closing

from benchmarks.bars import Bar, Measure
from benchmarks.faults_siege import Camp, camp
from halfstep import limits
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from waiting import wait_until
from worker_processes import WorkerProcess

BODIES, ROUNDS = 10, 10
DEFAULTS = {
    "lease_seconds": limits.LEASE_SECONDS, "renew_seconds": limits.RENEW_SECONDS, "poll_seconds": limits.POLL_SECONDS,
    "slots": BODIES, "grace": 0.0,
}  # fmt: skip
DEATH_SECONDS, DRAIN_SECONDS = 30.0, 1.0


def recovery_bars(url: str) -> list[Bar]:
    """100 bodies whose worker is killed, 100 whose worker is drained. The given database is not used."""
    return [
        _bar("death to next start", moves(_kill), DEATH_SECONDS),
        _bar("drain to next start", moves(_drain), DRAIN_SECONDS),
    ]


def moves(end: Callable[[WorkerProcess], float]) -> list[float]:
    """Seconds from the end of a worker to the next start of each of its bodies, sorted. Two workers take turns."""
    with camp() as here, closing(Database(here.server.url)) as database:
        holder = _worker(here)
        seconds: list[float] = []
        for number in range(ROUNDS):
            file = here.folder / f"round-{number}"
            tasks = set(enqueue_many(database, [NewTask("python", here.effects.call(str(file), "effect_until"), {})] * BODIES))
            _starts(here, tasks, attempt=1)
            heir = _worker(here)
            at = end(holder)
            seconds += [start - at for start in _starts(here, tasks, attempt=2)]
            holder.kill()
            file.touch()
            holder = heir
        holder.kill()
        return sorted(seconds)


def _worker(here: Camp) -> WorkerProcess:
    worker = here.start(**DEFAULTS)
    wait_until(lambda: worker.log.stat().st_size, what="the start of a worker")
    return worker


def _starts(here: Camp, tasks: Collection[int], *, attempt: int) -> list[float]:
    """When their bodies began this attempt; waits for all."""

    def begun() -> list[float]:
        return [e.at for e in here.effects.read() if e.event == "start" and e.key[1] == attempt and e.key[0] in tasks]

    wait_until(lambda: len(begun()) == len(tasks), seconds=2 * DEATH_SECONDS, what=f"attempt {attempt} of {len(tasks)} bodies")
    return begun()


def _kill(worker: WorkerProcess) -> float:
    worker.kill()
    return time.time()


def _drain(worker: WorkerProcess) -> float:
    """From the signal on, as bodies are stopped without a grace here."""
    at = time.time()
    worker.signal(signal.SIGTERM)
    return at


def _bar(name: str, seconds: list[float], bound: float) -> Bar:
    p50, p99 = (seconds[math.ceil(len(seconds) * share) - 1] for share in (0.5, 0.99))
    return Bar(f"{name}, {len(seconds)} bodies: p50, p99", f"{p50:.2f}, {p99:.2f} s", f"p99 <= {bound:.0f} s", p99 <= bound)


MEASUREMENTS: dict[str, Measure] = {"recovery": recovery_bars}
