"""Unique keys: one live task a key, or one a period; whoever races gets the one id."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.database import Database
from halfstep.errors import Conflict
from halfstep.outcomes import Failed, Retry
from halfstep.queue import Queue
from waiting import PATIENCE


def keys(database: Database) -> dict[str, int]:
    return {row["key"]: row["task_id"] for row in database.execute("SELECT key, task_id FROM halfstep.unique_key")}


def test_a_key_gives_the_same_id_while_its_task_lives(database: Database, queue: Queue, worker: Any) -> None:
    id = enqueue(database, "bash", unique_key="k")
    assert enqueue(database, "bash", unique_key="k") == id
    (claim,) = worker.claim()
    assert enqueue(database, "bash", unique_key="k") == id
    queue.retry([(claim, Retry("no", 3600.0))])
    assert enqueue(database, "bash", unique_key="k") == id
    assert len(keys(database)) == 1


@pytest.mark.parametrize("outcome", [None, Failed("no")])
def test_a_finish_frees_the_key(database: Database, worker: Any, outcome: Failed | None) -> None:
    first = enqueue(database, "bash", unique_key="k")
    worker.finish(*worker.claim(), outcome=outcome)
    assert keys(database) == {}
    assert enqueue(database, "bash", unique_key="k") != first


def test_a_cancel_a_lost_task_and_a_release_free_the_key(
    database: Database, queue: Queue, make_worker: Callable[..., Any]
) -> None:
    queue.cancel(enqueue(database, "bash", unique_key="waiting"))
    enqueue(database, "bash", unique_key="lost", at_most_once=True)
    dying = make_worker()
    assert dying.claim()
    dying.die()
    enqueue(database, "bash", unique_key="stopped", at_most_once=True)
    queue.release(make_worker().claim(), reason="drain", started=True)
    assert keys(database) == {}


def test_a_key_for_a_period_outlives_its_task_and_ends_with_the_period(database: Database, worker: Any) -> None:
    first = enqueue(database, "bash", unique_key="k", unique_for=3600)
    worker.finish(*worker.claim())
    assert enqueue(database, "bash", unique_key="k") == first
    database.execute("UPDATE halfstep.unique_key SET expires_at = clock_timestamp()")
    second = enqueue(database, "bash", unique_key="k", unique_for=3600)
    assert second != first
    assert keys(database) == {"k": second}


def test_a_retry_of_a_finished_task_leaves_the_keys_period_as_it_is(database: Database, queue: Queue, worker: Any) -> None:
    id = enqueue(database, "bash", unique_key="k", unique_for=3600)
    worker.finish(*worker.claim())
    queue.retry_finished(id)
    worker.finish(*worker.claim())
    assert keys(database) == {"k": id}


def test_a_retry_is_refused_with_the_holders_id(database: Database, queue: Queue, worker: Any, reports: Any) -> None:
    first = enqueue(database, "bash", unique_key="k")
    worker.finish(*worker.claim())
    second = enqueue(database, "bash", unique_key="k")
    with pytest.raises(Conflict, match=f"its unique key is held by task {second}"):
        queue.retry_finished(first)
    assert reports.show(first)["state"] == "succeeded"
    worker.finish(*worker.claim())
    queue.retry_finished(first)
    assert keys(database) == {"k": first}


def test_sixteen_racing_threads_get_the_one_id(
    connect: Callable[[], Database], database: Database, threads: ThreadPoolExecutor
) -> None:
    connections = [connect() for _ in range(16)]
    for round in range(5):
        tasks = [threads.submit(enqueue, connection, "bash", unique_key=f"k{round}") for connection in connections]
        assert len({task.result(PATIENCE) for task in tasks}) == 1
    assert database.execute("SELECT count(*) AS n FROM halfstep.task")[0]["n"] == 5


def test_racing_batches_with_the_same_keys_in_other_orders_never_wait_for_each_other(
    connect: Callable[[], Database], threads: ThreadPoolExecutor
) -> None:
    batch = [NewTask("bash", {}, {"unique_key": f"k{n}"}) for n in range(200)]
    orders = [batch, batch[::-1], batch[100:] + batch[:100]] * 3
    results = [threads.submit(enqueue_many, connect(), order) for order in orders]
    assert len({frozenset(result.result(PATIENCE)) for result in results}) == 1


def test_an_enqueue_waits_for_another_ones_open_transaction(
    raw_connect: Callable[[], Any],
    connect: Callable[[], Database],
    threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Callable[[int], None],
) -> None:
    for end, same in (("commit", True), ("rollback", False)):
        holder = raw_connect()
        first = enqueue(holder, "bash", unique_key=end)
        second = threads.submit(enqueue, connect(), "bash", unique_key=end)
        wait_for_lock_waiters(1)
        getattr(holder, end)()
        assert (second.result(PATIENCE) == first) == same


def test_an_open_transaction_that_met_a_held_key_does_not_make_its_tasks_finish_wait(
    raw_connect: Callable[[], Any], database: Database, worker: Any
) -> None:
    id = enqueue(database, "bash", unique_key="k")
    claims = worker.claim()
    user = raw_connect()
    assert enqueue(user, "bash", unique_key="k") == id
    database.execute("SET lock_timeout = 500")
    assert worker.finish(*claims) == []
    assert keys(database) == {}
