"""Measure: how much work there is, as the scaler counts it."""

from __future__ import annotations

from typing import Any

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.demand import Backlog
from halfstep.queue import Queue

LATER = "2100-01-01T00:00:00Z"


def numbers(backlog: Backlog) -> tuple[int, int, int, int, int]:
    return backlog.ready, backlog.alone, backlog.due, backlog.running, backlog.orphaned


def test_an_empty_queue_counts_zero(queue: Queue) -> None:
    assert queue.measure() == [Backlog("default", 1, False, 0, 0, 0, 0, 0)]


def test_each_kind_of_work_is_counted_once(database: Database, queue: Queue, make_worker: Any) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 10)
    dead, living = make_worker(), make_worker()
    dead.claim(2)
    living.claim(3)
    dead.die(rescue=False)
    due, _later = enqueue_many(database, [NewTask("bash", {}, {"run_at": LATER})] * 2)
    database.execute("UPDATE halfstep.task SET run_at = clock_timestamp() WHERE id = %(id)s", {"id": due})
    database.execute("UPDATE halfstep.task SET alone = true WHERE id = 10")
    (backlog,) = queue.measure()
    assert numbers(backlog) == (4, 1, 1, 3, 2)
    assert backlog.waiting == 8


def test_finished_tasks_are_not_work(database: Database, queue: Queue, worker: Any) -> None:
    enqueue(database, "bash")
    worker.finish(*worker.claim())
    assert numbers(queue.measure()[0]) == (0, 0, 0, 0, 0)


def test_a_paused_queue_has_no_waiting_work_but_keeps_its_running(database: Database, queue: Queue, worker: Any) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    enqueue(database, "bash", run_at=LATER)
    worker.claim()
    database.execute("UPDATE halfstep.task SET run_at = clock_timestamp()")
    queue.pause("default")
    (backlog,) = queue.measure()
    assert (backlog.paused, numbers(backlog)) == (True, (0, 0, 0, 1, 0))


def test_placement_cluster_and_queue_are_counted_apart(database: Database, queue: Queue, administration: Administration) -> None:
    administration.set_queue("b", weight=5)
    enqueue_many(database, [NewTask("bash", {}, {"queue": queue_name}) for queue_name in ("default", "b", "b")])
    enqueue(database, "pod", placement="pod", cluster="c", queue="b")
    assert [(b.queue, b.weight, b.ready) for b in queue.measure()] == [("b", 5, 2), ("default", 1, 1)]
    assert [(b.queue, b.ready) for b in queue.measure(placement="pod", cluster="c")] == [("b", 1), ("default", 0)]
    assert [(b.queue, b.ready) for b in queue.measure(placement="pod")] == [("b", 0), ("default", 0)]
    assert [b.queue for b in queue.measure(queues=["b", "unknown"])] == ["b"]


def test_counting_stops_at_the_cap(database: Database, queue: Queue, worker: Any) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 30)
    worker.claim(15)
    assert numbers(queue.measure(cap=10)[0]) == (10, 0, 0, 10, 0)
