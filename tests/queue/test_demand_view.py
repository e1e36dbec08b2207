"""Demand: the book and the view count the same work, and all that is about to be work, however many groups there are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.demand import Backlog, is_active
from halfstep.errors import NotPermitted
from halfstep.queue import Queue
from halfstep.scaling import ScalingBook
from waiting import PATIENCE

LATER = "2100-01-01T00:00:00Z"
COUNTS = ("ready", "alone", "due", "running", "orphaned")


@pytest.fixture
def book(database: Database) -> ScalingBook:
    return ScalingBook(database)


@pytest.fixture(autouse=True)
def _nobody_waits(database: Database) -> Iterator[None]:
    yield
    database.close()
    database.script("DELETE FROM halfstep.tally; DELETE FROM halfstep.scaler; DELETE FROM halfstep.election")


def counted(book: ScalingBook, **options: Any) -> dict[tuple[str, str, str], tuple[int, ...]]:
    return {
        (b.queue, b.placement, b.cluster): tuple(getattr(b, name) for name in COUNTS) for b in book.backlogs(**options)
    }  # fmt: skip


def some_of_everything(database: Database, make_worker: Any) -> None:
    """Ten ready; of them two run, two are orphaned, one is a suspect; one scheduled is due and one is not."""
    enqueue_many(database, [NewTask("bash", {}, {})] * 10)
    dead, living = make_worker(), make_worker()
    dead.claim(2)
    living.claim(2)
    dead.die(rescue=False)
    due, _later = enqueue_many(database, [NewTask("bash", {}, {"run_at": LATER})] * 2)
    database.execute("UPDATE halfstep.task SET run_at = clock_timestamp() WHERE id = %(id)s", {"id": due})
    database.execute("UPDATE halfstep.task SET alone = true WHERE id = 10")


def test_a_queue_without_work_has_one_record_of_nothing(book: ScalingBook) -> None:
    assert book.backlogs() == [Backlog("default", 1, False, 0, 0, 0, 0, 0)]
    assert not is_active(book.backlogs())


def test_each_kind_of_work_is_counted_once_as_by_measure(
    database: Database, book: ScalingBook, queue: Queue, make_worker: Any
) -> None:
    some_of_everything(database, make_worker)
    assert counted(book) == {("default", "worker", ""): (5, 1, 1, 2, 2)}
    (measured,), (told,) = queue.measure(), book.backlogs()
    assert [getattr(told, name) for name in COUNTS] == [getattr(measured, name) for name in COUNTS]
    assert is_active([told])


def test_every_group_is_found_whatever_kind_of_work_it_has(database: Database, book: ScalingBook, make_worker: Any) -> None:
    options = [
        {"queue": queue, "placement": placement, "cluster": cluster}
        for queue in ("a", "b.c", "default", "z")
        for placement, cluster in (("worker", ""), ("pod", ""), ("pod", "east"), ("pod", "west"))
    ]
    for kind in ("ready", "running", "alone", "due"):
        enqueue_many(database, [NewTask("bash", {}, one) for one in options])
        if kind == "running":
            launcher, worker = make_worker(placement="pod"), make_worker()
            for cluster in ("", "east", "west"):
                launcher.claim(9, queues=["a", "b.c", "default", "z"], placement="pod", cluster=cluster)
            worker.claim(9, queues=["a", "b.c", "default", "z"])
        elif kind == "alone":
            database.script("UPDATE halfstep.task SET alone = true WHERE state = 'ready'")
        elif kind == "due":
            database.script("UPDATE halfstep.task SET state = 'scheduled' WHERE state = 'ready'")
        expected = {(o["queue"], o["placement"], o["cluster"]) for o in options}
        position = COUNTS.index(kind)
        found = {group: numbers[position] for group, numbers in counted(book).items()}
        assert found == dict.fromkeys(expected, 1), kind
        database.script("DELETE FROM halfstep.task")


def test_the_view_tells_what_the_arithmetic_is_given(
    database: Database, book: ScalingBook, queue: Queue, make_worker: Any
) -> None:
    some_of_everything(database, make_worker)
    enqueue_many(
        database, [NewTask("bash", {}, {"queue": "held"})] * 3 + [NewTask("pod", {}, {"placement": "pod", "cluster": "c"})]
    )
    queue.pause("held")
    told = {(b.queue, b.placement, b.cluster): b for b in book.backlogs()}
    rows = database.execute("SELECT * FROM halfstep.demand")
    assert len(rows) == len(told) == 3
    for row in rows:
        backlog = told[row["queue"], row["placement"], row["cluster"]]
        assert (row["waiting"], row["running"], row["paused"]) == (backlog.waiting, backlog.running, backlog.paused)
        if not row["paused"]:
            assert [row[name] for name in COUNTS] == [getattr(backlog, name) for name in COUNTS]
            assert row["oldest_seconds"] == pytest.approx(backlog.oldest_seconds, abs=5)


def test_what_waits_in_a_paused_queue_is_seen_but_is_no_work(
    database: Database, book: ScalingBook, queue: Queue, worker: Any
) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    worker.claim()
    queue.pause("default")
    (backlog,) = book.backlogs()
    assert (backlog.paused, backlog.waiting, backlog.running, backlog.oldest_seconds) == (True, 0, 1, 0.0)
    (row,) = database.execute("SELECT ready, waiting, running FROM halfstep.demand")
    assert (row["ready"], row["waiting"], row["running"]) == (2, 0, 1)


def test_counting_stops_at_the_cap_for_each_group(database: Database, book: ScalingBook, worker: Any) -> None:
    enqueue_many(database, [NewTask("bash", {}, {"queue": name}) for name in ("default", "b") for _ in range(30)])
    worker.claim(15)
    assert counted(book, cap=10) == {("b", "worker", ""): (10, 0, 0, 0, 0), ("default", "worker", ""): (10, 0, 0, 10, 0)}


@pytest.mark.parametrize("where", ["lowest priority", "highest priority", "a suspect", "scheduled"])
def test_the_oldest_runnable_task_is_found_wherever_it_stands(database: Database, book: ScalingBook, where: str) -> None:
    given = {"lowest priority": -100, "highest priority": 100}
    enqueue_many(database, [NewTask("bash", {}, {"priority": n % 7}) for n in range(50)])
    oldest = enqueue(database, "bash", priority=given.get(where, 3))
    enqueue_many(database, [NewTask("bash", {}, {"priority": n % 7}) for n in range(50)])
    change = {"a suspect": ", alone = true", "scheduled": ", state = 'scheduled'"}.get(where, "")
    database.execute(f"UPDATE halfstep.task SET run_at = run_at - interval '100 s' {change} WHERE id = %(id)s", {"id": oldest})
    (backlog,) = book.backlogs()
    assert 100 <= backlog.oldest_seconds < 100 + PATIENCE


def test_a_role_that_may_read_the_view_needs_no_table(database: Database, server: Any, database_url: str) -> None:
    role = server.make_role()
    database.script(f"GRANT USAGE ON SCHEMA halfstep TO {role[0]}; GRANT SELECT ON halfstep.demand TO {role[0]}")
    name = database.execute("SELECT current_database() AS name")[0]["name"]
    theirs = Database(server.url(name, role))
    try:
        assert theirs.execute("SELECT coalesce(sum(waiting + running), 0) AS n FROM halfstep.demand")[0]["n"] == 0
        with pytest.raises(NotPermitted):
            theirs.execute("SELECT FROM halfstep.task")
    finally:
        theirs.close()
        database.script(f"REVOKE ALL ON halfstep.demand FROM {role[0]}; REVOKE ALL ON SCHEMA halfstep FROM {role[0]}")
        server.admin(f"DROP ROLE {role[0]}")


def test_unknown_queues_and_other_owners_break_nothing(book: ScalingBook, administration: Administration) -> None:
    administration.set_queue("b", weight=7)
    assert [(b.queue, b.weight) for b in book.backlogs()] == [("b", 7), ("default", 1)]
    book.wait_for(str(uuid.uuid4()), "scaler", ["no such queue"])
