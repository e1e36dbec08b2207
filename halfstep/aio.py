"""Enqueueing for asyncio: the names of `halfstep.producer`, with `await`, on asyncpg, psycopg's and SQLAlchemy's connections.

from halfstep import aio

async with engine.begin() as connection:
    await aio.enqueue(connection, "bash", {"command": "make-invoice 42"}, queue="mail")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Unpack

from halfstep import callers, producer
from halfstep.callers import Parameters, in_our_words, lacks_a_character, names_of, refuse_closed
from halfstep.producer import ENQUEUE, Chunk, NewTask, Options, chunks_of, ids_in, records_of

__all__ = ["NewTask", "enqueue", "enqueue_many"]

_WANTED = (
    "a connection or pool of asyncpg, an AsyncConnection or AsyncCursor of psycopg, a SQLAlchemy AsyncEngine, AsyncConnection or"
    " AsyncSession, or None for HALFSTEP_DATABASE_URL"
)


async def enqueue(connection: Any, operator: str, args: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> int:
    """Enqueues one task in the caller's transaction and returns its id, as `halfstep.enqueue` does.

    connection: a Connection of asyncpg, also of its pool; an AsyncConnection or AsyncCursor of psycopg; SQLAlchemy's
    AsyncConnection, AsyncSession or async_scoped_session. An AsyncEngine, a pool of asyncpg or psycopg: in a transaction of its
    own. None: the same on HALFSTEP_DATABASE_URL, in a thread.
    Raises what `halfstep.enqueue` raises.
    """
    return (await enqueue_many(connection, [NewTask(operator, {} if args is None else args, options)]))[0]


async def enqueue_many(connection: Any, tasks: Iterable[NewTask]) -> list[int]:
    """Enqueues many tasks like `enqueue` and returns their ids in order. All or none, also where each statement is committed."""
    if connection is None:
        return await asyncio.to_thread(producer.enqueue_many, None, tasks)
    records = records_of(tasks)
    ids: list[int] = []
    with in_our_words():
        async with _opened(connection) as caller:
            for chunk in chunks_of(records, together=caller.commits):
                with chunk.telling_the_place(), in_our_words():
                    ids += ids_in(await _answer(caller, chunk))
    return ids


@dataclass(frozen=True, slots=True)
class AsyncCaller:
    """As `halfstep.callers.Caller`."""

    ask: Callable[[str, Parameters], Awaitable[Sequence[Any]]]
    commits: bool


async def _answer(caller: AsyncCaller, chunk: Chunk) -> Sequence[Any]:
    try:
        return await caller.ask(ENQUEUE, chunk.parameters)
    except Exception as error:
        if not lacks_a_character(error):
            raise
    return await caller.ask(ENQUEUE, chunk.in_ascii.parameters)


@asynccontextmanager
async def _opened(connection: Any) -> AsyncIterator[AsyncCaller]:
    """A caller's transaction; of an engine or a pool one of its own, which ends here. As `halfstep.callers.opened`."""
    names = names_of(connection)
    if "sqlalchemy.AsyncEngine" in names:
        async with connection.begin() as begun:
            yield await _sqlalchemy(begun)
    elif "asyncpg.Pool" in names:
        async with connection.acquire() as lent, lent.transaction():
            yield _asyncpg(lent)
    elif "psycopg_pool.AsyncConnectionPool" in names:
        async with connection.connection() as lent:
            yield _psycopg(lent)
    elif {"sqlalchemy.AsyncSession", "sqlalchemy.async_scoped_session"}.intersection(names):
        yield await _sqlalchemy(await connection.connection())
    elif "sqlalchemy.AsyncConnection" in names:
        yield await _sqlalchemy(connection)
    elif {"asyncpg.Connection", "asyncpg.PoolConnectionProxy"}.intersection(names):
        yield _asyncpg(connection)
    elif "psycopg.AsyncConnection" in names:
        yield _psycopg(connection)
    elif "psycopg.AsyncCursor" in names:
        yield _psycopg(connection.connection)
    else:
        raise callers.refused_by_asyncio(connection, _WANTED)


async def _sqlalchemy(connection: Any) -> AsyncCaller:
    """SQLAlchemy runs what is written for its own connections, on drivers of asyncio."""

    async def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        row: Sequence[Any] = await connection.run_sync(lambda sync: callers.sqlalchemy(sync).ask(sql, parameters))
        return row

    refuse_closed(connection.closed)
    return AsyncCaller(ask, commits=await connection.run_sync(lambda sync: callers.sqlalchemy(sync).commits))


def _asyncpg(connection: Any) -> AsyncCaller:
    async def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        text, values = callers.in_style(sql, parameters, "numeric_dollar")
        return tuple(await connection.fetchrow(text, *values))

    refuse_closed(connection.is_closed())
    return AsyncCaller(ask, commits=not connection.is_in_transaction())


def _psycopg(connection: Any) -> AsyncCaller:
    from psycopg import AsyncCursor
    from psycopg.rows import tuple_row

    async def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        async with AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(sql.encode(), dict(parameters))
            return await cursor.fetchone() or ()

    refuse_closed(connection.closed)
    return AsyncCaller(ask, commits=connection.autocommit)
