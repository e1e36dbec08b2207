"""Adopt: a dead launcher's pod tasks pass to another launcher with their attempts, so that no pod is run again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from halfstep.claims import Wish
from halfstep.database import Database
from halfstep.pods import Doubt, PodBook, PodRow
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
    book.write([row_of(claim)])
    launcher.die()
    other = make_worker(name="second", placement="pod")
    (adopted,) = adopt(book, other).claims
    assert other.finish(claim) == [task]
    assert other.finish(adopted) == []
    assert reports.show(task)["state"] == "succeeded"


def test_rescue_leaves_pod_tasks_to_adoption(
    database: Database, book: PodBook, launcher: Any, queue: Queue, reports: Any
) -> None:
    (task,) = pod_tasks(database)
    (claim,) = launcher.claim(placement="pod")
    book.write([row_of(claim)])
    launcher.die(rescue=False)
    assert queue.rescue() == 0
    assert reports.show(task)["state"] == "running"
    assert [lease["dead"] for lease in queue.leases()] == [True]


def test_only_a_launcher_of_the_same_cluster_and_queue_adopts(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker
) -> None:
    pod_tasks(database)
    book.write([row_of(claim) for claim in launcher.claim(placement="pod")])
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
    book.write([row_of(claim) for claim in launcher.claim(placement="pod")])
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
    attempts = {"running": running.attempt_id, "ended": ended.attempt_id, "held": held.attempt_id, "none": str(uuid4())}
    doubts = [Doubt(attempt, uid, "tasks", marked=True, older=False, twin=True) for uid, attempt in attempts.items()]
    assert book.doubted(doubts) == {"running": "live", "ended": "garbage", "held": "live", "none": "unknown"}


def test_claims_after_a_lost_reply_say_whether_their_pods_were_acknowledged(
    database: Database, book: PodBook, launcher: Any, queue: Queue
) -> None:
    pod_tasks(database, 2)
    launcher.exchange(Wish(2, str(uuid4())), placement="pod")
    first, second = queue.holdings(launcher.id)
    assert (first.pod_uid, second.pod_uid) == (None, None)
    book.write([row_of(first, uid="u-1"), row_of(second)])
    assert [(c.pod_namespace, c.pod_uid) for c in queue.holdings(launcher.id)] == [("tasks", "u-1"), ("tasks", None)]


# -- a launcher that dies of what it was making


def perish(database: Database, book: PodBook, make_worker: MakeWorker, *, intend: bool, alone: bool = False) -> list[int]:
    """A launcher claims what it may, tells that it will make the pods (or not), and dies; returns what it held."""
    launcher = make_worker(name="mortal", placement="pod")
    held = launcher.claim(1 if alone else 10, alone=alone, placement="pod") or adopt(book, launcher).claims
    if intend:
        book.write([row_of(claim, token=claim.token) for claim in held])
    launcher.die()
    return [claim.id for claim in held]


def tallies(reports: Any, task: int) -> tuple[str, int, int, bool]:
    told = reports.show(task)
    return told["state"], told["deaths"], told["lone_deaths"], told["alone"]


def test_what_a_dead_launcher_had_not_even_intended_is_claimed_anew_also_if_it_is_at_most_once(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker, queue: Queue, reports: Any
) -> None:
    tasks = pod_tasks(database, 2, at_most_once=True)
    first, second = launcher.claim(2, placement="pod")
    book.write([row_of(second, token=second.token)])
    launcher.die()
    assert tallies(reports, tasks[0]) == ("ready", 1, 0, False)
    assert [(a["outcome"], a["reason"]) for a in reports.show(tasks[0])["attempts"]] == [("lost", "worker_lost")]
    assert "before it asked for the pod" in reports.show(tasks[0])["attempts"][0]["error"]
    assert [claim.id for claim in adopt(book, make_worker(placement="pod")).claims] == [tasks[1]]
    assert book.write([row_of(first, token=first.token)]) == set(), "who was taken for dead intends it no more"


def test_a_launcher_that_leaves_does_no_harm_to_the_name_of_what_it_hands_over(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker, queue: Queue, reports: Any
) -> None:
    tasks = pod_tasks(database, 2)
    held = launcher.claim(2, placement="pod")
    book.write([row_of(held[0], token=held[0].token)])
    queue.deregister(launcher.id)
    assert queue.rescue() == 0
    adopt(book, make_worker(placement="pod"))
    assert [tallies(reports, task) for task in tasks] == [("running", 0, 0, False)] * 2


def test_what_merely_ran_or_waited_when_its_launcher_died_is_not_blamed(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker, reports: Any
) -> None:
    tasks = pod_tasks(database, 3)
    runs, waits, made = launcher.claim(3, placement="pod")
    book.write([row_of(runs, uid="u-1"), row_of(waits, facts={"waiting": "The quota is used up."}), row_of(made)])
    launcher.die()
    assert len(adopt(book, make_worker(placement="pod")).claims) == 3
    assert [reports.show(task)["deaths"] for task in tasks] == [0, 0, 1]


def test_a_task_whose_planning_kills_launchers_is_found_out_as_one_that_kills_workers(
    database: Database, book: PodBook, make_worker: MakeWorker, queue: Queue, reports: Any
) -> None:
    (task,) = pod_tasks(database, at_most_once=True, unique_key="k")
    for _ in range(2):
        assert perish(database, book, make_worker, intend=False) == [task]
    backlog = queue.measure(placement="pod")[0]
    assert (backlog.ready, backlog.alone) == (0, 1)
    for lone in range(3):
        assert tallies(reports, task) == ("ready", 2 + lone, lone, True)
        assert perish(database, book, make_worker, intend=False, alone=True) == [task]
    told = reports.show(task)
    assert (told["state"], told["reason"], told["deaths"], told["lone_deaths"]) == ("failed", "poison", 5, 3)
    assert told["error"].startswith("5 launchers died while they planned this task's pod, 3 of them while they planned no other")
    assert database.execute("SELECT FROM halfstep.unique_key") == []


def test_a_task_whose_pod_kills_launchers_as_it_is_made_is_adopted_alone_and_found_out(
    database: Database, book: PodBook, make_worker: MakeWorker, reports: Any
) -> None:
    tasks = pod_tasks(database, 3)
    assert perish(database, book, make_worker, intend=True) == tasks
    heir = make_worker(placement="pod")
    assert [claim.id for claim in adopt(book, heir).claims] == tasks
    assert [tallies(reports, task)[1:] for task in tasks] == [(1, 0, False)] * 3
    heir.die()
    for lone in range(3):
        heir = make_worker(placement="pod")
        assert book.adopt(heir.turn(placement="pod"), token=str(uuid4()), free=False).claims == []
        heir.sequence += 1
        (claim,) = adopt(book, heir).claims
        assert (claim.id, claim.alone) == (tasks[0], True)
        assert tallies(reports, tasks[0])[1:] == (2 + lone, lone, True)
        assert [tallies(reports, task)[1:] for task in tasks[1:]] == [(1, 0, False)] * 2
        heir.die()
    (claim,) = adopt(book, make_worker(placement="pod")).claims
    said = book.pasts([claim])[claim.attempt_id].facts["poison"]
    assert said.startswith("5 launchers died while they made this task's pod, 3 of them while they made no other")


def test_what_is_no_suspect_is_adopted_first_however_many_suspects_there_are(
    database: Database, book: PodBook, launcher: Any, make_worker: MakeWorker
) -> None:
    tasks = pod_tasks(database, 4)
    database.execute(f"UPDATE halfstep.task SET deaths = 1 WHERE id IN ({tasks[0]}, {tasks[1]})")
    held = launcher.claim(4, placement="pod")
    book.write([row_of(claim, uid="u" if claim.id == tasks[3] else None) for claim in held])
    launcher.die()
    heir = make_worker(placement="pod")
    done = [book.adopt(replace(heir.turn(placement="pod"), sequence=n), token=str(uuid4()), batch=1).claims for n in range(5)]
    assert [[claim.id for claim in claims] for claims in done] == [[tasks[2]], [tasks[3]], [tasks[0]], [tasks[1]], []]


def test_a_cancel_of_a_task_that_kills_launchers_ends_it_at_the_next_death(
    database: Database, book: PodBook, launcher: Any, queue: Queue, reports: Any
) -> None:
    (task,) = pod_tasks(database)
    launcher.claim(placement="pod")
    assert queue.cancel(task) == "requested"
    launcher.die()
    assert reports.show(task)["state"] == "cancelled"


def test_an_intent_on_its_way_and_a_mark_wait_for_each_other_so_that_no_rescue_overlooks_it(
    database: Database, connect: Callable[[], Database], threads: ThreadPoolExecutor, launcher: Any,
    wait_for_lock_waiters: Callable[[int], None], queue: Queue, reports: Any,
) -> None:  # fmt: skip
    (task,) = pod_tasks(database)
    (claim,) = launcher.claim(placement="pod")
    flying = connect()
    flying.execute("BEGIN")
    assert PodBook(flying).write([row_of(claim, token=claim.token)]) == {claim.attempt_id}
    marked = threads.submit(Queue(connect()).mark_dead, launcher.id, counter=0)
    wait_for_lock_waiters(1)
    flying.execute("COMMIT")
    assert marked.result(10)
    assert queue.rescue() == 0
    assert reports.show(task)["state"] == "running"


def test_an_intent_that_waits_while_its_launcher_is_marked_dead_is_not_written(
    database: Database, book: PodBook, connect: Callable[[], Database], threads: ThreadPoolExecutor, launcher: Any,
    wait_for_lock_waiters: Callable[[int], None],
) -> None:  # fmt: skip
    pod_tasks(database, 2)
    late, known = launcher.claim(2, placement="pod")
    book.write([row_of(known, token=known.token)])
    marker = connect()
    marker.execute("BEGIN")
    assert Queue(marker).mark_dead(launcher.id, counter=0)
    rows = [row_of(late, token=late.token), row_of(known, token=known.token, uid="u-1")]
    written = threads.submit(PodBook(connect()).write, rows)
    wait_for_lock_waiters(1)
    marker.execute("COMMIT")
    assert written.result(10) == {known.attempt_id}, "what is known of a pod that was intended is never too late"
