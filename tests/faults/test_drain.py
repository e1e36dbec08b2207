"""What a worker owes to whoever asks it to leave: by signal or by SQL, whatever its bodies and the database do."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from halfstep.queue import Queue
from halfstep.reports import Report, Reports
from proxy import Proxy
from waiting import NEVER, PATIENCE, is_within, wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]
Call = Callable[..., int]
Ended = Callable[..., Report]

LONG = {"lease_seconds": 3 * NEVER, "renew_seconds": NEVER}
"""A lease that rescues nothing within a test: what comes back was handed back. Nor is anything heard by its renewal."""


def running(database: Database) -> int:
    return int(database.execute("SELECT count(*) AS n FROM halfstep.task WHERE state = 'running'")[0]["n"])


def last_claim(database: Database) -> Any:
    both = "SELECT started_at FROM halfstep.task UNION ALL SELECT started_at FROM halfstep.history"
    return database.execute(f"SELECT max(started_at) AS at FROM ({both}) c")[0]["at"]


def hands_back(worker: WorkerProcess, database: Database, *, by: int, seconds: float = PATIENCE) -> None:
    """The promise: after `by` no claim but one that was under way, and nothing is held any more, long before its lease ends."""
    worker.signal(by)
    wait_until(lambda: "Draining" in worker.log.read_text() or worker.process.poll(), what="its hearing of it")
    heard = database.execute("SELECT clock_timestamp() AS at")[0]["at"]
    wait_until(lambda: running(database) == 0, seconds=seconds, what="the hand-back of everything")
    assert is_within(1.0, (last_claim(database) - heard).total_seconds())


def busy_with_fast_tasks(start_worker: Start, database: Database, reports: Reports) -> WorkerProcess:
    """A worker that holds far more than it has started."""
    worker = start_worker(**LONG)
    ids = enqueue_many(database, [NewTask("python", {"function": "jobs:add", "args": [n, 0]}, {}) for n in range(20_000)])
    wait_until(lambda: reports.states([ids[200]]) == {ids[200]: "succeeded"}, what="some progress")
    wait_until(lambda: running(database) > 10, what="claims ahead")
    return worker


def test_a_signal_ends_claims_and_hands_back_at_once_what_has_not_started(
    start_worker: Start, database: Database, reports: Reports, make_worker: Any
) -> None:
    worker = busy_with_fast_tasks(start_worker, database, reports)
    hands_back(worker, database, by=signal.SIGTERM)
    assert len(make_worker().claim(100)) == 100
    assert worker.wait() == 0
    told = database.execute("SELECT count(*) AS n FROM halfstep.attempt")[0]["n"]
    assert told == 0, "what never started is no attempt"


def test_a_worker_that_is_killed_instead_breaks_that_promise(start_worker: Start, database: Database, reports: Reports) -> None:
    worker = busy_with_fast_tasks(start_worker, database, reports)
    with pytest.raises(AssertionError, match="hand-back of everything"):
        hands_back(worker, database, by=signal.SIGKILL, seconds=2)


def test_bodies_are_told_at_once_and_may_end_within_the_grace(
    start_worker: Start, call: Call, ended: Ended, reports: Reports, tmp_path: Path
) -> None:
    worker = start_worker(grace=NEVER, **LONG)
    told, waiting = call("until_told", str(tmp_path / "told")), call("touch_and_wait", str(tmp_path / "waiting"), 1.0)
    wait_until(lambda: (tmp_path / "told").exists() and (tmp_path / "waiting").exists(), what="both starts")
    worker.signal(signal.SIGTERM)
    assert ended(told)["result"] == "drain"
    assert [line["text"] for _, line in reports.log(told)] == ["was told: drain"]
    assert worker.wait() == 0
    assert (reports.show(waiting)["result"], len(reports.show(waiting)["attempts"])) == ("waited", 1)


@pytest.mark.parametrize("ended_by", ["the grace's end", "a second signal"])
def test_a_body_that_is_stopped_runs_again_elsewhere_within_a_second(
    start_worker: Start, call: Call, reports: Reports, tmp_path: Path, ended_by: str
) -> None:
    starts = tmp_path / "starts"
    leaving = start_worker(name="leaving", grace=0.3 if ended_by == "the grace's end" else NEVER, **LONG)
    task = call("touch_and_wait", str(starts), 3600.0)
    wait_until(starts.exists, what="the start")
    other = start_worker(name="other", **LONG)
    wait_until(lambda: "serves all queues" in other.log.read_text(), what="the other worker")
    leaving.signal(signal.SIGTERM)
    if ended_by == "a second signal":
        wait_until(lambda: "Draining" in leaving.log.read_text(), what="the drain")
        leaving.signal(signal.SIGTERM)
    assert leaving.wait() == 0
    wait_until(lambda: len(starts.read_text().splitlines()) == 2, what="its second start")
    first, second = reports.show(task)["attempts"]
    assert (first["worker"], first["outcome"], first["reason"]) == ("leaving", "released", "drain")
    assert (second["worker"], second["outcome"]) == ("other", "running")
    assert is_within(1.0, seconds_between(first["ended_at"], second["started_at"]))


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_a_body_that_will_not_end_is_killed_and_its_task_released(
    start_worker: Start, call: Call, reports: Reports, source: Path, tmp_path: Path
) -> None:
    (source / "jobs.py").open("a").write(STUBBORN)
    worker = start_worker(grace=0.1, stop_grace=0.3, **LONG)
    task = call("stubborn", str(tmp_path / "there"))
    wait_until((tmp_path / "there").exists, what="the start")
    assert worker.stop() == 0
    report = reports.show(task)
    assert (report["state"], [a["outcome"] for a in report["attempts"]], report["failures"]) == ("ready", ["released"], 0)


STUBBORN = """
import signal

@task
def stubborn(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(path).touch()
    while True:
        pause(60)
"""


def test_a_drain_by_sql_ends_claims_from_its_commit_on_and_the_worker_hears_of_it_before_it_renews(
    start_worker: Start, call: Call, ended: Ended, queue: Queue, reports: Reports, tmp_path: Path
) -> None:
    worker = start_worker(name="w", grace=NEVER, **LONG)
    told = call("until_told", str(tmp_path / "told"))
    wait_until((tmp_path / "told").exists, what="the start")
    wait_until(lambda: listens(queue.database), what="its listener")
    (card,) = reports.workers()
    assert queue.drain(card["id"])
    late = call("add", 1, 1)
    assert ended(told)["result"] == "drain"
    assert worker.wait() == 0
    assert reports.show(late)["state"] == "ready"


LISTENERS = """
SELECT FROM pg_stat_activity WHERE datname = current_database() AND starts_with(query, 'LISTEN') AND state = 'idle'
"""


def listens(database: Database) -> bool:
    return bool(database.execute(LISTENERS))


def test_without_notifications_a_drain_by_sql_is_heard_with_the_next_renewal(
    start_worker: Start, call: Call, ended: Ended, queue: Queue, reports: Reports, tmp_path: Path
) -> None:
    worker = start_worker(notify=False, renew_seconds=0.5, lease_seconds=NEVER, grace=NEVER)
    told = call("until_told", str(tmp_path / "told"))
    wait_until((tmp_path / "told").exists, what="the start")
    assert queue.drain(reports.workers()[0]["id"])
    assert ended(told)["result"] == "drain"
    assert worker.wait() == 0


def test_a_drain_of_a_frozen_worker_holds_although_it_is_taken_for_dead_before_it_wakes(
    start_worker: Start, call: Call, queue: Queue, reports: Reports
) -> None:
    frozen = start_worker(name="frozen")
    (card,) = wait_until(reports.workers, what="its registration")
    wait_until(lambda: "serves all queues" in frozen.log.read_text(), what="its start")
    frozen.signal(signal.SIGSTOP)
    assert queue.drain(card["id"])
    (lease,) = queue.leases()
    assert queue.mark_dead(card["id"], counter=lease["counter"])
    late = call("add", 1, 1)
    frozen.signal(signal.SIGCONT)
    assert frozen.wait() == 0
    assert reports.show(late)["attempts"] == []


def test_a_worker_that_lingers_after_a_drain_by_sql_claims_nothing_and_leaves_at_a_signal(
    start_worker: Start, call: Call, queue: Queue, reports: Reports
) -> None:
    worker = start_worker(linger=NEVER, **LONG)
    (card,) = wait_until(reports.workers, what="its registration")
    wait_until(lambda: listens(queue.database), what="its listener")
    queue.drain(card["id"])
    wait_until(lambda: "Draining" in worker.log.read_text(), what="the drain")
    late = call("add", 1, 1)
    wait_until(lambda: reports.workers()[0]["state"] == "draining", what="its being told")
    assert worker.stop() == 0
    assert reports.show(late)["attempts"] == []


def test_a_database_that_is_away_delays_no_drain_and_what_was_not_written_is_told_by_code_1(
    start_worker: Start, call: Call, reports: Reports, proxy: Proxy, tmp_path: Path
) -> None:
    cut_off = start_worker(url=proxy.url, name="cut off", stop_grace=0.2, grace=0.5, write_grace=3.0)
    body = call("touch_and_wait", str(tmp_path / "starts"), 3600.0)
    wait_until((tmp_path / "starts").exists, what="the start")
    proxy.swallow()
    asked = time.monotonic()
    cut_off.signal(signal.SIGTERM)
    wait_until(lambda: "Draining" in cut_off.log.read_text(), what="the drain")
    other = start_worker(name="other")
    assert cut_off.wait() == 1
    assert is_within(8, time.monotonic() - asked)
    wait_until(lambda: len(reports.show(body)["attempts"]) == 2, what="the rescue")
    told = [(a["worker"], a["outcome"]) for a in reports.show(body)["attempts"]]
    assert told == [("cut off", "lost"), ("other", "running")]
    assert other.stop() == 0


def test_a_listener_that_gets_no_connection_delays_no_drain(start_worker: Start, proxy: Proxy) -> None:
    proxy.swallow()
    worker = start_worker(listen_url=proxy.url)
    wait_until(lambda: "serves all queues" in worker.log.read_text(), what="its start")
    asked = time.monotonic()
    assert worker.stop() == 0
    assert is_within(3, time.monotonic() - asked)
