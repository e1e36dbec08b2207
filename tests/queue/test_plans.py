"""Plans: what the hot statements read while millions of rows that are none of theirs lie around."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from halfstep.claims import Ending, Wish
from halfstep.database import Database, Row
from halfstep.outcomes import Retry, Succeeded
from halfstep.queue import Queue
from halfstep.reports import Reports
from halfstep.scaling import ScalingBook
from halfstep.statements import statement
from waiting import is_within, wait_until

pytestmark = pytest.mark.slow

MILLION = 1_000_000
_COLUMNS = (
    "id, queue, placement, cluster, state, priority, operator, args, at_most_once, max_attempts, backoff_base, backoff_cap,"
    " enqueued_at, run_at"
)
_FILL = """
INSERT INTO halfstep.task ({columns})
SELECT nextval('halfstep.task_id'), '{queue}', '{placement}', '', '{state}', 5, 'bash', '{{}}', false, 3, 1, 300, now(), {run_at}
FROM generate_series(1, {number}) AS n;
"""
_FINISHED = """
INSERT INTO halfstep.history ({columns}, finished_at, attempt, failures, deaths, lone_deaths, alone)
SELECT nextval('halfstep.task_id'), 'default', 'worker', '', 'succeeded', 5, 'bash', '{{}}', false, 3, 1, 300, now(), now(),
    now(), 1, 0, 0, 0, false
FROM generate_series(1, {number}) AS n;
"""


_OTHERS = """SELECT pid FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND (backend_xid IS NOT NULL OR (backend_xmin IS NOT NULL AND datname = current_database()))"""


class Explained(Database):
    """A database that keeps the plan of each of its queue's statements, taken just before it runs it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.plans: dict[str, Plan] = {}

    def run(self, name: str, /, **parameters: Any) -> list[Row]:
        """What undone statements have left is read once more, and kept as long as others may see it: the second look counts."""
        wait_until(lambda: not self.execute(_OTHERS), what="the others to have ended their transactions")
        for _ in range(2):
            self._explain(name, parameters)
        return super().run(name, **parameters)

    def _explain(self, name: str, parameters: Mapping[str, Any]) -> None:
        with suppress(_Undone), self.transaction():
            explained = self.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement(name)}", parameters)
            self.plans[name] = Plan(explained[0]["QUERY PLAN"][0])
            raise _Undone


class _Undone(Exception):
    """Takes back what explaining did."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) said."""

    told: dict[str, Any]
    nodes: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", list(_nodes(self.told["Plan"])))

    @property
    def buffers(self) -> int:
        """Shared buffers that the statement touched, each node's own."""
        return sum(_own_buffers(node) for node in self.nodes)

    @property
    def scanned(self) -> list[str]:
        """Tables of tasks that were read from end to end."""
        return [
            node["Relation Name"] for node in self.nodes
            if node["Node Type"] == "Seq Scan" and node["Relation Name"].startswith(("task", "history")) and node["Actual Loops"]
        ]  # fmt: skip

    @property
    def indexes(self) -> set[str]:
        """The indexes it used."""
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _touched(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"]) + int(node["Shared Read Blocks"])


def _own_buffers(node: dict[str, Any]) -> int:
    """A CTE's buffers are counted where it stands, not again where it is read."""
    if node["Node Type"] == "CTE Scan":
        return 0
    return max(0, _touched(node) - sum(_touched(child) for child in node.get("Plans", [])))


def _fill(database: Database, **values: Any) -> None:
    given = {"queue": "default", "placement": "worker", "state": "ready", "run_at": "now()", "columns": _COLUMNS} | values
    database.script(_FILL.format(**given))


def _fill_with_others(database: Database) -> None:
    """A million rows of each kind that a claim must not walk over. Indexes last and no log: that takes a third of the time."""
    kept = database.execute(
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'halfstep' AND tablename = 'task' AND indexname <> 'task_pkey'"
    )
    for row in kept:
        database.script(f"DROP INDEX halfstep.{row['indexname']}")
    today = database.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') AS day")[0]["day"]
    database.script(f"ALTER TABLE halfstep.task SET UNLOGGED; ALTER TABLE halfstep.history_{today} SET UNLOGGED")
    database.script("INSERT INTO halfstep.queue (name) VALUES ('foreign')")
    _fill(database, number=MILLION, queue="foreign")
    _fill(database, number=MILLION, placement="pod")
    _fill(database, number=MILLION, state="scheduled", run_at="now() + interval '1 hour' + n * interval '1 ms'")
    database.script(_FINISHED.format(columns=_COLUMNS, number=MILLION))
    for row in kept:
        database.script(row["indexdef"])
    _fill(database, number=1000)


def _leave_alone(database: Database) -> None:
    """Nobody looks at the rows meanwhile: while a large table is analyzed, dead rows of all others stay and are read again."""
    names = database.execute(
        "SELECT relname FROM pg_class"
        " WHERE relnamespace = 'halfstep'::regnamespace AND relkind = 'r' AND relname ~ '^(task|history)'"
    )
    for row in names:
        database.script(f"ALTER TABLE halfstep.{row['relname']} SET (autovacuum_enabled = off)")


@pytest.fixture(scope="module")
def crowded_url(quiet_server: Any) -> Iterator[str]:
    """A database with a million tasks of each kind that is not ours and 1,000 ready ones of `default`; no statistics."""
    name = quiet_server.make_database()
    with closing(Database(quiet_server.url(name))) as database:
        database.execute("SET statement_timeout = 0")
        _leave_alone(database)
        _fill_with_others(database)
    yield quiet_server.url(name)
    quiet_server.drop(name)


@pytest.fixture(scope="module", params=["before ANALYZE", "after ANALYZE"])
def crowded(request: pytest.FixtureRequest, crowded_url: str) -> Iterator[Explained]:
    """Connected to it, before and after the server has looked at the rows."""
    with closing(Explained(crowded_url)) as database:
        if request.param == "after ANALYZE":
            database.execute("SET statement_timeout = 0")
            database.execute("VACUUM ANALYZE halfstep.task")
            database.execute("ANALYZE halfstep.history")
        yield database


@pytest.fixture
def crowded_worker(crowded: Explained, make_worker: Callable[..., Any]) -> Any:
    """A worker registered there."""
    return make_worker(on=Queue(crowded))


def _check(plan: Plan, *, index: str, most_buffers: int) -> None:
    assert plan.scanned == []
    assert index in plan.indexes
    assert plan.buffers <= most_buffers, plan.buffers


def test_a_claim_reads_its_own_index_range_whatever_else_the_table_holds(crowded: Explained, crowded_worker: Any) -> None:
    assert len(crowded_worker.claim(100)) == 100
    _check(crowded.plans["exchange"], index="task_claim", most_buffers=2_000)  # 1,000 seen


def test_an_exchange_of_a_hundred_finishes_and_claims_reads_their_rows_only(crowded: Explained, crowded_worker: Any) -> None:
    claims = crowded_worker.claim(100)
    done = crowded_worker.exchange(Wish(100, str(uuid.uuid4())), [Ending(claim, Succeeded("1")) for claim in claims])
    assert (len(done.claims), done.refused) == (100, [])
    plan = crowded.plans["exchange"]
    _check(plan, index="task_pkey", most_buffers=3_500)  # 1,730 seen
    assert is_within(20, plan.told["Planning Time"])  # 0.4 ms seen; a plan that grows with partitions or queues would show


def test_a_late_exchange_finds_no_turn_and_reads_no_task(crowded: Explained, crowded_worker: Any) -> None:
    crowded_worker.claim(1)
    crowded_worker.sequence -= 1
    assert not crowded_worker.exchange(Wish(100, str(uuid.uuid4()))).mine
    assert crowded.plans["exchange"].buffers <= 40  # 10 seen


def test_retry_and_release_find_their_tasks_by_id(crowded: Explained, crowded_worker: Any) -> None:
    claims = crowded_worker.claim(100)
    queue = crowded_worker.queue
    assert queue.retry([(claim, Retry("no", 3600.0)) for claim in claims[:50]]) == []
    assert queue.release(claims[50:], reason="drain", started=False) == []
    _check(crowded.plans["retry"], index="task_pkey", most_buffers=2_000)
    _check(crowded.plans["release"], index="task_pkey", most_buffers=2_000)


def test_promote_reads_the_due_tasks_only(crowded: Explained) -> None:
    _fill(crowded, number=1000, state="scheduled", queue="promoted", run_at="now() - n * interval '1 ms'")
    queue = Queue(crowded)
    assert queue.promote(batch=1000) == 1000
    _check(crowded.plans["promote"], index="task_due", most_buffers=22_000)  # 10,800 seen: each row moves between indexes
    assert queue.promote(batch=1000) == 0
    assert crowded.plans["promote"].buffers <= 100  # 19 seen


def test_measure_counts_no_further_than_its_cap(crowded: Explained) -> None:
    backlogs = {backlog.queue: backlog for backlog in Queue(crowded).measure(cap=1000)}
    assert backlogs["foreign"].ready == 1000
    assert 0 < backlogs["default"].ready <= 1000
    _check(crowded.plans["measure"], index="task_claim", most_buffers=1_000)


def test_measure_stops_at_the_tasks_that_are_not_due_yet(crowded: Explained) -> None:
    _fill(crowded, number=1000, state="scheduled", run_at="now() - n * interval '1 ms'")
    backlogs = {backlog.queue: backlog for backlog in Queue(crowded).measure(queues=["default"])}
    assert backlogs["default"].due == 1000
    _check(crowded.plans["measure"], index="task_due", most_buffers=4_500)  # 2,200 seen: it counts the ready ones, too
    assert Queue(crowded).promote(batch=1000) == 1000


def test_what_a_worker_asks_every_second_reads_running_tasks_only(crowded: Explained, crowded_worker: Any) -> None:
    crowded_worker.claim(10)
    for name in ("holdings", "cancel_requests"):
        getattr(crowded_worker.queue, name)(crowded_worker.id)
        _check(crowded.plans[name], index="task_running", most_buffers=500)


def test_a_rescue_reads_running_tasks_only(crowded: Explained, crowded_worker: Any) -> None:
    crowded_worker.claim(100)
    crowded_worker.die()
    _check(crowded.plans["rescue"], index="task_running", most_buffers=4_000)


def test_the_lists_that_people_read_scan_no_table(crowded: Explained) -> None:
    reports = Reports(crowded)
    reports.queues(cap=1000)
    reports.tasks()
    _check(crowded.plans["list_queues"], index="task_claim", most_buffers=3_000)
    _check(crowded.plans["list_tasks"], index="task_pkey", most_buffers=500)


def test_demand_of_every_group_counts_no_further_than_its_cap(crowded: Explained) -> None:
    counted = {(b.queue, b.placement): b.ready for b in ScalingBook(crowded).backlogs(cap=1000)}
    assert (counted["foreign", "worker"], counted["default", "pod"]) == (1000, 1000)
    assert 0 < counted["default", "worker"] <= 1000
    plan = crowded.plans["backlogs"]
    _check(plan, index="task_claim", most_buffers=3_000)
    assert {"task_alone", "task_due", "task_running"} <= plan.indexes


def test_the_view_of_demand_scans_no_table(crowded: Explained) -> None:
    told = crowded.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM halfstep.demand")
    _check(Plan(told[0]["QUERY PLAN"][0]), index="task_claim", most_buffers=25_000)  # 10,000 of each group


def test_those_who_scale_in_read_running_tasks_only(crowded: Explained, crowded_worker: Any) -> None:
    crowded_worker.claim(100)
    book = ScalingBook(crowded)
    book.loads()
    assert crowded_worker.id not in {load.id for load in book.drain_idle(100)}
    for name in ("loads", "drain_idle"):
        _check(crowded.plans[name], index="task_running", most_buffers=1_000)
