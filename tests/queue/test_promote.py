"""Promote: due tasks become ready, others stay scheduled."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.database import Database
from halfstep.queue import Queue
from waiting import PATIENCE

LATER = "2100-01-01T00:00:00Z"


def make_due(database: Database, ids: list[int]) -> None:
    database.execute("UPDATE halfstep.task SET run_at = clock_timestamp() WHERE id = ANY (%(ids)s)", {"ids": ids})


def test_only_due_tasks_become_ready(database: Database, queue: Queue, worker: Any) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {"run_at": LATER})] * 3)
    assert queue.promote() == 0
    make_due(database, made[:2])
    assert queue.promote() == 2
    assert [claim.id for claim in worker.claim(10)] == made[:2]


def test_the_longest_due_go_first_and_a_batch_is_not_exceeded(database: Database, queue: Queue, worker: Any) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {"run_at": LATER})] * 5)
    for id in reversed(made):
        make_due(database, [id])
    assert queue.promote(batch=2) == 2
    assert [claim.id for claim in worker.claim(10)] == made[3:]
    assert [queue.promote(batch=2), queue.promote(batch=2), queue.promote(batch=2)] == [2, 1, 0]


def test_one_promotes_at_a_time_and_nobody_waits(
    database: Database, queue: Queue, connect: Callable[[], Database], raw_connect: Callable[[], Any]
) -> None:
    make_due(database, [enqueue(database, "bash", run_at=LATER)])
    other = raw_connect()
    other.cursor().execute("SELECT FROM halfstep.turn WHERE name = 'promote' FOR UPDATE")
    assert queue.promote() == 0
    other.rollback()
    assert queue.promote() == 1


def test_racing_promoters_promote_each_task_once(
    database: Database, connect: Callable[[], Database], threads: ThreadPoolExecutor, worker: Any
) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {"run_at": LATER})] * 300)
    make_due(database, made)
    promoters = [Queue(connect()) for _ in range(4)]
    total = 0
    while len(worker.claim(300)) or total < 300:
        total += sum(task.result(PATIENCE) for task in [threads.submit(promoter.promote, batch=50) for promoter in promoters])
    assert total == 300


def test_a_paused_queue_is_promoted_too_and_claimed_later(database: Database, queue: Queue, worker: Any) -> None:
    make_due(database, [enqueue(database, "bash", run_at=LATER)])
    queue.pause("default")
    assert queue.promote() == 1
    assert worker.claim() == []
    queue.resume("default")
    assert len(worker.claim()) == 1
