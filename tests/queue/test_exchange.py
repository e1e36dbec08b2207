"""Exchange: one commit finishes a batch and claims the next; a lost reply loses and repeats nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from halfstep import NewTask, enqueue, enqueue_many
from halfstep.claims import Ending, Wish
from halfstep.database import Database
from halfstep.errors import RefusedValue
from halfstep.outcomes import Cancelled, Failed, Succeeded
from halfstep.queue import Queue
from halfstep.reports import Reports
from waiting import PATIENCE


def token() -> str:
    return str(uuid.uuid4())


def test_one_exchange_finishes_a_batch_and_claims_the_next(database: Database, worker: Any, reports: Reports) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 6)
    first = worker.claim(3)
    done = worker.exchange(Wish(3, token()), [Ending(claim, Succeeded("1")) for claim in first])
    assert (done.mine, done.refused, [claim.id for claim in done.claims]) == (True, [], made[3:])
    assert reports.states(made) == dict.fromkeys(made[:3], "succeeded") | dict.fromkeys(made[3:], "running")


def test_each_ending_of_a_batch_keeps_its_own_outcome(database: Database, worker: Any, reports: Reports) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    claims = worker.claim(3)
    outcomes = [Succeeded('{"n": 1}'), Failed("It broke.", "timeout"), Cancelled()]
    worker.exchange(Wish(0, token()), [Ending(claim, outcome, 1.5) for claim, outcome in zip(claims, outcomes, strict=True)])
    told = [reports.show(id) for id in made]
    assert [(task["state"], task["result"], task["reason"], task["error"], task["seconds"]) for task in told] == [
        ("succeeded", {"n": 1}, None, None, 1.5),
        ("failed", None, "timeout", "It broke.", 1.5),
        ("cancelled", None, "cancelled", "The task was cancelled.", 1.5),
    ]


@pytest.mark.parametrize(
    "result", ["null", "1", '"é\\u2028\\""', '[1, {"a": [null, true, 1.25]}]', json.dumps({"x": "y" * 200_000})]
)
def test_a_result_comes_back_as_it_went(database: Database, worker: Any, reports: Reports, result: str) -> None:
    id = enqueue(database, "bash")
    worker.finish(*worker.claim(), outcome=Succeeded(result))
    assert reports.show(id)["result"] == json.loads(result)


@pytest.mark.parametrize("outcome", [Succeeded('"\\u0000"'), Succeeded("NaN"), Succeeded("{"), Failed("nul \0 in it")])
def test_a_value_that_sql_cannot_hold_undoes_the_exchange_and_its_neighbours_can_finish(
    database: Database, worker: Any, outcome: Succeeded | Failed
) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 2)
    good, bad = worker.claim(2)
    with pytest.raises(RefusedValue):
        worker.exchange(Wish(0, token()), [Ending(good, Succeeded()), Ending(bad, outcome)])
    assert worker.queue.resync(worker.id) == worker.sequence + 1
    worker.sequence += 1
    assert worker.finish(good) == []
    assert worker.finish(bad, outcome=Failed("refused")) == []


def test_after_a_lost_reply_the_worker_finds_what_it_holds_and_what_was_recorded(
    database: Database, worker: Any, queue: Queue
) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 3)
    first = worker.claim(1)
    lost = worker.queue.exchange(
        worker.turn(), Wish(2, token()), [Ending(first[0], Succeeded())]
    )  # committed; nobody hears of it
    assert queue.resync(worker.id) == worker.sequence + 2
    assert queue.recorded(first) == {first[0].id}
    assert queue.holdings(worker.id) == lost.claims
    assert queue.recorded(lost.claims) == set()


def test_the_same_exchange_sent_twice_does_its_work_once(database: Database, worker: Any, queue: Queue) -> None:
    enqueue_many(database, [NewTask("bash", {}, {})] * 2)
    turn, wish = worker.turn(), Wish(1, token())
    assert len(queue.exchange(turn, wish).claims) == 1
    again = queue.exchange(turn, wish)
    assert (again.mine, again.claims, again.refused) == (False, [], [])
    assert len(queue.holdings(worker.id)) == 1


def test_an_exchange_that_arrives_after_the_resync_does_nothing(
    database: Database, worker: Any, queue: Queue, connect: Callable[[], Database], threads: ThreadPoolExecutor,
    wait_for_lock_waiters: Callable[[int], None], raw_connect: Callable[[], Any],
) -> None:  # fmt: skip
    enqueue_many(database, [NewTask("bash", {}, {})] * 2)
    claims = worker.claim(1)
    holder = raw_connect()
    holder.cursor().execute("SELECT FROM halfstep.exchange FOR UPDATE")
    resync = threads.submit(Queue(connect()).resync, worker.id)  # first in the line for the turn
    wait_for_lock_waiters(1)
    late = threads.submit(Queue(connect()).exchange, worker.turn(), Wish(1, token()), [Ending(claims[0], Succeeded())])
    wait_for_lock_waiters(2)
    holder.rollback()
    assert resync.result(PATIENCE) == worker.sequence + 1
    assert not late.result(PATIENCE).mine
    assert queue.holdings(worker.id) == claims
    assert queue.recorded(claims) == set()


def test_an_exchange_out_of_turn_locks_no_task(
    database: Database, worker: Any, connect: Callable[[], Database], make_worker: Any
) -> None:
    enqueue(database, "bash")
    worker.sequence += 5
    other = make_worker(on=Queue(connect()))
    with database.transaction():
        assert not worker.exchange(Wish(1, token())).mine
        assert len(other.claim()) == 1


def test_waiting_is_remembered_until_the_next_exchange(database: Database, worker: Any) -> None:
    def waiting() -> bool:
        return bool(database.execute("SELECT waiting FROM halfstep.exchange")[0]["waiting"])

    worker.exchange(Wish(0, token(), waiting=True))
    assert waiting()
    worker.exchange(Wish(0, token()))
    assert not waiting()


def test_a_thousand_tasks_pass_through_with_nothing_lost_or_repeated(
    database: Database, connect: Callable[[], Database], make_worker: Any, threads: ThreadPoolExecutor
) -> None:
    made = enqueue_many(database, [NewTask("bash", {}, {})] * 1000)

    def serve(worker: Any) -> None:
        held: list[Any] = worker.claim(20)
        while held:
            done = worker.exchange(Wish(20, token()), [Ending(claim, Succeeded()) for claim in held])
            assert done.refused == []
            held = done.claims

    for task in [threads.submit(serve, make_worker(on=Queue(connect()))) for _ in range(4)]:
        task.result(PATIENCE)
    ended = database.execute("SELECT id, attempt FROM halfstep.history ORDER BY id")
    assert [(row["id"], row["attempt"]) for row in ended] == [(id, 1) for id in made]
