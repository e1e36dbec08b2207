"""Workers and producers through PgBouncer in transaction mode. (HALFSTEP_TEST_POOLER=1 runs all tests of faults through one.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from conftest import TestServer
from effects import Effects
from halfstep.database import Database
from halfstep.errors import DatabaseUnavailable
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.queue import Queue
from halfstep.reports import Report, Reports
from poolers import MISSING, PgBouncer, program
from proxy import Proxy
from waiting import NEVER, wait_until
from worker_processes import WorkerProcess

pytestmark = pytest.mark.skipif(program() is None, reason=MISSING)
Start = Callable[..., WorkerProcess]
Call = Callable[..., int]
Ended = Callable[..., Report]


@pytest.fixture
def pooler(server: TestServer) -> Iterator[PgBouncer]:
    """A pooler in front of the tests' server."""
    with PgBouncer(server.admin_url) as started:
        yield started


@pytest.fixture
def pooled(pooler: PgBouncer, database_url: str) -> str:
    """The test's database through the pooler."""
    return pooler.url(database_url)


def test_a_batch_through_the_pooler_runs_once_each_although_a_worker_is_killed_and_the_pooler_is_restarted(
    pooler: PgBouncer, pooled: str, start_worker: Start, database_url: str, reports: Reports, effects: Effects
) -> None:
    victim, survivor = (start_worker(url=pooled, listen_url=database_url, slots=2, lease_seconds=3.0) for _ in range(2))
    with closing(Database(pooled)) as producer:
        ids = enqueue_many(producer, [NewTask("python", effects.call(0.01), {}) for _ in range(400)])
    wait_until(lambda: len(effects.ends()) > 60, what="some progress")
    pooler.stop()
    pooler.start()
    wait_until(lambda: len(effects.ends()) > 160, what="more progress")
    victim.kill()
    wait_until(lambda: Counter(reports.states(ids).values()) == {"succeeded": 400}, what="the end of all")
    assert set(effects.starts().values()) == {1}
    told = [(a["outcome"], a["reason"]) for id in ids for a in reports.show(id)["attempts"][:-1]]
    assert set(told) <= {("lost", "worker_lost")}
    assert len(told) < 100  # what the victim held
    assert survivor.stop() == 0


def test_a_lost_reply_behind_the_pooler_repeats_and_loses_nothing(
    database_url: str, start_worker: Start, call: Call, ended: Ended, server: TestServer
) -> None:
    with closing(Proxy(database_url)) as proxy, PgBouncer(proxy.url) as pooler:
        worker = start_worker(url=pooler.url(database_url), notify=False)
        ended(call("add", 0, 0))
        for marker in (b"claimable AS", b'"state":"succeeded"'):
            proxy.lose_the_reply_to(marker)
            report = ended(call("add", 1, 2))
            wait_until(proxy.lost.is_set, what="the lost reply")
            assert (report["state"], len(report["attempts"])) == ("succeeded", 1)
        assert worker.stop() == 0


def test_a_running_task_is_cancelled_through_the_pooler_and_hints_come_past_it(
    pooled: str, start_worker: Start, database_url: str, ended: Ended, tmp_path: Path
) -> None:
    worker = start_worker(url=pooled, listen_url=database_url, poll_seconds=NEVER)
    with closing(Database(pooled)) as database:
        task = enqueue(database, "python", {"function": "jobs:touch_and_wait", "args": [str(tmp_path / "starts"), 3600.0]})
        wait_until((tmp_path / "starts").exists, what="the start")
        assert Queue(database).cancel(task) == "requested"
        assert ended(task)["state"] == "cancelled"
    assert worker.stop() == 0


def test_an_enqueue_joins_the_callers_transaction_through_the_pooler(pooled: str, database: Database) -> None:
    with closing(Database(pooled)) as producer:
        with suppress(ZeroDivisionError), producer.transaction():
            enqueue(producer, "bash")
            raise ZeroDivisionError
        with producer.transaction():
            kept = enqueue(producer, "bash", unique_key="k")
        assert enqueue(producer, "bash", unique_key="k") == kept
    assert [row["id"] for row in database.execute("SELECT id FROM halfstep.task")] == [kept]


def test_a_producer_hears_of_a_pooler_that_is_away_and_can_go_on_with_the_same_connection_later(
    pooler: PgBouncer, pooled: str
) -> None:
    with closing(Database(pooled)) as producer:
        assert enqueue(producer, "bash") > 0
        pooler.stop()
        with pytest.raises(DatabaseUnavailable):
            enqueue(producer, "bash")
        pooler.start()
        assert enqueue(producer, "bash") > 0


def test_an_outage_behind_the_pooler_is_over_for_the_workers_when_the_server_is_back(
    start_worker: Start, database_url: str, call: Call, ended: Ended, reports: Reports, tmp_path: Path
) -> None:
    with closing(Proxy(database_url)) as proxy, PgBouncer(proxy.url) as pooler:
        worker = start_worker(url=pooler.url(database_url), notify=False, lease_seconds=20.0)
        task = call("report_progress", str(tmp_path / "go"))
        wait_until(lambda: reports.states([task])[task] == "running", what="the start")
        proxy.take_down()
        # A pooler lets statements wait for a while (query_wait_timeout) before it refuses them.
        wait_until(lambda: "Trying again" in worker.log.read_text(), what="the worker to notice")
        (tmp_path / "go").touch()
        proxy.bring_up()
        report = ended(task)
        assert (report["state"], len(report["attempts"])) == ("succeeded", 1)
        assert worker.stop() == 0
