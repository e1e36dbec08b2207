"""Scaling: hints to a scaler that waits, one holder a role, and leave only for workers that provably hold nothing."""

from __future__ import annotations

import select
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psycopg2.extensions
import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.claims import Ending, Wish
from halfstep.database import Database
from halfstep.outcomes import Succeeded
from halfstep.queue import Queue
from halfstep.scaling import Candidate, ScalingBook
from halfstep.statements import statement
from waiting import PATIENCE, wait_until

LATER = "2100-01-01T00:00:00Z"


@pytest.fixture
def book(database: Database) -> ScalingBook:
    return ScalingBook(database)


@pytest.fixture(autouse=True)
def _leaves_nothing(database: Database) -> Iterator[None]:
    wipe = "DELETE FROM halfstep.tally; DELETE FROM halfstep.scaler; DELETE FROM halfstep.election"
    database.script(wipe)
    yield
    database.close()
    database.script(wipe)


@pytest.fixture
def heard(raw_connect: Callable[[], psycopg2.extensions.connection]) -> Callable[[], int]:
    """How many notifications came since it was asked last. What was committed before the question has arrived."""
    ear = raw_connect()
    ear.autocommit = True
    ear.cursor().execute("LISTEN halfstep")

    def count() -> int:
        with ear.cursor() as cursor:
            cursor.execute("SELECT 1")
        select.select([ear], [], [], 0.05)
        ear.poll()
        number = len(ear.notifies)
        ear.notifies.clear()
        return number

    return count


# -- hints


def test_nobody_is_told_of_a_task_while_nobody_waits(database: Database, heard: Callable[[], int]) -> None:
    enqueue(database, "bash")
    assert heard() == 0


def test_a_scaler_hears_of_the_queues_it_waits_for_and_of_no_others(
    database: Database, book: ScalingBook, heard: Callable[[], int]
) -> None:
    scaler = str(uuid.uuid4())
    book.wait_for(scaler, "one", ["etl", "mail"])
    enqueue(database, "bash")
    assert heard() == 0
    enqueue_many(database, [NewTask("bash", {}, {"queue": name}) for name in ("default", "mail", "etl")])
    assert heard() == 1
    book.wait_for(scaler, "one", ["*"])
    enqueue(database, "bash")
    assert heard() == 1
    book.wait_for(scaler, "one", [])
    enqueue(database, "bash", queue="etl")
    assert heard() == 0


def test_a_scaler_that_has_not_been_seen_for_a_minute_is_told_nothing(
    database: Database, book: ScalingBook, heard: Callable[[], int]
) -> None:
    book.wait_for(str(uuid.uuid4()), "gone", ["*"])
    database.execute("UPDATE halfstep.scaler SET seen_at = seen_at - interval '61 s'")
    enqueue(database, "bash")
    assert heard() == 0
    database.execute("UPDATE halfstep.scaler SET seen_at = seen_at - interval '1 hour'")
    book.wait_for(str(uuid.uuid4()), "new", [])
    assert [row["name"] for row in database.execute("SELECT name FROM halfstep.scaler")] == ["new"]


def test_a_scaler_hears_of_work_that_comes_by_other_ways_than_enqueue(
    database: Database, book: ScalingBook, queue: Queue, worker: Any, heard: Callable[[], int]
) -> None:
    book.wait_for(str(uuid.uuid4()), "one", ["default"])
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 3 + [NewTask("bash", {}, {"run_at": LATER})])
    assert heard() == 1
    database.execute("UPDATE halfstep.task SET run_at = clock_timestamp() WHERE state = 'scheduled'")
    queue.promote()
    assert heard() == 1
    claims = worker.claim(3)
    queue.release(claims[:1], reason="drain", started=True)
    assert heard() == 1
    worker.finish(claims[1])
    queue.retry_finished(claims[1].id)
    assert heard() == 1
    worker.die()
    assert heard() == 1
    assert len(made) == 4


# -- elections


def test_one_holds_a_role_until_it_resigns_or_does_not_renew(database: Database, book: ScalingBook) -> None:
    first, second = (str(uuid.uuid4()) for _ in range(2))
    assert book.elect("exporter", first, "a", 60)
    assert not book.elect("exporter", second, "b", 60)
    assert book.elect("another role", second, "b", 60)
    assert book.elect("exporter", first, "a", 60)
    book.resign("exporter", second)  # not its own to give
    assert not book.elect("exporter", second, "b", 60)
    book.resign("exporter", first)
    assert book.elect("exporter", second, "b", 60)
    database.execute("UPDATE halfstep.election SET expires_at = clock_timestamp() WHERE role = 'exporter'")
    assert book.elect("exporter", first, "a", 60)
    assert not book.elect("exporter", second, "b", 60)


def test_of_many_who_stand_at_once_one_wins(connect: Callable[[], Database], threads: ThreadPoolExecutor) -> None:
    books = [ScalingBook(connect()) for _ in range(8)]
    won = threads.map(lambda book: book.elect("exporter", str(uuid.uuid4()), "n", 60), books)
    assert sum(won) == 1


def test_a_candidate_trusts_its_own_clock_only(book: ScalingBook) -> None:
    now = [100.0]
    first, second = (Candidate(book, "exporter", name, 10.0, clock=lambda: now[0]) for name in "ab")
    assert (first.holds, first.stand(), first.holds) == (False, True, True)
    assert (second.stand(), second.holds) == (False, False)
    now[0] += 9.9
    assert first.holds
    now[0] += 0.2
    assert not first.holds  # although the row still says so: whoever was frozen knows at once that it may be over
    assert first.stand()
    first.resign()
    assert (first.holds, second.stand()) == (False, True)


# -- run times


def test_mean_run_times_are_those_of_all_workers_and_later_the_recent_ones(
    database: Database, book: ScalingBook, make_worker: Any
) -> None:
    def run(seconds: float, *, times: int = 30) -> None:
        enqueue_many(database, [NewTask("bash", {}, {})] * times)
        worker = make_worker()
        worker.exchange(Wish(0, str(uuid.uuid4())), [Ending(claim, Succeeded(), seconds) for claim in worker.claim(times)])

    assert book.mean_seconds(now=0) == {}
    run(2.0)
    run(4.0)
    assert book.mean_seconds(now=100) == {("default", "worker"): pytest.approx(3.0)}
    run(1.0)
    assert book.mean_seconds(now=760) == {("default", "worker"): pytest.approx(1.0)}


# -- leave for the idle


def test_loads_tell_what_each_worker_holds_and_whether_it_leaves(
    database: Database, book: ScalingBook, queue: Queue, make_worker: Any
) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    busy, idle, other, dead, leaving = (
        make_worker(name=name, host=f"on-{name}") for name in ("busy", "idle", "other", "dead", "leaving")
    )
    make_worker(name="launcher", placement="pod")
    busy.claim(3)
    dead.die()
    queue.drain(leaving.id)
    assert [(load.name, load.held, load.leaving) for load in book.loads()] == [
        ("leaving", 0, True), ("other", 0, False), ("idle", 0, False), ("busy", 3, False),
    ]  # fmt: skip
    assert [load.name for load in book.idle_workers()] == ["other", "idle"]
    assert [load.name for load in book.idle_workers(hosts=["on-idle", "on-busy"])] == ["idle"]
    assert [load.name for load in book.loads(placement="pod")] == ["launcher"]
    assert (idle.id, other.id) != (busy.id, busy.id)


def test_only_workers_that_hold_nothing_are_asked_to_leave_the_youngest_first(
    database: Database, book: ScalingBook, queue: Queue, make_worker: Any
) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    workers = [make_worker(name=f"w{n}", host=f"h{n}") for n in range(5)]
    workers[4].claim(3)
    assert [load.name for load in book.drain_idle(1)] == ["w3"]
    assert [load.name for load in book.drain_idle(9, hosts=["h0", "h4", "h9"])] == ["w0"]
    assert {load.name for load in book.drain_idle(9)} == {"w1", "w2"}
    assert book.drain_idle(9) == []
    assert [queue.renew(worker.id) for worker in workers] == [True] * 4 + [False]


def test_a_worker_that_was_asked_to_leave_claims_and_adopts_nothing_but_may_leave_in_order(
    database: Database, book: ScalingBook, queue: Queue, worker: Any
) -> None:
    enqueue(database, "bash")
    assert [load.id for load in book.drain_idle(1)] == [worker.id]
    done = worker.exchange(Wish(1, str(uuid.uuid4())))
    assert (done.mine, done.claims) == (True, [])
    queue.deregister(worker.id)
    assert book.loads() == []


def test_a_worker_in_the_middle_of_an_exchange_is_passed_over(
    database: Database, connect: Callable[[], Database], make_worker: Any
) -> None:
    enqueue(database, "bash")
    worker = make_worker()
    other = ScalingBook(connect())
    with database.transaction():
        assert len(worker.claim()) == 1  # not committed yet: others see it idle
        assert [load.held for load in other.loads()] == [0]
        assert other.drain_idle(1) == []
    assert other.drain_idle(1) == []


def test_a_claim_that_commits_between_the_look_and_the_lock_keeps_its_worker(
    database: Database, connect: Callable[[], Database], make_worker: Any, threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Callable[[int], None], raw_connect: Callable[[], Any],
) -> None:  # fmt: skip
    """The statement is held up after its snapshot, at the row of the younger worker, which it looks at first."""
    enqueue(database, "bash")
    worker, spare = make_worker(name="claims"), make_worker(name="spare")
    gate = raw_connect()
    gate.cursor().execute("SELECT FROM halfstep.exchange WHERE worker_id = %s FOR UPDATE", (spare.id,))
    waiting = statement("drain_idle").replace("SKIP LOCKED", "")  # the same proof, but it waits for the row
    draining = threads.submit(connect().execute, waiting, {"most": 9, "placement": "worker", "hosts": None})
    wait_for_lock_waiters(1)
    assert len(worker.claim()) == 1
    gate.rollback()
    names = [row["name"] for row in draining.result(PATIENCE)]
    assert "claims" not in names
    assert names == ["spare"]


def test_no_worker_that_was_asked_to_leave_ever_holds_a_task_whatever_runs_at_once(
    database: Database, connect: Callable[[], Database], make_worker: Any, threads: ThreadPoolExecutor
) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 400)
    stopped = Event()
    claimed: dict[str, int] = {}
    asked: set[str] = set()

    def serve(verbs: Queue) -> None:
        """Workers that come, claim, finish, and go when they are asked to."""
        while not stopped.is_set():
            worker = make_worker(on=verbs)
            while not verbs.renew(worker.id) and not stopped.is_set():
                claims = worker.claim()
                claimed[worker.id] = claimed.get(worker.id, 0) + len(claims)
                worker.finish(*claims)
            assert verbs.holdings(worker.id) == []
            assert worker.claim() == []
            verbs.deregister(worker.id)

    def drain(book: ScalingBook) -> None:
        while not stopped.is_set():
            for load in book.drain_idle(2):
                asked.add(load.id)
                held = book.database.execute("SELECT id FROM halfstep.task WHERE worker_id = %(id)s::uuid", {"id": load.id})
                assert held == []

    running = [threads.submit(serve, Queue(connect())) for _ in range(4)] + [threads.submit(drain, ScalingBook(connect()))]
    try:
        wait_until(
            lambda: not database.execute("SELECT FROM halfstep.task LIMIT 1") or any(task.done() for task in running),
            what="the end of all tasks",
        )
    finally:
        stopped.set()
    for task in running:
        task.result(PATIENCE)
    assert asked
    assert sum(claimed.values()) >= 400
