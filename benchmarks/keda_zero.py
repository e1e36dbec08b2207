"""Nothing is stranded at zero workers: a retry that falls due, and a task whose worker was killed.

What counts is how long a task waits once it may run, without what a worker's pod takes to start: scheduling, its container,
its interpreter, its registration. All times are those of this machine's clock, which is the database's too.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kubernetes.client import CustomObjectsApi

from benchmarks.bars import Bar, Measure
from benchmarks.keda_ground import ENQUEUE, fleet, kill, set_replicas, tasks, to_rest
from benchmarks.pods_ground import size, wait_until
from cluster.full_run import WORKERS, FullRun
from cluster.installation import SYSTEM, Installation
from halfstep.errors import HalfstepError

RETRY_SECONDS = size("RETRY_SECONDS", 60)
LATE_SECONDS = 5.0
START_SECONDS = 60.0
ENQUEUE_RETRY = """
SELECT halfstep.enqueue('bash', '{"command": "exit 1"}', max_attempts => 2,
                        backoff_base => %(seconds)s, backoff_cap => %(seconds)s)
"""
SECOND = """
SELECT extract(epoch FROM t.started_at)::float8, extract(epoch FROM w.started_at)::float8
FROM (SELECT worker_id, started_at, attempt FROM halfstep.task UNION ALL
      SELECT worker_id, started_at, attempt FROM halfstep.history) t
JOIN halfstep.worker w ON w.id = t.worker_id WHERE t.attempt = 2
"""
RESCUED = "SELECT extract(epoch FROM ended_at)::float8 FROM halfstep.attempt WHERE outcome = 'lost'"
DUE = "SELECT extract(epoch FROM run_at)::float8 FROM halfstep.task WHERE state = 'scheduled'"
RUNNING = "SELECT 1 FROM halfstep.task WHERE state = 'running'"
ALIVE = "SELECT count(*) FROM halfstep.lease WHERE dead_at IS NULL"


@dataclass(frozen=True, slots=True)
class Wait:
    """From when a task may run until it runs. Seconds since 1970; wanted: a worker; registered: that worker."""

    due: float
    wanted: float
    registered: float
    started: float

    @property
    def start_up(self) -> float:
        """What of it was the start of a worker's pod."""
        return max(0.0, self.registered - max(self.due, self.wanted))

    @property
    def late(self) -> float:
        """The rest."""
        return self.started - self.due - self.start_up

    def bar(self, name: str, before: str) -> Bar:
        """before: what happened until it was due."""
        parts = f"worker wanted {self.wanted - self.due:+.2f}, start-up {self.start_up:.2f}"
        figure = f"{self.late:.2f} s + start-up ({before}; {parts})"
        return Bar(f"keda: at zero workers: {name}", figure, f"<= {LATE_SECONDS:.0f} s + start-up", self.late <= LATE_SECONDS)


def zero_bars(url: str) -> list[Bar]:
    """The given database is not used."""
    with fleet() as run:
        return [_told(run, name) for name in ("a retry falls due", "its worker was killed", "killed, KEDA paused until rescue")]


def _told(run: FullRun, name: str) -> Bar:
    """One that never runs is a figure too."""
    try:
        bar = _retry(run, name) if "retry" in name else _death(run, name, paused="paused" in name)
    except HalfstepError as error:
        bar = Bar(f"keda: at zero workers: {name}", "never", str(error), ok=False)
    with suppress(HalfstepError):
        to_rest(run, WORKERS)
        wait_until(lambda: not run.here.pods(WORKERS), seconds=60, what="the workers to leave")
        run.commit("DELETE FROM halfstep.history; DELETE FROM halfstep.attempt")
    return bar


def _retry(run: FullRun, name: str) -> Bar:
    run.commit(ENQUEUE_RETRY, {"seconds": 2 * RETRY_SECONDS})  # half of it is jitter
    wait_until(lambda: run.rows(DUE), seconds=START_SECONDS, what="the first attempt to fail")
    failed, due = time.time(), run.one(DUE)
    wait_until(lambda: not run.here.pods(WORKERS), seconds=due - failed, what="zero workers before the retry is due")
    empty = time.time()
    wait = _second(run, due, seconds=due - empty + START_SECONDS)
    return wait.bar(name, f"due in {due - failed:.0f} s, no worker for {due - empty:.0f} s")


def _death(run: FullRun, name: str, *, paused: bool) -> Bar:
    run.commit(ENQUEUE, tasks(1, "sleep 600"))
    wait_until(lambda: run.rows(RUNNING), seconds=START_SECONDS, what="the task to run")
    _pause(run.here, paused=paused)
    died = _kill_workers(run.here)
    try:
        wait_until(lambda: run.rows(RESCUED), seconds=START_SECONDS, what="the rescue of the task")
        alive = run.one(ALIVE)
    finally:
        _pause(run.here, paused=False)
    due = run.one(RESCUED)
    return _second(run, due, seconds=START_SECONDS).bar(name, f"rescued after {due - died:.1f} s, {alive} workers there")


def _second(run: FullRun, due: float, *, seconds: float) -> Wait:
    ((started, registered),) = wait_until(lambda: run.rows(SECOND), seconds=seconds, what="the second attempt")
    wanted = [at for at, name, number in run.replicas.seen if name == WORKERS and number > 0 and at < started]
    return Wait(due, wanted[-1], registered, started)


def _kill_workers(here: Installation) -> float:
    """None is left, and none comes for it: the number is zero too, so that no container is started again. When."""
    set_replicas(here, WORKERS, 0)
    leaving = wait_until(lambda: _leaving(here), seconds=10, what="the workers to be deleted", every=0.01)
    for pod in leaving:
        kill(pod)
    return time.time()


def _leaving(here: Installation) -> list[Any]:
    return [pod for pod in here.pods(WORKERS) if pod.metadata.deletion_timestamp]


def _pause(here: Installation, *, paused: bool) -> None:
    """KEDA leaves the workers' number alone, or takes it up again."""
    api: Any = CustomObjectsApi(here.cluster.api)
    change = {"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true" if paused else None}}}
    api.patch_namespaced_custom_object("keda.sh", "v1alpha1", SYSTEM, "scaledobjects", WORKERS, change)


MEASUREMENTS: dict[str, Measure] = {"zero": zero_bars}
