"""One run of the demo: the stages, the workers that come and go for them, and what there is to tell afterwards."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from halfstep.database import Database
from halfstep.demand import Bounds
from halfstep.queue import Queue
from halfstep_cli.controller import STEP_SECONDS, Controller, QueueWork, Status
from halfstep_cli.crew import Crew, WorkerSpec
from halfstep_cli.demo.director import Director
from halfstep_cli.demo.display import Display, Picture
from halfstep_cli.demo.files import Source
from halfstep_cli.demo.stages import CONNECTION, QUEUE
from halfstep_cli.station import Station
from halfstep_cli.stopping import StopSignals

MOST_WORKERS = 8


@dataclass(slots=True)
class Outcome:
    """What a run came to. `scale`: (seconds since the start, workers there) at every change."""

    run: str
    scale: list[tuple[float, int]] = field(default_factory=list)
    finished: bool = False
    last_task: float = 0.0
    tasks: int = 0
    rate: float = 0.0
    failed: int = 0
    failure: str = ""
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def note(self, seconds: float, status: Status) -> None:
        """How many workers there are now."""
        there = status.workers + status.draining
        if not self.scale or self.scale[-1][1] != there:
            self.scale.append((seconds, there))


def play(station: Station, source: Source, display: Display, *, clock: Callable[[], float] = time.monotonic) -> Outcome:
    """Runs the demo to its end, or until a signal; no worker is left in either case."""
    database = Database(station.url)
    outcome = Outcome(run=secrets.token_hex(4))
    crew = Crew(_spec(station.url), station.worker_logs)
    controller = Controller(QueueWork(Queue(database), [QUEUE]), crew, Bounds(slots=1, maximum=_most_workers()))
    director = Director(database, source, outcome.run)
    started = clock()
    with StopSignals() as stop, display:
        try:
            director.clear()
            while not stop.asked and not (director.finished and not crew.pids):
                _step(director, controller, outcome, display, clock() - started)
                stop.wait(STEP_SECONDS)
        finally:
            crew.leave(stop)
            database.close()
    return outcome


def _step(director: Director, controller: Controller, outcome: Outcome, display: Display, seconds: float) -> None:
    status = controller.step()
    outcome.note(seconds, status)
    display.show(Picture(seconds, director.step(), status))
    if director.finished and not outcome.finished:
        outcome.finished, outcome.last_task = True, seconds
        _tell(director, outcome)


def _tell(director: Director, outcome: Outcome) -> None:
    read = director.read
    outcome.tasks = director.total
    outcome.rate = read.total / max(read.took, 1e-3)
    outcome.failed = read.failed
    outcome.failure = director.first_failure() if read.failed else ""
    outcome.results = director.results()


def _spec(url: str) -> WorkerSpec:
    connection = {f"HALFSTEP_CONNECTION_{CONNECTION.upper()}": url}
    return WorkerSpec(url, slots=1, queues=[QUEUE], imports=["halfstep_cli.demo.analysis"], environment=connection, alone=True)


def _most_workers() -> int:
    return max(2, min(MOST_WORKERS, len(os.sched_getaffinity(0))))
