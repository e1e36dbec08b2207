"""Release: work that is handed back on purpose is not the task's failure."""

from __future__ import annotations

from typing import Any

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.database import Database
from halfstep.queue import Queue
from halfstep.reports import Reports


def test_what_never_started_goes_back_as_if_it_had_not_been_claimed(
    database: Database, worker: Any, queue: Queue, reports: Reports
) -> None:
    for options in ({}, {"at_most_once": True}):
        id = enqueue(database, "bash", **options)  # type: ignore[arg-type]
        assert queue.release(worker.claim(), reason="drain", started=False) == []
        task = reports.show(id)
        assert (task["state"], task["attempt"], task["failures"], task["attempts"]) == ("ready", 0, 0, [])
        (claim,) = worker.claim()
        assert (claim.id, claim.attempt) == (id, 1)
        worker.finish(claim)


def test_what_was_stopped_runs_again_and_the_attempt_says_why(
    database: Database, worker: Any, queue: Queue, reports: Reports
) -> None:
    id = enqueue(database, "bash")
    queue.release(worker.claim(), reason="drain", started=True)
    task = reports.show(id)
    assert (task["state"], task["attempt"], task["failures"], task["deaths"]) == ("ready", 1, 0, 0)
    assert [(a["number"], a["outcome"], a["reason"]) for a in task["attempts"]] == [(1, "released", "drain")]


def test_at_most_once_work_that_had_started_ends_failed(database: Database, worker: Any, queue: Queue, reports: Reports) -> None:
    id = enqueue(database, "bash", at_most_once=True)
    assert queue.release(worker.claim(), reason="drain", started=True) == []
    task = reports.show(id)
    assert (task["state"], task["reason"]) == ("failed", "lost")
    assert "may have had its effect" in task["error"]
    assert [(a["number"], a["outcome"], a["reason"]) for a in task["attempts"]] == [(1, "failed", "lost")]


def test_a_batch_is_split_by_what_each_task_is(database: Database, worker: Any, queue: Queue, reports: Reports) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {"at_most_once": once}) for once in (True, False, False)])
    claims = worker.claim(3)
    queue.cancel(made[2])
    assert queue.release(claims, reason="drain", started=True) == []
    assert reports.states(made) == {made[0]: "failed", made[1]: "ready", made[2]: "cancelled"}
