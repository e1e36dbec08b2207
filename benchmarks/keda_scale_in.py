"""Of 40 workers 20 are busy when they become too many: whom does scale-in hurt, with busy-aware scale-in and without?

One run: 40 real pods with one body each, all running; 20 of the bodies, drawn by lot, are cancelled; then 20 pods have to go. The
next run starts with the 20 that are left, so the busy ones of one run are older or younger than the others in the next.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from benchmarks.bars import Bar, Measure
from benchmarks.keda_ground import ENQUEUE, fleet, patch_of, tasks
from benchmarks.pods_ground import size, wait_until
from cluster.full_run import WORKERS, FullRun
from halfstep.database import Database
from halfstep.errors import HalfstepError
from halfstep.queue import Queue

RUNS = size("SCALE_INS", 10)
PLAIN_RUNS = size("PLAIN_SCALE_INS", 3)
MOST, BUSY = 40, 20
START_SECONDS, LEAVE_SECONDS = 300.0, 240.0
BODY = "sleep 7200"
SMALL = {"worker-slots": "1", "worker-max": str(MOST), "worker-cpu": "10m", "worker-memory": "256Mi"}
SHORT = {"worker-grace": "3", "worker-termination-grace": "20"}
AT_ONCE = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
HPA_LOWERS = patch_of(
    "ScaledObject", WORKERS, {"advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": AT_ONCE}}}}
)
RUNNING = "SELECT id FROM halfstep.task WHERE state = 'running' ORDER BY id"
INTERRUPTED = "SELECT task_id, outcome FROM halfstep.attempt WHERE outcome <> 'cancelled'"


@dataclass(slots=True)
class Tally:
    """Of all runs. seconds: from when 20 were idle until 20 pods were left."""

    runs: int = 0
    bodies: int = 0
    released: int = 0
    abandoned: int = 0
    lost: int = 0
    seconds: list[float] = field(default_factory=list)
    trouble: str = ""

    @property
    def times(self) -> str:
        """For people."""
        return f"{min(self.seconds):.0f}-{max(self.seconds):.0f} s" if self.seconds else "never"


def scale_in_bars(url: str) -> list[Bar]:
    """The given database is not used."""
    with fleet(components=["busy-aware"], settings=SMALL) as run:
        kind = _runs(run, RUNS)
    with fleet(settings=SMALL | SHORT, patches=[HPA_LOWERS]) as run:
        plain = _runs(run, PLAIN_RUNS)
    return [*_told(kind, "busy-aware", RUNS), *_told(plain, "by the HPA", PLAIN_RUNS)]


def _runs(run: FullRun, number: int) -> Tally:
    """As many as come to their end; the first that does not is the last."""
    tally, lot = Tally(), random.Random(1)
    with closing(Database(run.here.dsn)) as database:
        for _ in range(number):
            try:
                _once(run, tally, Queue(database), lot)
            except HalfstepError as error:
                tally.trouble = str(error)
                break
    return tally


def _once(run: FullRun, tally: Tally, queue: Queue, lot: random.Random) -> None:
    run.commit("DELETE FROM halfstep.attempt")
    run.commit(ENQUEUE, tasks(MOST - len(_running(run)), BODY))
    wait_until(lambda: len(_running(run)) == MOST == _pods(run), seconds=START_SECONDS, what=f"{MOST} busy workers", every=0.5)
    ids = _running(run)
    busy = set(lot.sample(ids, BUSY))
    for task in ids:
        if task not in busy:
            queue.cancel(task)
    wait_until(lambda: set(_running(run)) == busy, seconds=60, what="the others to be idle", every=0.5)
    idle_at = time.time()
    _wait_for_the_end(run, busy)
    tally.seconds.append(time.time() - idle_at)
    _count(run, tally, busy)


def _wait_for_the_end(run: FullRun, busy: set[int]) -> None:
    """Half of the pods are left, and no task waits that was handed back."""
    wait_until(lambda: run.replicas.now(WORKERS) == BUSY == _pods(run), seconds=LEAVE_SECONDS, what=f"{BUSY} workers", every=0.5)
    waiting = "SELECT count(*) FROM halfstep.task WHERE state <> 'running'"
    wait_until(lambda: run.one(waiting) == 0, seconds=60, what="the tasks that were handed back to run again", every=0.5)


def _count(run: FullRun, tally: Tally, busy: set[int]) -> None:
    ends = [outcome for task, outcome in run.rows(INTERRUPTED) if task in busy]
    tally.runs += 1
    tally.bodies += len(busy)
    tally.released += ends.count("released")
    tally.abandoned += len(ends) - ends.count("released")
    tally.lost += len(busy - set(_running(run)))


def _running(run: FullRun) -> list[int]:
    return [task for (task,) in run.rows(RUNNING)]


def _pods(run: FullRun) -> int:
    return len(run.here.pods(WORKERS))


def _told(tally: Tally, how: str, wanted: int) -> Sequence[Bar]:
    interrupted = tally.released + tally.abandoned
    done = tally.runs == wanted
    counts = f"of {tally.bodies} in {tally.runs} runs"
    lost = Bar(f"keda: scale-in {how}: tasks lost", f"{tally.lost} {counts}", tally.trouble or "0", done and tally.lost == 0)
    if how != "busy-aware":
        figure = f"{tally.released} released, {tally.abandoned} not ({tally.times})"
        return [lost, Bar(f"keda: scale-in {how}: bodies interrupted", figure, "all released", done and tally.abandoned == 0)]
    figure = f"{interrupted} {counts} ({tally.times})"
    return [Bar(f"keda: scale-in {how}: bodies interrupted", figure, tally.trouble or "0", done and interrupted == 0), lost]


MEASUREMENTS: dict[str, Measure] = {"scale-in": scale_in_bars}
