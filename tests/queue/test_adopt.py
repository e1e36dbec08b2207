"""Adopt: a dead launcher's pod tasks pass to another launcher with their attempts, so that no pod is run again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from halfstep.claims import Wish
from halfstep.database import Database
from halfstep.pods import PodBook, PodRow
from halfstep.producer import NewTask, enqueue_many
from halfstep.queue import Queue

MakeWorker = Callable[..., Any]


@pytest.fixture
def book(database: Database) -> PodBook:
    """What SQL knows of pods."""
    return PodBook(database)


@pytest.fixture
def launcher(make_worker: MakeWorker) -> Any:
    """A registered launcher."""
    return make_worker(name="first", placement="pod")


def pod_tasks(database: Database, count: int = 1, **options: Any) -> list[int]:
    return enqueue_many(database, [NewTask("pod", {"image": "x"}, {"placement": "pod", **options}) for _ in range(count)])


def row_of(claim: Any, **known: Any) -> PodRow:
    return PodRow(claim.attempt_id, claim.id, claim.attempt, "", "tasks", f"hs-{claim.attempt_id}", **known)


def adopt(book: PodBook, launcher: Any) -> Any:
    done = book.adopt(launcher.turn(placement="pod"), token=str(uuid4()))
    launcher.sequence += done.mine
    return done


def test_a_dead_launchers_task_keeps_its_attempt_and_gets_a_new_token(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker
) -> None:
    pod_tasks(database)
    (claim,) = launcher.claim(placement="pod")
    book.write([row_of(claim, uid="u-1")])
    launcher.die()
    other = make_worker(name="second", placement="pod")
    (adopted,) = adopt(book, other).claims
    assert (adopted.id, adopted.attempt, adopted.attempt_id) == (claim.id, claim.attempt, claim.attempt_id)
    assert adopted.token != claim.token
    assert (adopted.pod_namespace, adopted.pod_uid) == ("tasks", "u-1")


def test_the_first_owners_late_finish_is_refused_and_the_adopters_is_taken(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker, queue: Queue, reports: Any
) -> None:
    (task,) = pod_tasks(database)
    (claim,) = launcher.claim(placement="pod")
    launcher.die()
    other = make_worker(name="second", placement="pod")
    (adopted,) = adopt(book, other).claims
    assert other.finish(claim) == [task]
    assert other.finish(adopted) == []
    assert reports.show(task)["state"] == "succeeded"


def test_rescue_leaves_pod_tasks_to_adoption(database: Database, launcher: Any, queue: Queue, reports: Any) -> None:
    (task,) = pod_tasks(database)
    launcher.claim(placement="pod")
    launcher.die()
    assert queue.rescue() == 0
    assert reports.show(task)["state"] == "running"
    assert [lease["dead"] for lease in queue.leases()] == [True]


def test_only_a_launcher_of_the_same_cluster_and_queue_adopts(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker
) -> None:
    pod_tasks(database)
    launcher.claim(placement="pod")
    launcher.die()
    other = make_worker(name="second", placement="pod")
    for served in ({"cluster": "elsewhere"}, {"queues": ["another"]}):
        done = book.adopt(other.turn(placement="pod", **served), token=str(uuid4()))
        other.sequence += 1
        assert (done.mine, done.claims) == (True, [])


def test_a_living_launcher_keeps_its_task(database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker) -> None:
    pod_tasks(database)
    launcher.claim(placement="pod")
    assert adopt(book, make_worker(name="second", placement="pod")).claims == []


def test_an_adoption_out_of_turn_takes_nothing(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker, queue: Queue
) -> None:
    pod_tasks(database)
    launcher.claim(placement="pod")
    launcher.die()
    other = make_worker(name="second", placement="pod")
    late = other.turn(placement="pod")
    queue.resync(other.id)
    done = book.adopt(late, token=str(uuid4()))
    assert (done.mine, done.claims) == (False, [])


def test_a_launcher_that_leaves_with_pods_hands_them_over_at_once(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker, queue: Queue
) -> None:
    pod_tasks(database, 3)
    held = launcher.claim(3, placement="pod")
    queue.deregister(launcher.id)
    adopted = adopt(book, make_worker(name="second", placement="pod")).claims
    assert [claim.attempt_id for claim in adopted] == [claim.attempt_id for claim in held]


def test_an_acknowledged_uid_is_never_forgotten(database: Database, book: PodBook, launcher: Any) -> None:
    (task,) = pod_tasks(database)
    (claim,) = launcher.claim(placement="pod")
    book.write([row_of(claim)])
    book.write([row_of(claim, uid="u-1")])
    book.write([row_of(claim, facts={"node": "n1"})])
    (pod,) = book.list(task=task)
    assert (pod["acknowledged"], pod["facts"], pod["live"]) == (True, {"node": "n1"}, True)


def test_the_doubt_about_a_create_passes_on_to_the_next_adopter(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker
) -> None:
    pod_tasks(database)
    (claim,) = launcher.claim(placement="pod")
    book.write([row_of(claim)])
    launcher.die()
    second = make_worker(name="second", placement="pod")
    (adopted,) = adopt(book, second).claims
    assert (adopted.pod_uid, adopted.pod_kept) == (None, False)
    book.write([row_of(adopted, keep_seconds=3600.0)])
    book.write([row_of(adopted, uid="u-1")])
    second.die()
    (again,) = adopt(book, make_worker(name="third", placement="pod")).claims
    assert (again.pod_uid, again.pod_kept) == ("u-1", True)


def test_only_running_attempts_and_taken_names_need_their_pods(database: Database, book: PodBook, launcher: Any) -> None:
    pod_tasks(database, 3)
    running, ended, held = launcher.claim(3, placement="pod")
    book.write([row_of(running), row_of(ended), row_of(held, keep_seconds=3600.0)])
    launcher.finish(ended, held)
    attempts = [running.attempt_id, ended.attempt_id, held.attempt_id, str(uuid4())]
    assert book.live(attempts) == {running.attempt_id, held.attempt_id}


def test_claims_after_a_lost_reply_say_whether_their_pods_were_acknowledged(
    database: Database, book: PodBook, launcher: Any, queue: Queue
) -> None:
    pod_tasks(database, 2)
    launcher.exchange(Wish(2, str(uuid4())), placement="pod")
    first, second = queue.holdings(launcher.id)
    assert (first.pod_uid, second.pod_uid) == (None, None)
    book.write([row_of(first, uid="u-1"), row_of(second)])
    assert [(c.pod_namespace, c.pod_uid) for c in queue.holdings(launcher.id)] == [("tasks", "u-1"), ("tasks", None)]
