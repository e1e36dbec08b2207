"""Python callers: every kind of connection that people have, with its real driver, in their own transaction."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from drivers.looking import Look
from drivers.python_callers import ALONE, CALLERS, Held
from halfstep import NewTask, enqueue, enqueue_many
from halfstep.errors import (
    AbortedTransaction,
    InvalidTask,
    ReadOnlyTransaction,
    SerializationFailure,
    UnusableConnection,
)
from halfstep.testing import assert_enqueued

ARGS = {"command": "true", "text": 'né € 😀 "quoted" \\ %s %(x)s :y ? $1', "deep": [{"n": 1.5}, None]}
WORLDLY = [name for name in CALLERS if " speaks " not in name]
every_caller = pytest.mark.parametrize("caller", CALLERS.values(), ids=list(CALLERS))


@pytest.fixture
def held(caller: Any, drivers_url: str) -> Any:
    with caller(drivers_url) as held:
        yield held


@every_caller
def test_a_task_is_there_after_a_commit_and_not_after_a_rollback(held: Held, look: Look) -> None:
    enqueue(held.passed, "bash", {"command": "false"}, queue=look.queue)
    held.rollback()
    id = enqueue(held.passed, "bash", ARGS, queue=look.queue, priority=7, labels={"team": "é"})
    assert look.ids() == []
    held.commit()
    task = look.task()
    assert (task["id"], task["args"], task["priority"], task["labels"]) == (id, ARGS, 7, {"team": "é"})


@every_caller
def test_many_tasks_have_their_ids_in_order_and_are_all_or_none(held: Held, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfstep.producer.CHUNK", 2)
    tasks = [NewTask("bash", {"n": n}, {"queue": look.queue}) for n in range(5)]
    ids = enqueue_many(held.passed, tasks)
    assert look.ids() == []
    held.commit()
    assert look.ids() == ids
    assert look.args() == [{"n": n} for n in range(5)]
    with pytest.raises(InvalidTask, match=r"^Task 5: max_attempts must be"):
        enqueue_many(held.passed, [*tasks[:4], NewTask("bash", {}, {"queue": look.queue, "max_attempts": 0})])
    held.rollback()
    with pytest.raises(InvalidTask, match=r"^Task 5: The task is not plain JSON"):
        enqueue_many(held.passed, [*tasks[:4], NewTask("bash", {"x": b""}, {"queue": look.queue})])
    held.commit()
    assert look.ids() == ids


@every_caller
def test_an_error_is_one_sentence_and_leaves_the_transaction_to_its_owner(held: Held, look: Look) -> None:
    with pytest.raises(InvalidTask, match=r"^The placement must be worker or pod, not 'moon'$") as refused:
        enqueue(held.passed, "bash", queue=look.queue, placement="moon")
    assert refused.value.__cause__ is not None
    with pytest.raises(AbortedTransaction, match=r"^Your transaction is aborted by an earlier error; roll it back"):
        enqueue(held.passed, "bash", queue=look.queue)
    held.rollback()
    held.run("SET TRANSACTION READ ONLY")
    with pytest.raises(ReadOnlyTransaction, match=r"^Your transaction is read-only"):
        enqueue(held.passed, "bash", queue=look.queue)
    held.rollback()
    id = enqueue(held.passed, "bash", queue=look.queue)
    held.commit()
    assert look.ids() == [id]


# What else waits is told too, and can't be in every encoding.
@pytest.mark.parametrize("caller", [CALLERS[name] for name in WORLDLY], ids=WORLDLY)
def test_the_helper_for_tests_finds_it_in_the_same_transaction(held: Held, look: Look) -> None:
    id = enqueue(held.passed, "bash", {"n": 1, "m": 2}, queue=look.queue)
    assert assert_enqueued(held.passed, operator="bash", args={"n": 1}, queue=look.queue) == id
    with pytest.raises(AssertionError, match=f"there are: {id} bash .* in {look.queue}"):
        assert_enqueued(held.passed, operator="sql", queue=look.queue)
    assert look.ids() == []


@every_caller
def test_a_callers_own_error_before_is_told_as_an_aborted_transaction(held: Held, look: Look) -> None:
    with suppress(Exception):
        held.run("SELECT 1/0")
    with pytest.raises(AbortedTransaction):
        enqueue(held.passed, "bash", queue=look.queue)


@every_caller
def test_a_savepoint_takes_back_what_came_after_it(held: Held, look: Look) -> None:
    kept = enqueue(held.passed, "bash", queue=look.queue)
    held.run("SAVEPOINT here")
    enqueue(held.passed, "bash", queue=look.queue)
    with pytest.raises(InvalidTask):
        enqueue(held.passed, "bash", queue=look.queue, max_attempts=0)
    held.run("ROLLBACK TO SAVEPOINT here")
    held.commit()
    assert look.ids() == [kept]


@every_caller
def test_a_conflict_with_another_transaction_says_to_repeat_it(held: Held, look: Look) -> None:
    held.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    held.run("SELECT FROM halfstep.queue")  # its view of the data is from now
    enqueue(look.database, "bash", queue=look.queue, unique_key=look.queue)
    with pytest.raises(SerializationFailure, match=r"roll it back and repeat all of it\.$"):
        enqueue(held.passed, "bash", queue=look.queue, unique_key=look.queue)
    held.rollback()
    assert enqueue(held.passed, "bash", queue=look.queue, unique_key=look.queue) == look.ids()[0]


@every_caller
def test_a_closed_connection_is_refused_or_made_anew_by_its_owner(held: Held, look: Look) -> None:
    held.close()
    if held.reopens:
        assert enqueue(held.passed, "bash", queue=look.queue) > 0
    else:
        with pytest.raises(UnusableConnection, match="closed"):
            enqueue(held.passed, "bash", queue=look.queue)


@pytest.mark.parametrize("caller", ALONE.values(), ids=list(ALONE))
def test_without_a_transaction_at_hand_a_call_is_one_of_its_own(
    caller: Any, drivers_url: str, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halfstep.producer.CHUNK", 2)
    tasks = [NewTask("bash", {"n": n}, {"queue": look.queue}) for n in range(5)]
    with caller(drivers_url) as passed:
        id = enqueue(passed, "bash", ARGS, queue=look.queue)
        assert look.task()["args"] == ARGS
        with pytest.raises(InvalidTask, match=r"^Task 6: max_attempts must be"):
            enqueue_many(passed, [*tasks, NewTask("bash", {}, {"queue": look.queue, "max_attempts": 0})])
        assert look.ids() == [id]
        assert look.ids() == [id, *enqueue_many(passed, tasks)][:1]
    assert [args.get("n") for args in look.args()] == [None, 0, 1, 2, 3, 4]
