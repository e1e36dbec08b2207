"""Cancel: in every state a task can be in."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from halfstep import enqueue
from halfstep.database import Database, Listener
from halfstep.errors import Conflict, NotFound
from halfstep.outcomes import Cancelled, Failed, Retry
from halfstep.queue import Queue
from halfstep.reports import Reports
from waiting import PATIENCE


@pytest.mark.parametrize("options", [{}, {"run_at": "2100-01-01T00:00:00Z"}, {"placement": "pod"}])
def test_a_waiting_task_ends_at_once(database: Database, queue: Queue, reports: Reports, options: dict[str, Any]) -> None:
    id = enqueue(database, "bash", **options)
    assert queue.cancel(id) == "cancelled"
    task = reports.show(id)
    assert (task["state"], task["reason"], task["attempts"]) == ("cancelled", "cancelled", [])


def test_a_running_task_is_told_to_stop_and_its_worker_writes_the_end(
    database: Database, queue: Queue, worker: Any, reports: Reports
) -> None:
    id = enqueue(database, "bash")
    (claim,) = worker.claim()
    assert queue.cancel_requests(worker.id) == []
    assert [queue.cancel(id), queue.cancel(id)] == ["requested", "requested"]
    assert queue.cancel_requests(worker.id) == [id]
    assert reports.show(id)["state"] == "running"
    worker.finish(claim, outcome=Cancelled())
    assert [(a["outcome"], a["reason"]) for a in reports.show(id)["attempts"]] == [("cancelled", "cancelled")]


def test_a_body_that_finished_in_spite_of_the_cancel_has_succeeded(
    database: Database, queue: Queue, worker: Any, reports: Reports
) -> None:
    id = enqueue(database, "bash")
    claims = worker.claim()
    queue.cancel(id)
    worker.finish(*claims)
    assert reports.show(id)["state"] == "succeeded"


@pytest.mark.parametrize("ended_by", ["retry", "release", "release unstarted", "rescue", "rescue at most once"])
def test_a_task_that_was_to_be_cancelled_never_runs_again(
    database: Database, queue: Queue, worker: Any, reports: Reports, ended_by: str
) -> None:
    id = enqueue(database, "bash", unique_key="k", at_most_once=ended_by.endswith("once"))
    claims = worker.claim()
    queue.cancel(id)
    if ended_by == "retry":
        assert queue.retry([(claims[0], Retry("It broke.", 0.0))]) == []
    elif ended_by.startswith("release"):
        assert queue.release(claims, reason="drain", started=ended_by == "release") == []
    else:
        worker.die()
    task = reports.show(id)
    assert (task["state"], task["reason"]) == ("cancelled", "cancelled")
    assert [(a["number"], a["outcome"]) for a in task["attempts"]] == [(1, "cancelled")]
    assert database.execute("SELECT FROM halfstep.unique_key") == []


@pytest.mark.parametrize("ended", ["succeeded", "failed", "cancelled"])
def test_what_has_ended_cannot_be_cancelled(database: Database, queue: Queue, worker: Any, ended: str) -> None:
    id = enqueue(database, "bash")
    if ended == "cancelled":
        queue.cancel(id)
    else:
        worker.finish(*worker.claim(), outcome=Failed("no") if ended == "failed" else None)
    with pytest.raises(Conflict, match=f"Task {id} has already ended: {ended}"):
        queue.cancel(id)


def test_what_never_was_cannot_be_cancelled(queue: Queue) -> None:
    with pytest.raises(NotFound, match="no task 999"):
        queue.cancel(999)


def test_a_cancel_that_meets_a_claim_in_flight_asks_the_new_worker(
    database: Database, make_worker: Any, connect: Callable[[], Database], threads: ThreadPoolExecutor, queue: Queue,
    wait_for_lock_waiters: Callable[[int], None],
) -> None:  # fmt: skip
    id = enqueue(database, "bash")
    flying = connect()
    worker = make_worker(on=Queue(flying))
    flying.execute("BEGIN")
    assert len(worker.claim()) == 1
    asked = threads.submit(queue.cancel, id)
    wait_for_lock_waiters(1)
    flying.execute("COMMIT")
    assert asked.result(PATIENCE) == "requested"
    assert queue.cancel_requests(worker.id) == [id]


def test_a_cancel_that_meets_a_release_in_flight_ends_the_task(
    database: Database, make_worker: Any, connect: Callable[[], Database], threads: ThreadPoolExecutor, queue: Queue,
    reports: Reports, wait_for_lock_waiters: Callable[[int], None],
) -> None:  # fmt: skip
    id = enqueue(database, "bash")
    flying = connect()
    worker = make_worker(on=Queue(flying))
    claims = worker.claim()
    flying.execute("BEGIN")
    assert worker.queue.release(claims, reason="drain", started=True) == []
    asked = threads.submit(queue.cancel, id)
    wait_for_lock_waiters(1)
    flying.execute("COMMIT")
    assert asked.result(PATIENCE) == "cancelled"
    task = reports.show(id)
    assert (task["state"], [a["outcome"] for a in task["attempts"]]) == ("cancelled", ["released"])


def test_a_cancel_of_a_running_task_is_notified(database: Database, database_url: str, queue: Queue, worker: Any) -> None:
    never, _ = os.pipe()
    listener = Listener(database_url, "halfstep")
    id = enqueue(database, "bash")
    worker.claim()
    queue.cancel(id)
    assert listener.wait(10, stop_fd=never) == ["cancel"]
    listener.close()
