"""Finish: only the attempt that still holds the claim may end its task."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.database import Database
from halfstep.outcomes import Failed, Retry
from halfstep.queue import Queue
from halfstep.reports import Reports
from waiting import PATIENCE

FOREIGN = "00000000-0000-0000-0000-00000000000f"


def test_a_finished_task_leaves_the_hot_table_for_history(database: Database, worker: Any, reports: Reports) -> None:
    id = enqueue(database, "bash", labels={"a": "b"}, priority=3)
    worker.finish(*worker.claim())
    assert database.execute("SELECT FROM halfstep.task") == []
    task = reports.show(id)
    assert (task["state"], task["labels"], task["priority"], task["attempt"]) == ("succeeded", {"a": "b"}, 3, 1)
    assert [(a["number"], a["worker"], a["outcome"], a["reason"]) for a in task["attempts"]] == [(1, "w", "succeeded", None)]


def test_a_finish_with_another_token_changes_nothing_and_is_returned(database: Database, worker: Any, reports: Reports) -> None:
    id = enqueue(database, "bash")
    (claim,) = worker.claim()
    assert worker.finish(claim._replace(token=FOREIGN)) == [id]
    assert reports.show(id)["state"] == "running"
    assert worker.finish(claim) == []


def test_a_rescued_task_cannot_be_finished_by_its_first_worker(database: Database, make_worker: Any, reports: Reports) -> None:
    id = enqueue(database, "bash")
    first, second = make_worker(name="first"), make_worker(name="second")
    (old,) = first.claim()
    first.die()
    (new,) = second.claim()
    afresh = make_worker(name="first again")
    assert afresh.finish(old, outcome=Failed("late")) == [id]
    assert reports.show(id)["state"] == "running"
    assert second.finish(new) == []
    assert [(a["number"], a["worker"], a["outcome"], a["reason"]) for a in reports.show(id)["attempts"]] == [
        (1, "first", "lost", "worker_lost"),
        (2, "second", "succeeded", None),
    ]


@pytest.mark.parametrize("verb", ["finish", "retry", "release"])
def test_an_old_token_ends_nothing_whatever_the_task_does_now(
    database: Database, make_worker: Any, reports: Reports, verb: str
) -> None:
    id = enqueue(database, "bash")
    first = make_worker()
    (old,) = first.claim()
    first.die()
    worker = make_worker()

    def late() -> list[int]:
        if verb == "finish":
            return list(worker.finish(old))
        if verb == "retry":
            return list(worker.queue.retry([(old, Retry("no", 0.0))]))
        return list(worker.queue.release([old], reason="drain", started=True))

    assert late() == [id]  # ready
    claims = worker.claim()
    assert late() == [id]  # running elsewhere
    worker.queue.retry([(claims[0], Retry("no", 3600.0))])
    assert late() == [id]  # scheduled
    worker.queue.cancel(id)
    assert late() == [id]  # ended
    assert reports.show(id)["state"] == "cancelled"


def test_a_refused_finish_does_not_hold_up_its_neighbours(database: Database, worker: Any, reports: Reports) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    a, b, c = worker.claim(3)
    assert worker.finish(a, b._replace(token=FOREIGN), c) == [made[1]]
    assert reports.states(made) == {made[0]: "succeeded", made[1]: "running", made[2]: "succeeded"}


def test_a_finish_waits_for_a_cancel_of_its_task_and_still_counts(
    database: Database, worker: Any, connect: Callable[[], Database], threads: ThreadPoolExecutor, reports: Reports,
    wait_for_lock_waiters: Callable[[int], None],
) -> None:  # fmt: skip
    id = enqueue(database, "bash")
    claims = worker.claim()
    canceller = connect()
    canceller.execute("BEGIN")
    assert Queue(canceller).cancel(id) == "requested"
    finish = threads.submit(worker.finish, *claims)
    wait_for_lock_waiters(1)
    canceller.execute("COMMIT")
    assert finish.result(PATIENCE) == []
    assert reports.show(id)["state"] == "succeeded"
