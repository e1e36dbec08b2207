"""Renew: a worker's life as others see it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from halfstep import enqueue
from halfstep.database import Database
from halfstep.queue import Queue
from halfstep.reports import Reports
from waiting import PATIENCE


def test_each_renewal_moves_the_counter(worker: Any, queue: Queue) -> None:
    def counter() -> int:
        (lease,) = queue.leases()
        assert (lease["worker"], lease["seconds"], lease["dead"]) == (worker.id, 10.0, False)
        return int(lease["counter"])

    assert [counter(), queue.renew(worker.id), counter(), queue.renew(worker.id), counter()] == [0, False, 1, False, 2]


def test_a_renewal_tells_that_somebody_asked_for_a_drain(database: Database, worker: Any, queue: Queue) -> None:
    database.execute("UPDATE halfstep.worker SET drain_requested_at = clock_timestamp()")
    assert queue.renew(worker.id) is True


def test_a_renewal_says_how_busy_the_worker_is(worker: Any, queue: Queue, reports: Reports) -> None:
    queue.renew(worker.id, busy=3, fenced=1)
    (told,) = reports.workers()
    assert (told["name"], told["state"], told["busy"], told["fenced"], told["slots"]) == ("w", "running", 3, 1, 4)


def test_a_worker_that_never_registered_renews_nothing(queue: Queue) -> None:
    assert queue.renew("00000000-0000-0000-0000-000000000001") is None


def test_a_draining_worker_still_lives_and_finishes(database: Database, worker: Any, queue: Queue, reports: Reports) -> None:
    enqueue(database, "bash")
    claims = worker.claim()
    assert queue.renew(worker.id, draining=True) is False
    assert reports.workers()[0]["state"] == "draining"
    assert queue.renew(worker.id, draining=True) is False
    assert worker.finish(*claims) == []


def test_a_worker_that_was_asked_to_leave_claims_nothing_from_then_on_and_learns_of_it(
    database: Database, worker: Any, queue: Queue, reports: Reports
) -> None:
    enqueue(database, "bash")
    held = worker.claim(1)
    enqueue(database, "bash")
    assert queue.drain(worker.id)
    assert worker.claim() == []
    assert queue.renew(worker.id) is True
    told = reports.workers()[0]
    assert (told["state"], told["held"]) == ("draining", 1)
    assert worker.finish(*held) == []
    assert queue.drain(worker.id)


def test_only_a_living_worker_can_be_asked_to_leave(worker: Any, make_worker: Any, queue: Queue) -> None:
    queue.deregister(worker.id)
    assert not queue.drain(worker.id)
    dead = make_worker()
    dead.die()
    assert not queue.drain(dead.id)


def test_whoever_leaves_while_somebody_asks_it_to_waits_for_nobody_for_ever(
    make_worker: Any, connect: Callable[[], Database], threads: ThreadPoolExecutor, wait_for_lock_waiters: Callable[[int], None]
) -> None:
    worker, asking = make_worker(), connect()
    asking.execute("BEGIN")
    assert Queue(asking).drain(worker.id)
    leaving = threads.submit(Queue(connect()).deregister, worker.id)
    wait_for_lock_waiters(1)
    asking.execute("COMMIT")
    leaving.result(PATIENCE)


def test_a_renewal_keeps_the_most_memory_that_was_told(worker: Any, queue: Queue, reports: Reports) -> None:
    for told in (None, 5, 3):
        queue.renew(worker.id, peak_bytes=told)
    assert reports.workers()[0]["peak_bytes"] == 5


def test_a_worker_that_leaves_with_empty_hands_is_gone(worker: Any, queue: Queue, reports: Reports) -> None:
    queue.deregister(worker.id)
    assert queue.leases() == []
    assert queue.resync(worker.id) is None
    assert reports.workers() == []
    assert [told["state"] for told in reports.workers(everyone=True)] == ["stopped"]


def test_what_a_leaving_worker_still_holds_is_rescued_at_once(
    database: Database, worker: Any, queue: Queue, reports: Reports
) -> None:
    id = enqueue(database, "bash")
    worker.claim()
    queue.deregister(worker.id)
    assert [lease["dead"] for lease in queue.leases()] == [True]
    assert queue.rescue() == 1
    assert reports.show(id)["state"] == "ready"
    assert queue.leases() == []


def test_leaving_twice_is_fine(worker: Any, queue: Queue) -> None:
    queue.deregister(worker.id)
    queue.deregister(worker.id)


def test_a_dead_worker_stays_readable_after_its_burial(worker: Any, reports: Reports) -> None:
    worker.die()
    assert reports.workers() == []
    assert [(told["name"], told["state"]) for told in reports.workers(everyone=True)] == [("w", "dead")]


def test_a_worker_that_registers_afresh_is_still_to_leave_if_it_was_asked_to(
    database: Database, make_worker: Any, queue: Queue
) -> None:
    enqueue(database, "bash")
    asked, other = make_worker(), make_worker()
    queue.drain(asked.id)
    asked.die()
    other.die()
    again, another = make_worker(follows=asked.id), make_worker(follows=other.id)
    assert (queue.renew(again.id), queue.renew(another.id)) == (True, False)
    assert again.claim() == []
    assert len(another.claim()) == 1
