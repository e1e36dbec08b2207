"""Callers for asyncio, with their real drivers: the same promises as for others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from drivers.async_callers import ALONE, CALLERS, Held
from drivers.looking import Look
from halfstep import NewTask
from halfstep.aio import enqueue, enqueue_many
from halfstep.errors import (
    AbortedTransaction,
    InvalidTask,
    ReadOnlyTransaction,
    SerializationFailure,
    UnusableConnection,
)
from halfstep.producer import enqueue as enqueue_and_wait

ARGS = {"command": "true", "text": 'né € 😀 "quoted" \\ %s %(x)s :y ? $1', "deep": [{"n": 1.5}, None]}
every_caller = pytest.mark.parametrize("caller", CALLERS.values(), ids=list(CALLERS))

Scene = Callable[[Callable[[Any], Awaitable[None]]], None]


@pytest.fixture
def play(caller: Any, drivers_url: str) -> Scene:
    """Runs a scene with what the caller holds, in an event loop of its own."""

    async def run(scene: Callable[[Any], Awaitable[None]]) -> None:
        async with caller(drivers_url) as held:
            await scene(held)

    return lambda scene: asyncio.run(run(scene))


@every_caller
def test_a_task_is_there_after_a_commit_and_not_after_a_rollback(play: Scene, look: Look) -> None:
    async def scene(held: Held) -> None:
        await enqueue(held.passed, "bash", {"command": "false"}, queue=look.queue)
        await held.rollback()
        id = await enqueue(held.passed, "bash", ARGS, queue=look.queue, priority=7, labels={"team": "é"})
        assert look.ids() == []
        await held.commit()
        task = look.task()
        assert (task["id"], task["args"], task["priority"], task["labels"]) == (id, ARGS, 7, {"team": "é"})

    play(scene)


@every_caller
def test_many_tasks_have_their_ids_in_order_and_are_all_or_none(play: Scene, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfstep.producer.CHUNK", 2)
    tasks = [NewTask("bash", {"n": n}, {"queue": look.queue}) for n in range(5)]

    async def scene(held: Held) -> None:
        ids = await enqueue_many(held.passed, tasks)
        assert look.ids() == []
        await held.commit()
        assert look.ids() == ids
        assert look.args() == [{"n": n} for n in range(5)]
        with pytest.raises(InvalidTask, match=r"^Task 5: max_attempts must be"):
            await enqueue_many(held.passed, [*tasks[:4], NewTask("bash", {}, {"queue": look.queue, "max_attempts": 0})])
        await held.rollback()
        with pytest.raises(InvalidTask, match=r"^Task 5: The task is not plain JSON"):
            await enqueue_many(held.passed, [*tasks[:4], NewTask("bash", {"x": b""}, {"queue": look.queue})])
        await held.commit()
        assert look.ids() == ids

    play(scene)


@every_caller
def test_an_error_is_one_sentence_and_leaves_the_transaction_to_its_owner(play: Scene, look: Look) -> None:
    async def scene(held: Held) -> None:
        with pytest.raises(InvalidTask, match=r"^The placement must be worker or pod, not 'moon'$") as refused:
            await enqueue(held.passed, "bash", queue=look.queue, placement="moon")
        assert refused.value.__cause__ is not None
        with pytest.raises(AbortedTransaction, match=r"^Your transaction is aborted by an earlier error; roll it back"):
            await enqueue(held.passed, "bash", queue=look.queue)
        await held.rollback()
        await held.run("SET TRANSACTION READ ONLY")
        with pytest.raises(ReadOnlyTransaction, match=r"^Your transaction is read-only"):
            await enqueue(held.passed, "bash", queue=look.queue)
        await held.rollback()
        id = await enqueue(held.passed, "bash", queue=look.queue)
        await held.commit()
        assert look.ids() == [id]

    play(scene)


@every_caller
def test_a_savepoint_takes_back_what_came_after_it(play: Scene, look: Look) -> None:
    async def scene(held: Held) -> None:
        kept = await enqueue(held.passed, "bash", queue=look.queue)
        await held.run("SAVEPOINT here")
        await enqueue(held.passed, "bash", queue=look.queue)
        with pytest.raises(InvalidTask):
            await enqueue(held.passed, "bash", queue=look.queue, max_attempts=0)
        await held.run("ROLLBACK TO SAVEPOINT here")
        await held.commit()
        assert look.ids() == [kept]

    play(scene)


@every_caller
def test_a_conflict_and_an_own_error_before_are_told_apart(play: Scene, look: Look) -> None:
    async def scene(held: Held) -> None:
        await held.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await held.run("SELECT count(*) FROM halfstep.queue")  # its view of the data is from now
        enqueue_and_wait(look.database, "bash", queue=look.queue, unique_key=look.queue)
        with pytest.raises(SerializationFailure, match=r"roll it back and repeat all of it\.$"):
            await enqueue(held.passed, "bash", queue=look.queue, unique_key=look.queue)
        await held.rollback()
        assert await enqueue(held.passed, "bash", queue=look.queue, unique_key=look.queue) == look.ids()[0]
        with suppress(Exception):
            await held.run("SELECT 1/0")
        with pytest.raises(AbortedTransaction):
            await enqueue(held.passed, "bash", queue=look.queue)

    play(scene)


@every_caller
def test_a_closed_connection_is_refused_or_made_anew_by_its_owner(play: Scene, look: Look) -> None:
    async def scene(held: Held) -> None:
        await held.close()
        if held.reopens:
            assert await enqueue(held.passed, "bash", queue=look.queue) > 0
        else:
            with pytest.raises(UnusableConnection, match=r"closed|released"):
                await enqueue(held.passed, "bash", queue=look.queue)

    play(scene)


@pytest.mark.parametrize("caller", ALONE.values(), ids=list(ALONE))
def test_without_a_transaction_at_hand_a_call_is_one_of_its_own(play: Scene, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfstep.producer.CHUNK", 2)
    tasks = [NewTask("bash", {"n": n}, {"queue": look.queue}) for n in range(5)]

    async def scene(passed: Any) -> None:
        id = await enqueue(passed, "bash", ARGS, queue=look.queue)
        assert look.task()["args"] == ARGS
        with pytest.raises(InvalidTask, match=r"^Task 6: max_attempts must be"):
            await enqueue_many(passed, [*tasks, NewTask("bash", {}, {"queue": look.queue, "max_attempts": 0})])
        assert look.ids() == [id]
        ids = await enqueue_many(passed, tasks)
        assert look.ids() == [id, *ids]

    play(scene)


def test_without_a_connection_the_environment_names_the_database(
    drivers_url: str, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFSTEP_DATABASE_URL", drivers_url)
    id = asyncio.run(enqueue(None, "bash", ARGS, queue=look.queue))
    assert (look.task()["id"], look.task()["args"]) == (id, ARGS)


def test_what_is_written_for_blocking_connections_runs_inside_of_sqlalchemys_own_bridge(drivers_url: str, look: Look) -> None:
    async def scene() -> None:
        async with CALLERS["a SQLAlchemy session on asyncpg"](drivers_url) as held:
            await held.passed.run_sync(lambda session: enqueue_and_wait(session, "bash", ARGS, queue=look.queue))
            await held.commit()

    asyncio.run(scene())
    assert look.task()["args"] == ARGS
