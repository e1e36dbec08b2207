"""Claim: which tasks a worker gets, in which order, and who gets none."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.administration import Administration
from halfstep.claims import Wish
from halfstep.database import Database
from halfstep.queue import Queue
from halfstep.reports import Reports
from waiting import PATIENCE


def ids(claims: list[Any]) -> list[int]:
    return [claim.id for claim in claims]


def test_a_claim_carries_what_the_body_needs(database: Database, worker: Any) -> None:
    id = enqueue(
        database,
        "bash",
        {"command": "é"},
        queue="etl",
        timeout=2.5,
        max_attempts=7,
        backoff_base=2,
        backoff_cap=9,
        at_most_once=True,
    )
    (claim,) = worker.claim(queues=["etl"])
    assert (claim.id, claim.queue, claim.operator, claim.args) == (id, "etl", "bash", '{"command": "é"}')
    assert (claim.attempt, claim.failures, claim.max_attempts, claim.timeout) == (1, 0, 7, 2.5)
    assert (claim.backoff_base, claim.backoff_cap, claim.at_most_once, claim.alone) == (2, 9, True, False)


def test_higher_priority_goes_first_and_older_before_younger(database: Database, worker: Any) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {"priority": priority}) for priority in (0, 5, 0, 5, -1)])
    order = [ids(worker.claim())[0] for _ in made]
    assert order == [made[1], made[3], made[0], made[2], made[4]]


def test_queues_listed_first_are_served_first(database: Database, worker: Any) -> None:
    a = enqueue(database, "bash", queue="a", priority=9)
    b = [enqueue(database, "bash", queue="b") for _ in range(3)]
    assert ids(worker.claim(2, queues=["b", "a"])) == b[:2]
    assert ids(worker.claim(2, queues=["b", "a"])) == sorted([a, b[2]])


def test_no_more_than_the_wish_is_taken_or_locked(database: Database, worker: Any, raw_connect: Callable[[], Any]) -> None:
    for queue in "abc":
        enqueue_many(database, [NewTask("bash", {}, {"queue": queue})] * 5)
    other = raw_connect().cursor()
    with database.transaction():
        assert len(worker.claim(4, queues=["a", "b", "c"])) == 4
        other.execute("SELECT id FROM halfstep.task FOR UPDATE SKIP LOCKED")
        assert len(other.fetchall()) == 11


@pytest.mark.parametrize(
    "other", [{"queue": "other"}, {"placement": "pod"}, {"placement": "pod", "cluster": "c"}, {"run_at": "2100-01-01T00:00:00Z"}]
)
def test_a_claim_takes_nothing_that_the_worker_does_not_serve(database: Database, worker: Any, other: dict[str, Any]) -> None:
    enqueue(database, "bash", **other)
    assert worker.claim(10) == []


def test_a_launcher_claims_the_pods_of_its_cluster(database: Database, make_worker: Callable[..., Any]) -> None:
    id = enqueue(database, "pod", placement="pod", cluster="c")
    assert ids(make_worker(placement="pod").claim(placement="pod", cluster="c")) == [id]


def test_racing_workers_share_the_tasks_and_no_task_goes_to_two(
    database: Database, connect: Callable[[], Database], make_worker: Callable[..., Any], threads: ThreadPoolExecutor
) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 800)
    workers = [make_worker(on=Queue(connect())) for _ in range(8)]

    def take(worker: Any) -> list[int]:
        taken: list[int] = []
        while claims := worker.claim(7):
            taken += ids(claims)
        return taken

    shares = [task.result(PATIENCE) for task in [threads.submit(take, worker) for worker in workers]]
    assert sorted(itertools.chain(*shares)) == made


def test_a_locked_row_is_passed_over_instead_of_waited_for(
    database: Database, worker: Any, raw_connect: Callable[[], Any]
) -> None:
    first, second = enqueue_many(database, [NewTask("bash", {}, {})] * 2)
    other = raw_connect()
    other.cursor().execute("SELECT FROM halfstep.task WHERE id = %s FOR UPDATE", (first,))
    assert ids(worker.claim(10)) == [second]


def test_the_claimed_task_is_running_under_its_worker(database: Database, worker: Any, reports: Reports) -> None:
    id = enqueue(database, "bash")
    worker.claim()
    task = reports.show(id)
    assert (task["state"], task["attempt"], task["why"]) == ("running", 1, "running on w")
    assert [(a["number"], a["worker"], a["outcome"], a["ended_at"]) for a in task["attempts"]] == [(1, "w", "running", None)]


def test_a_worker_that_is_not_registered_claims_nothing(database: Database, worker: Any, queue: Queue) -> None:
    enqueue(database, "bash")
    queue.deregister(worker.id)
    assert not worker.exchange(Wish(1, "00000000-0000-0000-0000-000000000001")).mine


def test_suspects_are_told_and_claimed_only_on_purpose(
    database: Database, worker: Any, administration: Administration, queue: Queue
) -> None:
    suspect = enqueue(database, "bash")
    database.execute("UPDATE halfstep.task SET alone = true")
    other = enqueue(database, "bash")
    done = worker.exchange(Wish(10, "00000000-0000-0000-0000-000000000001"))
    assert (ids(done.claims), done.suspects) == ([other], True)
    queue.pause("default")
    assert not worker.exchange(Wish(0, "00000000-0000-0000-0000-000000000002")).suspects
    queue.resume("default")
    (claim,) = worker.claim(alone=True)
    assert (claim.id, claim.alone) == (suspect, True)
