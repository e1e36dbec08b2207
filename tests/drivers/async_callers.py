"""Callers for asyncio as users write them: as `python_callers`, each with something to pass to `halfstep.aio.enqueue`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
import psycopg_pool
import sqlalchemy as sa
from psycopg import rows
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from drivers.python_callers import FACTORIES


@dataclass(frozen=True, slots=True)
class Held:
    """As `python_callers.Held`."""

    passed: Any
    run: Callable[[str], Awaitable[object]]
    commit: Callable[[], Awaitable[object]]
    rollback: Callable[[], Awaitable[object]]
    close: Callable[[], Awaitable[object]]
    reopens: bool = False


CALLERS: dict[str, Callable[[str], Any]] = {}
DRIVERS = ("asyncpg", "psycopg")


def url_for(url: str, driver: str) -> sa.URL:
    parts = sa.make_url(url).set(drivername=f"postgresql+{driver}")
    return parts if driver == "psycopg" else parts.set(query={})  # libpq's own parameters


def known_as(title: str, maker: Callable[..., Any], /, *given: Any, **options: Any) -> None:
    CALLERS[title] = lambda url: maker(url, *given, **options)


# -- SQLAlchemy


@asynccontextmanager
async def engine_for(url: str, driver: str, **options: Any) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url_for(url, driver), poolclass=NullPool, **options)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def sa_connection(url: str, driver: str) -> AsyncIterator[Held]:
    async with engine_for(url, driver) as engine, engine.connect() as connection:
        yield Held(connection, connection.exec_driver_sql, connection.commit, connection.rollback, connection.close)


@asynccontextmanager
async def sa_session(url: str, driver: str) -> AsyncIterator[Held]:
    async with engine_for(url, driver) as engine, AsyncSession(engine) as session:
        run = lambda sql: session.execute(sa.text(sql))  # noqa: E731
        yield Held(session, run, session.commit, session.rollback, session.close, True)


@asynccontextmanager
async def sa_scoped_session(url: str, driver: str) -> AsyncIterator[Held]:
    async with engine_for(url, driver) as engine:
        scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
        yield Held(scoped, lambda sql: scoped.execute(sa.text(sql)), scoped.commit, scoped.rollback, scoped.remove, True)
        await scoped.remove()


for driver in DRIVERS:
    known_as(f"a SQLAlchemy connection on {driver}", sa_connection, driver)
    known_as(f"a SQLAlchemy session on {driver}", sa_session, driver)
    known_as(f"a SQLAlchemy scoped session on {driver}", sa_scoped_session, driver)


# -- asyncpg


class Record(asyncpg.Record):
    """A caller's own."""


@asynccontextmanager
async def asyncpg_connection(url: str, *, codec: bool = False, **options: Any) -> AsyncIterator[Held]:
    connection = await asyncpg.connect(url, **options)
    if codec:
        for name in ("json", "jsonb"):
            await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    await connection.execute("BEGIN")
    yield _asyncpg(connection)
    await connection.close()


@asynccontextmanager
async def asyncpg_of_a_pool(url: str) -> AsyncIterator[Held]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        await connection.execute("BEGIN")
        yield _asyncpg(connection)


def _asyncpg(connection: Any) -> Held:
    async def end(how: str) -> None:
        await connection.execute(how)
        await connection.execute("BEGIN")

    return Held(connection, connection.execute, lambda: end("COMMIT"), lambda: end("ROLLBACK"), connection.close)


known_as("an asyncpg connection", asyncpg_connection)
known_as("an asyncpg connection that writes jsonb by json.dumps", asyncpg_connection, codec=True)
known_as("an asyncpg connection without prepared statements", asyncpg_connection, statement_cache_size=0)
known_as("an asyncpg connection with records of its own", asyncpg_connection, record_class=Record)
known_as("an asyncpg connection that speaks Latin 1", asyncpg_connection, server_settings={"client_encoding": "latin1"})
known_as("a connection of asyncpg's pool", asyncpg_of_a_pool)


# -- psycopg 3


@asynccontextmanager
async def psycopg_connection(url: str, **options: Any) -> AsyncIterator[Held]:
    connection = await psycopg.AsyncConnection.connect(url, **options)
    yield _psycopg(connection, connection)
    await connection.close()


@asynccontextmanager
async def psycopg_cursor(url: str, *, name: str = "", **options: Any) -> AsyncIterator[Held]:
    connection = await psycopg.AsyncConnection.connect(url)
    async with connection.cursor(name, **options) as cursor:
        yield _psycopg(connection, cursor)
    await connection.close()


def _psycopg(connection: Any, passed: Any) -> Held:
    run = lambda sql: psycopg.AsyncCursor(connection, row_factory=rows.tuple_row).execute(sql)  # noqa: E731
    return Held(passed, run, connection.commit, connection.rollback, connection.close)


for factory, row_factory in FACTORIES.items():
    known_as(f"a psycopg connection with {factory}", psycopg_connection, row_factory=row_factory)
known_as("a psycopg connection", psycopg_connection)
known_as("a psycopg connection that numbers its parameters", psycopg_connection, cursor_factory=psycopg.AsyncRawCursor)
known_as("a psycopg connection that speaks Latin 1", psycopg_connection, client_encoding="latin1")
known_as("a cursor of psycopg with dict_row", psycopg_cursor, row_factory=rows.dict_row)
known_as("a server-side cursor of psycopg with scalar_row", psycopg_cursor, name="here", row_factory=rows.scalar_row)


# -- whoever has no transaction at hand


@asynccontextmanager
async def sa_autocommit(url: str, driver: str) -> AsyncIterator[Any]:
    async with engine_for(url, driver, isolation_level="AUTOCOMMIT") as engine, engine.connect() as connection:
        yield connection


@asynccontextmanager
async def closing(made: Awaitable[Any]) -> AsyncIterator[Any]:
    connection = await made
    yield connection
    await connection.close()


ALONE: dict[str, Callable[[str], Any]] = {
    **{f"a SQLAlchemy engine on {driver}": (lambda url, driver=driver: engine_for(url, driver)) for driver in DRIVERS},
    **{f"a committing SQLAlchemy connection on {driver}": (lambda url, d=driver: sa_autocommit(url, d)) for driver in DRIVERS},
    "a pool of asyncpg": lambda url: asyncpg.create_pool(url, min_size=1, max_size=1),
    "a pool of psycopg": lambda url: psycopg_pool.AsyncConnectionPool(url, min_size=1, max_size=1, open=False),
    "an asyncpg connection outside of a transaction": lambda url: closing(asyncpg.connect(url)),
    "a committing psycopg connection": lambda url: closing(psycopg.AsyncConnection.connect(url, autocommit=True)),
}
"""Callers whose tasks are committed when `enqueue` returns."""
