"""Tally: every end is counted in the commit that makes it; the sums never go down, whoever comes, goes or reads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.claims import Claim, Ending, Wish
from halfstep.database import Database
from halfstep.metrics.names import BUCKET_LABELS, BUCKETS
from halfstep.outcomes import Cancelled, Failed, Retry, Succeeded
from halfstep.queue import Queue
from waiting import PATIENCE, wait_until

NIL = str(uuid.UUID(int=0))
Counts = dict[tuple[str, str], int]


@pytest.fixture(autouse=True)
def _no_counts_of_others(database: Database) -> Iterator[None]:
    wipe = "DELETE FROM halfstep.tally; DELETE FROM halfstep.scaler; DELETE FROM halfstep.election; DELETE FROM halfstep.pod"
    database.script(wipe)
    yield
    database.close()
    database.script(wipe)


def counts(database: Database, measure: str = "attempt") -> Counts:
    """(queue, label) -> count."""
    return {(row["queue"], row["label"]): row["count"] for row in database.run("tally") if row["measure"] == measure}


def endings(database: Database, **options: Any) -> dict[str, int]:
    """Of the attempts of `default`: label -> count."""
    return {label: number for (_, label), number in counts(database, **options).items()}


def holders(database: Database) -> set[str]:
    return {row["id"] for row in database.execute("SELECT DISTINCT worker_id::text AS id FROM halfstep.tally")}


def wrong_token(claim: Claim) -> Claim:
    return claim._replace(token=str(uuid.uuid4()))


def test_sql_and_python_have_the_same_buckets(database: Database) -> None:
    def label(seconds: float) -> str:
        return str(database.execute("SELECT halfstep.bucket(%(s)s::float8) AS label", {"s": seconds})[0]["label"])

    assert label(0) == BUCKET_LABELS[0]
    for limit, mine, above in zip(BUCKETS, BUCKET_LABELS, BUCKET_LABELS[1:], strict=False):
        assert (label(limit * 0.999), label(limit), label(limit * 1.001)) == (mine, mine, above)


def test_an_exchange_counts_what_it_ends_and_what_it_claims_in_its_workers_own_row(database: Database, worker: Any) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 4)
    claims = worker.claim(4)
    outcomes = [Succeeded(), Succeeded(), Failed("no", "timeout"), Cancelled()]
    done = [Ending(claim, outcome, 0.2) for claim, outcome in zip(claims, outcomes, strict=True)]
    assert worker.exchange(Wish(0, str(uuid.uuid4())), done).refused == []
    assert endings(database) == {"succeeded": 2, "failed:timeout": 1, "cancelled:cancelled": 1}
    assert endings(database, measure="run") == {"0.25": 4}
    assert sum(endings(database, measure="wait").values()) == 4
    assert holders(database) == {worker.id}
    seconds = next(row["sum"] for row in database.run("tally") if row["measure"] == "run")
    assert seconds == pytest.approx(0.8)


def test_the_wait_is_counted_from_when_the_task_was_due(database: Database, worker: Any) -> None:
    enqueue(database, "bash")
    database.execute("UPDATE halfstep.task SET run_at = run_at - interval '7 s'")
    worker.claim()
    assert endings(database, measure="wait") == {"10": 1}


def test_an_exchange_that_is_taken_back_or_out_of_turn_counts_nothing(database: Database, worker: Any) -> None:
    enqueue(database, "bash")
    claims = worker.claim()
    before = counts(database)
    worker.sequence += 5
    worker.finish(*claims)
    worker.sequence -= 5
    database.execute("BEGIN")
    worker.finish(*claims)
    database.execute("ROLLBACK")
    assert counts(database) == before == {}


def test_refused_writes_are_counted_as_fenced_and_as_nothing_else(database: Database, worker: Any, queue: Queue) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    a, b, c = (wrong_token(claim) for claim in worker.claim(3))
    assert worker.finish(a) == [a.id]
    assert queue.retry([(b, Retry("no", 0))]) == [b.id]
    assert queue.release([c], reason="drain", started=True) == [c.id]
    assert endings(database, measure="fenced") == {"": 3}
    assert endings(database) == {}


def test_retries_and_releases_are_counted_and_what_never_started_is_not(database: Database, worker: Any, queue: Queue) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 5)
    a, b, c, d, e = worker.claim(5)
    queue.cancel(e.id)
    queue.retry([(a, Retry("no", 60, "exception")), (e, Retry("no", 60))])
    queue.release([b], reason="drain", started=True)
    queue.release([c, d], reason="stopped", started=False)
    assert endings(database) == {"retry:exception": 1, "released:drain": 1, "cancelled:cancelled": 1}
    assert sum(endings(database, measure="run").values()) == 2
    assert holders(database) == {worker.id}


def test_at_most_once_work_that_is_released_or_rescued_is_counted_as_failed_by_loss(
    database: Database, make_worker: Any, queue: Queue
) -> None:
    enqueue_many(database, [NewTask("bash", {}, {"at_most_once": True})] * 2)
    first, second = make_worker(), make_worker()
    queue.release(first.claim(), reason="drain", started=True)
    second.claim()
    second.die()
    assert endings(database) == {"failed:lost": 2}


def test_a_rescue_and_a_cancel_of_waiting_work_are_counted_under_nobody(database: Database, worker: Any, queue: Queue) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 2)
    worker.claim()
    worker.die()
    queue.cancel(made[1])
    assert endings(database) == {"lost:worker_lost": 1, "cancelled:waiting": 1}
    attempts = database.execute("SELECT DISTINCT worker_id::text AS id FROM halfstep.tally WHERE measure = 'attempt'")
    assert [row["id"] for row in attempts] == [NIL]


def test_a_rescued_task_is_due_anew_so_that_its_lost_run_is_no_wait(database: Database, make_worker: Any) -> None:
    enqueue(database, "bash")
    lost, heir = make_worker(), make_worker()
    lost.claim()
    database.execute("UPDATE halfstep.task SET run_at = run_at - interval '1 hour'")
    database.script("DELETE FROM halfstep.tally")
    lost.die()
    heir.claim()
    assert set(endings(database, measure="wait")) <= set(BUCKET_LABELS[:8])


def test_the_class_of_a_pods_verdict_is_counted_with_the_end_of_its_attempt(
    database: Database, make_worker: Any, queue: Queue
) -> None:
    made = enqueue_many(database, [NewTask("pod", {}, {"placement": "pod"})] * 3)
    launcher = make_worker(placement="pod")
    claims = launcher.claim(3, placement="pod")
    for claim, facts in zip(claims, ({"class": "succeeded"}, {"class": "evicted"}, {}), strict=True):
        row = {"attempt_id": claim.attempt_id, "task_id": claim.id, "attempt": 1, "cluster": "", "namespace": "n", "name": "p"}
        database.run("write_pods", pods=json.dumps([row | {"facts": facts}]))
    queue.retry([(claims[1], Retry("evicted", 0, "evicted", counts=False))])
    launcher.exchange(
        Wish(0, str(uuid.uuid4())), [Ending(claims[0], Succeeded()), Ending(claims[2], Succeeded())], placement="pod"
    )
    assert endings(database, measure="pod") == {"succeeded": 1, "evicted": 1}
    assert len(made) == sum(endings(database).values())


def test_folding_keeps_the_sums_and_leaves_no_row_of_a_worker_that_is_gone(
    database: Database, make_worker: Any, queue: Queue
) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    gone, dead, living = make_worker(), make_worker(), make_worker()
    for each in (gone, dead, living):
        each.finish(*each.claim())
    queue.deregister(gone.id)
    dead.die()
    before = database.run("tally")
    assert queue.fold() == 2
    assert database.run("tally") == before
    assert holders(database) == {NIL, living.id}
    assert queue.fold() == 0


def test_one_who_adds_up_while_workers_finish_leave_and_are_folded_never_sees_a_sum_go_down(
    database: Database, connect: Callable[[], Database], make_worker: Any, threads: ThreadPoolExecutor
) -> None:
    total = 900
    enqueue_many(database, [NewTask("bash", {}, {})] * total)
    stopped = Event()

    def serve(verbs: Queue) -> None:
        while not stopped.is_set():
            worker = make_worker(on=verbs)
            for _ in range(3):
                worker.finish(*worker.claim(10))
            verbs.deregister(worker.id)

    def fold(verbs: Queue) -> None:
        while not stopped.is_set():
            verbs.fold()

    def watch(reader: Database) -> int:
        seen: dict[tuple[str, str, str], int] = {}
        looks = 0
        while not stopped.is_set():
            now = {(r["queue"], r["measure"], r["label"]): r["count"] for r in reader.run("tally")}
            assert all(now.get(key, 0) >= number for key, number in seen.items())
            seen, looks = now, looks + 1
        return looks

    def finished() -> bool:
        return endings(database).get("succeeded", 0) == total

    tasks = [threads.submit(serve, Queue(connect())) for _ in range(3)] + [
        threads.submit(fold, Queue(connect())) for _ in range(2)
    ]
    watchers = [threads.submit(watch, connect()) for _ in range(2)]
    try:
        wait_until(lambda: finished() or any(task.done() for task in [*tasks, *watchers]), what="the end of all tasks")
    finally:
        stopped.set()
    for task in tasks:
        task.result(PATIENCE)
    assert all(watcher.result(PATIENCE) > 5 for watcher in watchers)
    assert finished()
