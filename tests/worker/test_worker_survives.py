"""What happens when a worker, its connection or its reply is lost. Real processes, real PostgreSQL, a real proxy between."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from halfstep.reports import Report, Reports
from proxy import Proxy
from waiting import PATIENCE, wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]
Call = Callable[..., int]
Ended = Callable[..., Report]


def test_a_killed_workers_task_runs_again_elsewhere_and_both_attempts_are_told(
    start_worker: Start, call: Call, ended: Ended, tmp_path: Path
) -> None:
    first = start_worker(name="first")
    task = call("touch_and_wait", str(tmp_path / "starts"), 1.0)
    wait_until((tmp_path / "starts").exists, what="the first start")
    second = start_worker(name="second")
    first.kill()
    report = ended(task)
    assert report["state"] == "succeeded"
    told = [(a["number"], a["worker"], a["outcome"], a["reason"]) for a in report["attempts"]]
    assert told == [(1, "first", "lost", "worker_lost"), (2, "second", "succeeded", None)]
    assert (tmp_path / "starts").read_text().splitlines() == [f"{task} 1", f"{task} 2"]
    assert second.stop() == 0


def test_a_frozen_workers_late_result_is_refused_and_counted(
    start_worker: Start, call: Call, ended: Ended, reports: Reports, tmp_path: Path
) -> None:
    frozen = start_worker(name="frozen", slots=1)
    task = call("touch_and_wait", str(tmp_path / "starts"), 0.5)
    wait_until((tmp_path / "starts").exists, what="the first start")
    frozen.signal(signal.SIGSTOP)
    start_worker(name="other", slots=1)
    report = ended(task)
    frozen.signal(signal.SIGCONT)
    wait_until(lambda: "registers afresh" in frozen.log.read_text(), what="the frozen worker's new registration")
    assert [(a["worker"], a["outcome"]) for a in report["attempts"]] == [("frozen", "lost"), ("other", "succeeded")]
    assert reports.show(task)["attempts"] == report["attempts"]
    wait_until(lambda: _fenced(reports, "frozen") == 1, what="the refused finish to be counted")
    assert ended(call("add", 1, 1))["state"] == "succeeded"


def test_an_exchange_whose_reply_is_lost_leaves_no_task_behind(
    start_worker: Start, ended: Ended, database: Database, proxy: Proxy
) -> None:
    worker = start_worker(url=proxy.url, slots=2)
    tasks = [NewTask("python", {"function": "jobs:add", "args": [n, 1]}, {}) for n in range(300)]
    ended(enqueue_many(database, tasks[:1])[0])
    proxy.lose_the_reply_to(b"UPDATE halfstep.exchange SET sequence")
    ids = enqueue_many(database, tasks)
    assert proxy.lost.wait(PATIENCE)
    reports = [ended(task) for task in ids]
    assert Counter(report["state"] for report in reports) == {"succeeded": 300}
    assert {len(report["attempts"]) for report in reports} == {1}
    assert worker.stop() == 0


def test_a_database_outage_stops_no_at_least_once_body_and_loses_no_result(
    start_worker: Start, call: Call, ended: Ended, proxy: Proxy, tmp_path: Path
) -> None:
    start_worker(url=proxy.url, lease_seconds=20.0, renew_seconds=0.5)
    task = call("touch_and_wait", str(tmp_path / "starts"), 1.0)
    wait_until((tmp_path / "starts").exists, what="the start")
    proxy.take_down()
    done = tmp_path / "worker-0.log"
    wait_until(lambda: "Trying again" in done.read_text(), what="the worker to notice")
    proxy.bring_up()
    report = ended(task)
    assert (report["state"], len(report["attempts"])) == ("succeeded", 1)


def test_at_most_once_work_stops_before_the_lease_ends_when_it_cannot_be_renewed(
    start_worker: Start, call: Call, ended: Ended, proxy: Proxy, tmp_path: Path
) -> None:
    worker = start_worker(url=proxy.url, lease_seconds=2.0)
    task = call("touch_and_wait", str(tmp_path / "starts"), 3600.0, at_most_once=True)
    wait_until((tmp_path / "starts").exists, what="the start")
    pid = _child_of(worker.process.pid)
    proxy.take_down()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the body's end")
    proxy.bring_up()
    report = ended(task)
    assert (report["state"], report["reason"], len(report["attempts"])) == ("failed", "lost", 1)


def test_every_task_of_a_fast_batch_is_done_once_although_a_worker_is_killed(
    start_worker: Start, ended: Ended, database: Database, reports: Reports
) -> None:
    victim, survivor = start_worker(name="victim"), start_worker(name="survivor")
    ids = enqueue_many(database, [NewTask("python", {"function": "jobs:add", "args": [n, 0]}, {}) for n in range(3000)])
    wait_until(lambda: reports.states(ids).get(ids[20]) == "succeeded", what="some progress")
    victim.kill()
    wait_until(lambda: Counter(reports.states(ids).values()) == {"succeeded": 3000}, what="the end of all tasks")
    rows = database.execute("SELECT count(*) AS n, count(DISTINCT id) AS tasks FROM halfstep.history")
    assert (rows[0]["n"], rows[0]["tasks"]) == (3000, 3000)
    repeats = database.execute("SELECT DISTINCT outcome, reason FROM halfstep.attempt")
    assert all((row["outcome"], row["reason"]) == ("lost", "worker_lost") for row in repeats)
    assert survivor.stop() == 0


def _fenced(reports: Reports, name: str) -> int:
    return sum(worker["fenced"] or 0 for worker in reports.workers() if worker["name"] == name)


def _child_of(worker: int) -> int:
    """The process of the only body that runs: the zygote's child that uses the processor last was started first."""
    zygote = int(Path(f"/proc/{worker}/task/{worker}/children").read_text().split()[0])
    children = [int(pid) for pid in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()]
    return max(children, key=_ticks)


def _ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11])
