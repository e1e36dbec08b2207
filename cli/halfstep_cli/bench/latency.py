"""`halfstep bench latency`: how soon a task starts on an idle worker, from the producer's commit to the body's first line."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from halfstep.errors import HalfstepError
from halfstep.limits import POLL_SECONDS
from halfstep.producer import enqueue
from halfstep_cli.bench.ground import Ground, Team, await_ready, ground_of, team_at, watch
from halfstep_cli.bench.noop import started_at
from halfstep_cli.crew import Crew
from halfstep_cli.stopping import StopSignals

LOOK_SECONDS = 0.002
LATE_SECONDS = 30.0
_RESULT = """-- What the task returned, once it has ended.
SELECT state, result, error FROM halfstep.history WHERE id = %(id)s"""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from just before the commit of the enqueue to the start of the body."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def latency(url: str, tasks: int, team: Team) -> Latency:
    """Enqueues tasks one at a time for idle workers. Producer and body read the same clock, as they run on this machine."""
    with StopSignals() as stop, ground_of(url) as ground, team_at(url, [ground.queue], team, stop) as crew:
        await_ready(ground, crew, team, stop)
        samples = []
        for _ in range(tasks):
            watch(crew, stop, _pause(team))
            samples.append(_sample(ground, crew, stop))
    return summary(samples)


def summary(samples: Sequence[float]) -> Latency:
    """Percentiles (nearest rank) of seconds, as milliseconds."""
    ordered = sorted(samples)

    def rank(share: float) -> float:
        return round(ordered[max(0, -int(-share * len(ordered) // 1) - 1)] * 1000, 3)

    return Latency(rank(0.5), rank(0.95), rank(0.99), round(ordered[-1] * 1000, 3))


def _pause(team: Team) -> float:
    """Long enough for a worker to be idle again, and never in step with its polls."""
    if team.notify:
        return random.uniform(0.02, 0.06)
    return random.uniform(1.0, 2.0) * POLL_SECONDS


def _sample(ground: Ground, crew: Crew, stop: StopSignals) -> float:
    with ground.database.transaction():
        id = enqueue(ground.database, "python", {"function": started_at.name}, queue=ground.queue, max_attempts=1)
        begun = time.time()
    deadline = time.monotonic() + LATE_SECONDS
    while not (rows := ground.database.execute(_RESULT, {"id": id})):
        if time.monotonic() > deadline:
            raise HalfstepError(f"Task {id} did not run within {LATE_SECONDS:.0f} s; look at it: halfstep show {id}.")
        watch(crew, stop, LOOK_SECONDS)
    if rows[0]["state"] != "succeeded":
        raise HalfstepError(f"Task {id} failed: {rows[0]['error']}")
    return float(rows[0]["result"]) - begun
