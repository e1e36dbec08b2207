"""What both benchmarks stand on: a queue of their own, workers that serve it, and looks at how it went."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from halfstep.administration import Administration
from halfstep.database import ConnectionSettings, Database
from halfstep.errors import Conflict, HalfstepError
from halfstep.migrate import check_schema
from halfstep.ownership import TrustedDatabase
from halfstep.producer import NewTask, Options, enqueue_many
from halfstep.queue import Queue
from halfstep.registry import TaskFunction
from halfstep.reports import Reports
from halfstep_cli.bench.noop import noop
from halfstep_cli.crew import Crew, WorkerSpec
from halfstep_cli.station import ANY_QUEUE
from halfstep_cli.stopping import StopSignals

POLL_SECONDS = 0.2
READY_SECONDS = 60.0
_ENDED = """-- How the tasks from first to last ended.
SELECT count(DISTINCT id)::int AS ended, (count(DISTINCT id) FILTER (WHERE state = 'succeeded'))::int AS succeeded,
    count(*)::int AS endings, coalesce(sum(attempt), 0)::int AS attempts, max(finished_at) AS last
FROM halfstep.history WHERE queue = %(queue)s AND id BETWEEN %(first)s AND %(last)s"""
_ERROR = """-- What went wrong first.
SELECT error FROM halfstep.history
WHERE queue = %(queue)s AND id BETWEEN %(first)s AND %(last)s AND state <> 'succeeded' ORDER BY id LIMIT 1"""

_STARTERS = """-- Who starts workers for every queue: `halfstep up`, and scalers that were seen within a minute.
SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %(up)s)::int
        AS ups,
    (SELECT count(*) FROM halfstep.scaler WHERE '*' = ANY (waiting) AND seen_at > clock_timestamp() - interval '60 s')::int
        AS scalers"""


@dataclass(frozen=True, slots=True)
class Team:
    """Which workers run a benchmark. notify False: they are told of nothing, and poll."""

    workers: int = 2
    slots: int = 1
    notify: bool = True

    def environment(self) -> Mapping[str, str]:
        """What is added to the workers' environment."""
        return {} if self.notify else {"HALFSTEP_NOTIFY": "0"}


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of tasks. lost: without a success; repeated: attempts and endings beyond the first; last: the last end."""

    lost: int
    repeated: int
    last: datetime | None


@dataclass(slots=True)
class Ground:
    """A queue of this run's own. Its rows stay in history until retention takes them."""

    database: Database
    queue: str = field(default_factory=lambda: f"bench-{secrets.token_hex(4)}")

    @property
    def verbs(self) -> Queue:
        """The verbs, on our connection."""
        return Queue(self.database)

    def another(self) -> Ground:
        """The same with a queue of its own."""
        return made_ground(self.database)

    def now(self) -> datetime:
        """The database's clock."""
        moment: datetime = self.database.execute("SELECT clock_timestamp() AS now")[0]["now"]
        return moment

    def enqueue(self, count: int, function: TaskFunction[[], None] = noop) -> tuple[int, int]:
        """Enqueues calls without arguments; the first and the last id."""
        call = NewTask("python", {"function": function.name}, Options(queue=self.queue, max_attempts=1))
        with self.database.transaction():
            ids = enqueue_many(self.database, (call for _ in range(count)))
        return ids[0], ids[-1]

    def is_empty(self) -> bool:
        """Whether nothing of the queue waits or runs. Looks for one task, not for all: it must not slow down what is measured."""
        return not any(b.waiting or b.running for b in self.verbs.measure(cap=1, queues=[self.queue]))

    def wait_empty(self, crew: Crew, stop: StopSignals) -> None:
        """Returns when the queue is empty. Raises KeyboardInterrupt at a signal."""
        while not self.is_empty():
            watch(crew, stop, POLL_SECONDS)

    def tally(self, count: int, ids: tuple[int, int]) -> Tally:
        """How the tasks ended. Raises HalfstepError, with a task's own error, if any failed."""
        facts = {"queue": self.queue, "first": ids[0], "last": ids[1]}
        row = self.database.execute(_ENDED, facts)[0]
        if row["ended"] != row["succeeded"]:
            error = self.database.execute(_ERROR, facts)[0]["error"]
            raise HalfstepError(f"{row['ended'] - row['succeeded']} of the benchmark's tasks failed: {error}")
        repeated = max(row["attempts"], row["endings"]) - row["ended"]
        return Tally(count - row["succeeded"], repeated, row["last"])

    def settle(self) -> None:
        """Before a measurement: what earlier ones left in the hot table is not to slow this one down."""
        self.database.execute("VACUUM (ANALYZE) halfstep.task")


def made_ground(database: Database) -> Ground:
    """A ground whose queue exists, also where queues are fixed."""
    ground = Ground(database)
    Administration(database).set_queue(ground.queue)
    return ground


@contextmanager
def ground_of(url: str) -> Iterator[Ground]:
    """A ground in the database at `url`. Raises Conflict if others would take its tasks, SchemaMismatch."""
    database = TrustedDatabase(url, ConnectionSettings("halfstep bench", statement_timeout=300))
    try:
        check_schema(database)
        _refuse_others(Reports(database))
        yield made_ground(database)
    finally:
        database.close()


@contextmanager
def team_at(url: str, queues: Sequence[str], team: Team, stop: StopSignals) -> Iterator[Crew]:
    """Workers that serve `queues`, registered and with children that have imported our tasks; gone when the block ends."""
    spec = WorkerSpec(url, team.slots, queues, imports=["halfstep_cli.bench.noop"], environment=team.environment(), alone=True)
    with tempfile.TemporaryDirectory(prefix="halfstep-bench-") as folder:
        crew = Crew(spec, Path(folder))
        try:
            crew.start(team.workers)
            yield crew
        finally:
            crew.leave(stop)


def await_ready(ground: Ground, crew: Crew, team: Team, stop: StopSignals) -> None:
    """Returns when every worker of the team is registered and has run something. Raises HalfstepError after a minute."""
    deadline = time.monotonic() + READY_SECONDS
    reports = Reports(ground.database)
    while sum(w["queues"] == [ground.queue] and w["state"] == "running" for w in reports.workers()) < team.workers:
        if time.monotonic() > deadline:
            raise HalfstepError(f"The workers were not ready within {READY_SECONDS:.0f} s.")
        watch(crew, stop, 0.05)
    warm_up = ground.enqueue(200 * team.workers * team.slots)
    ground.wait_empty(crew, stop)
    ground.tally(200 * team.workers * team.slots, warm_up)


def watch(crew: Crew, stop: StopSignals, seconds: float) -> None:
    """Waits, with an eye on the workers. Raises KeyboardInterrupt at a signal, HalfstepError if workers do not come up."""
    stop.wait(seconds)
    crew.reap()
    if stop.asked:
        raise KeyboardInterrupt


def _refuse_others(reports: Reports) -> None:
    """Those who take every queue's tasks, and those who start such workers as soon as there is something to take."""
    takers = [worker["name"] for worker in reports.workers() if worker["queues"] is None and worker["state"] == "running"]
    if takers:
        raise Conflict(f"Worker {takers[0]} serves all queues and would take the benchmark's tasks; stop it or give it --queues.")
    row = reports.database.execute(_STARTERS, {"up": ANY_QUEUE})[0]
    if row["ups"]:
        raise Conflict(
            "`halfstep up` works on this database, and the workers that it starts would take the benchmark's tasks; stop it, "
            "give it --queues, or name no database: then a temporary one is made."
        )
    if row["scalers"]:
        raise Conflict(
            "A scaler starts workers for every queue here, which would take the benchmark's tasks; use another database."
        )
