"""A real worker process, real children, a real PostgreSQL."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.queue import Queue
from halfstep.reports import Report, Reports
from halfstep.scaling import ScalingBook
from waiting import wait_until
from worker_processes import WorkerProcess

Start = Callable[..., WorkerProcess]
Call = Callable[..., int]
Ended = Callable[..., Report]


def lines(reports: Reports, task: int) -> list[str]:
    """The text of a task's log."""
    return [line["text"] for _, line in reports.log(task)]


def test_a_task_runs_and_its_result_and_its_log_are_kept(start_worker: Start, call: Call, ended: Ended, reports: Reports) -> None:
    start_worker(name="first")
    task = call("add", 1, 2)
    report = ended(task)
    assert (report["state"], report["result"]) == ("succeeded", 3)
    assert lines(reports, task) == ["adding 1 2"]
    assert [(a["number"], a["worker"], a["outcome"]) for a in report["attempts"]] == [(1, "first", "succeeded")]


def test_a_failing_task_is_tried_again_after_a_pause_and_then_failed(start_worker: Start, call: Call, ended: Ended) -> None:
    start_worker()
    report = ended(call("fail", "no luck", max_attempts=3, backoff_base=0.05))
    assert (report["state"], report["error"], report["failures"]) == ("failed", "ValueError: no luck", 3)
    assert [(a["outcome"], a["reason"]) for a in report["attempts"]] == [("failed", "exception")] * 3


def test_a_body_that_kills_its_process_is_a_crash_and_the_worker_goes_on(start_worker: Start, call: Call, ended: Ended) -> None:
    start_worker(slots=1)
    crashed, after = call("crash", 3, max_attempts=1), call("add", 1, 1)
    report = ended(crashed)
    assert (report["state"], report["reason"]) == ("failed", "crash")
    assert "code 3" in report["error"]
    assert ended(after)["state"] == "succeeded"


def test_a_timeout_ends_the_body_and_says_so(start_worker: Start, call: Call, ended: Ended, tmp_path: Path) -> None:
    start_worker()
    report = ended(call("touch_and_wait", str(tmp_path / "x"), timeout=0.3, max_attempts=1))
    assert (report["state"], report["reason"]) == ("failed", "timeout")
    assert "0.3 s" in report["error"]


def test_a_cancelled_body_is_stopped_and_the_task_says_so(
    start_worker: Start, call: Call, ended: Ended, queue: Queue, tmp_path: Path
) -> None:
    start_worker()
    task = call("touch_and_wait", str(tmp_path / "x"))
    wait_until((tmp_path / "x").exists, what="the body's start")
    assert queue.cancel(task) == "requested"
    report = ended(task)
    assert (report["state"], report["reason"]) == ("cancelled", "cancelled")


def test_a_cancelled_program_ends_quietly(
    start_worker: Start, database: Database, ended: Ended, queue: Queue, reports: Reports
) -> None:
    start_worker()
    tasks = [enqueue(database, "bash", {"command": "echo begun; sleep 60"}) for _ in range(4)]
    for task in tasks:
        wait_until(lambda task=task: lines(reports, task) == ["begun"], what="its first line")  # type: ignore[misc]
        queue.cancel(task)
        assert (ended(task)["state"], lines(reports, task)) == ("cancelled", ["begun"])


def test_progress_can_be_read_while_the_body_runs(
    start_worker: Start, call: Call, ended: Ended, reports: Reports, tmp_path: Path
) -> None:
    start_worker()
    task = call("report_progress", str(tmp_path / "go"))
    wait_until(lambda: reports.show(task)["progress"] == {"done": 7}, what="progress")
    (tmp_path / "go").touch()
    assert ended(task)["state"] == "succeeded"


def test_of_a_log_past_its_limit_both_ends_are_kept(start_worker: Start, call: Call, ended: Ended, reports: Reports) -> None:
    start_worker()
    task = call("chatter", 120_000)
    assert ended(task)["state"] == "succeeded"
    written = lines(reports, task)
    assert written[0] == "line 0"
    assert written[-1] == "line 119999"
    (place,) = (place for place, text in enumerate(written) if "were left out here" in text)
    assert written[place + 1] == f"line {120_000 - (len(written) - place - 1)}", "what follows the marker is the end"
    assert sum(len(text) + 40 for text in written) < 4.1 * 1024 * 1024


def test_without_notifications_a_task_starts_within_the_poll_interval(
    start_worker: Start, call: Call, ended: Ended, reports: Reports
) -> None:
    start_worker(notify=False, poll_seconds=0.5)
    wait_until(lambda: len(reports.workers()) == 1, what="the worker")
    ended(call("add", 1, 1))
    report = ended(call("add", 1, 1))
    waited = report["seconds"] + 0.6 + 1.0  # poll interval, 100 ms, and a loaded machine
    assert _seconds_between(report["enqueued_at"], report["finished_at"]) < waited


def test_a_changed_source_is_used_by_the_next_body(start_worker: Start, call: Call, ended: Ended, source: Path) -> None:
    start_worker(slots=1)
    assert ended(call("number"))["result"] is None
    (source / "jobs.py").write_text("from halfstep import task\n@task\ndef number():\n    return 42\n")
    wait_until(lambda: ended(call("number"))["result"] == 42, what="the new code")


def test_a_task_that_must_run_alone_gets_an_empty_worker(
    start_worker: Start, call: Call, ended: Ended, database: Database, tmp_path: Path
) -> None:
    suspect = call("add", 2, 2)
    database.execute("UPDATE halfstep.task SET alone = true, deaths = 2")
    start_worker(slots=2)
    assert ended(suspect)["state"] == "succeeded"


def test_a_bash_task_of_an_unknown_operator_fails_at_once_with_a_sentence(
    start_worker: Start, database: Database, ended: Ended
) -> None:
    start_worker()
    report = ended(enqueue(database, "nonsense", {}))
    assert (report["state"], report["reason"]) == ("failed", "invalid")
    assert "no operator 'nonsense'" in report["error"]


def test_a_worker_that_cannot_load_the_source_says_why_and_leaves(start_worker: Start, source: Path) -> None:
    (source / "broken.py").write_text("import nonsense_that_is_not_there\n")
    worker = start_worker(imports=["broken"])
    assert worker.wait() != 0
    assert "nonsense_that_is_not_there" in worker.log.read_text()


def test_a_drained_worker_leaves_nothing_and_says_goodbye(
    start_worker: Start, call: Call, ended: Ended, reports: Reports
) -> None:
    worker = start_worker()
    ended(call("add", 1, 1))
    assert worker.stop() == 0
    assert reports.workers() == []
    assert [w["state"] for w in reports.workers(everyone=True)] == ["stopped"]


def test_a_worker_that_is_drained_by_sql_lingers_idle_until_its_pod_is_taken_away(
    start_worker: Start, call: Call, database: Database, reports: Reports
) -> None:
    worker = start_worker(linger=60.0)
    wait_until(lambda: [w["state"] for w in reports.workers()] == ["running"], what="the worker")
    book = ScalingBook(database)  # passes over a worker that is just asking for tasks
    wait_until(lambda: book.drain_idle(1, placement="worker"), what="a moment at which it can be drained")
    wait_until(lambda: [w["state"] for w in reports.workers()] == ["draining"], what="the drain")
    task = call("add", 1, 1)
    wait_until(lambda: reports.show(task)["state"] == "ready", what="the task")
    assert worker.process.poll() is None
    assert worker.stop() == 0
    assert reports.show(task)["attempt"] == 0


def test_a_drain_tells_bodies_first_and_releases_those_that_do_not_end(
    start_worker: Start, call: Call, ended: Ended, reports: Reports, tmp_path: Path
) -> None:
    worker = start_worker(grace=0.5)
    polite, stubborn = call("until_told", str(tmp_path / "polite")), call("touch_and_wait", str(tmp_path / "stubborn"))
    wait_until(lambda: (tmp_path / "polite").exists() and (tmp_path / "stubborn").exists(), what="both bodies")
    assert worker.stop() == 0
    assert ended(polite)["result"] == "drain"
    report = reports.show(stubborn)
    assert (report["state"], [(a["outcome"], a["reason"]) for a in report["attempts"]]) == ("ready", [("released", "drain")])


def test_what_was_claimed_ahead_goes_back_unstarted_at_a_drain(
    start_worker: Start, call: Call, ended: Ended, database: Database, reports: Reports, tmp_path: Path
) -> None:
    worker = start_worker(slots=1, grace=0.1)
    long = call("touch_and_wait", str(tmp_path / "x"), 3600.0)
    wait_until((tmp_path / "x").exists, what="the body's start")
    waiting = [call("add", 1, 1) for _ in range(5)]
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    states = reports.states([long, *waiting])
    assert set(states.values()) == {"ready"}
    assert all(reports.show(task)["attempts"] == [] for task in waiting)


def _seconds_between(first: str, last: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def test_claims_that_stay_behind_a_long_body_go_back_to_the_queue(
    start_worker: Start, call: Call, ended: Ended, database: Database, reports: Reports, tmp_path: Path
) -> None:
    start_worker(slots=1)
    for task in [call("number") for _ in range(50)]:  # the worker learns that bodies are short, and claims ahead
        ended(task)
    database.run("pause", queue="default", paused=True)
    long = call("touch_and_wait", str(tmp_path / "x"), 3600.0, priority=1)
    short = [call("number") for _ in range(20)]
    database.run("pause", queue="default", paused=False)
    wait_until((tmp_path / "x").exists, what="the long body's start")
    wait_until(lambda: set(reports.states(short).values()) == {"ready"}, what="the claims to come back")
    assert reports.show(long)["state"] == "running"
    assert all(reports.show(task)["attempts"] == [] for task in short)
