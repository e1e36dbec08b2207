"""Plays the demo's stages: enqueues one, watches it, and enqueues the next when all of it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from halfstep.database import Database
from halfstep.errors import Conflict, HalfstepError, NotFound
from halfstep.producer import NewTask, enqueue_many
from halfstep.queue import Queue
from halfstep_cli.demo.files import Source
from halfstep_cli.demo.stages import QUEUE, joining, reading, reporting

_PROGRESS = """-- How far the tasks from first to last are; the rate and the times of those that ended within two seconds.
SELECT count(*)::int AS ended, (count(*) FILTER (WHERE state <> 'succeeded'))::int AS failed,
    ((count(*) FILTER (WHERE recent)) / 2.0)::float8 AS rate,
    coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY waited) FILTER (WHERE recent), 0)::float8 AS waited,
    coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE recent), 0)::float8 AS ran,
    coalesce(extract(epoch FROM max(finished_at) - min(started_at)), 0)::float8 AS took
FROM (SELECT *, finished_at > clock_timestamp() - interval '2 s' AS recent, extract(epoch FROM started_at - enqueued_at) AS waited
      FROM halfstep.history WHERE id BETWEEN %(first)s AND %(last)s AND labels ->> 'demo' = %(run)s) h"""
_FAILED = """-- What went wrong first.
SELECT id, error FROM halfstep.history
WHERE id BETWEEN %(first)s AND %(last)s AND labels ->> 'demo' = %(run)s AND state <> 'succeeded' ORDER BY id LIMIT 1"""
_RESULTS = """-- What the two reporting tasks returned.
SELECT labels ->> 'step' AS step, result FROM halfstep.history
WHERE id BETWEEN %(first)s AND %(last)s AND labels ->> 'demo' = %(run)s"""
_LEFT = f"""-- Tasks of a run that was killed.
SELECT id FROM halfstep.task WHERE queue = '{QUEUE}' ORDER BY id"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is, in tasks. rate: tasks a second; waited, ran: medians; took: first start to last end; in seconds."""

    stage: str
    total: int
    ended: int = 0
    failed: int = 0
    rate: float = 0.0
    waited: float = 0.0
    ran: float = 0.0
    took: float = 0.0


@dataclass(slots=True)
class Stage:
    """A stage that was enqueued: its tasks' ids lie between first and last."""

    name: str
    first: int
    last: int
    total: int


class Director:
    """`step` until `finished`. Raises HalfstepError, with the task's own error, when a stage that others build on failed."""

    def __init__(self, database: Database, source: Source, run: str) -> None:
        self._database = database
        self._run = run
        self._plan: list[tuple[str, Callable[[], Iterator[NewTask]]]] = [
            ("reading", lambda: reading(source, run)),
            ("joining", lambda: joining(run, *self._range)),
            ("reporting", lambda: reporting(run, *self._range)),
        ]
        self.stages: list[Stage] = []
        self.read = Progress("reading", 0)
        self.finished = False

    def clear(self) -> None:
        """Cancels what an earlier run that was killed left in the queue."""
        queue = Queue(self._database)
        for row in self._database.execute(_LEFT):
            try:
                queue.cancel(row["id"])
            except (Conflict, NotFound):
                continue  # it ended meanwhile

    def step(self) -> Progress:
        """Looks how far the stage is, and begins the next if it has ended."""
        if not self.stages:
            self._next()
        progress = self._progress()
        if progress.stage == "reading":
            self.read = progress
        if progress.ended == progress.total and not self.finished:
            self._check(progress)
            self._next()
        return progress

    def results(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of the last stage, by step: `largest` and `totals`."""
        return {row["step"]: row["result"]["rows"] for row in self._ask(_RESULTS, self.stages[-1])}

    def first_failure(self) -> str:
        """Which task of the first stage failed first, and why."""
        row = self._ask(_FAILED, self.stages[0])[0]
        return f"task {row['id']}: {row['error']}"

    @property
    def total(self) -> int:
        """Tasks of all stages so far."""
        return sum(stage.total for stage in self.stages)

    @property
    def _range(self) -> tuple[int, int]:
        return self.stages[0].first, self.stages[0].last

    def _next(self) -> None:
        if not self._plan:
            self.finished = True
            return
        name, make = self._plan.pop(0)
        with self._database.transaction():
            ids = enqueue_many(self._database, make())
        self.stages.append(Stage(name, ids[0], ids[-1], len(ids)))

    def _progress(self) -> Progress:
        stage = self.stages[-1]
        return Progress(stage.name, stage.total, **self._ask(_PROGRESS, stage)[0])

    def _check(self, progress: Progress) -> None:
        if progress.failed and progress.stage != "reading":
            row = self._ask(_FAILED, self.stages[-1])[0]
            raise HalfstepError(f"The demo's task {row['id']} ({progress.stage}) failed: {row['error']}")

    def _ask(self, sql: str, stage: Stage) -> list[Any]:
        return self._database.execute(sql, {"first": stage.first, "last": stage.last, "run": self._run})
