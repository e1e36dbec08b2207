"""What is no connection, or one that can't be used now, is told in one sentence; who is at fault is told apart."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import asyncpg
import pg8000.dbapi
import psycopg
import psycopg2
import psycopg2.pool
import psycopg_pool
import pytest
import sqlalchemy as sa
from django.db import transaction
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from drivers import async_callers, python_callers
from drivers.looking import Look
from drivers.python_callers import keywords
from halfstep import aio, enqueue, enqueue_many
from halfstep.errors import (
    AbortedTransaction,
    DatabaseUnavailable,
    HalfstepError,
    InvalidTask,
    LockNotGranted,
    LoginRefused,
    SerializationFailure,
    UnusableConnection,
)
from ports import free_port
from waiting import PATIENCE

LITE = sa.create_engine("sqlite://")
NOWHERE = "postgresql://user:geheim@127.0.0.1:1/name"


async def _coroutine() -> None:
    """A connection that is still to be awaited."""


def unstarted() -> Any:
    coroutine = _coroutine()
    coroutine.close()
    return coroutine


NO_CONNECTIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "a URL": (lambda: NOWHERE, r"^str is no connection to PostgreSQL that halfstep knows; pass a"),
    "an operator, as the connection was forgotten": (lambda: "bash", r"^str is no connection"),
    "bytes": (lambda: b"geheim", r"^bytes is no connection"),
    "a number": (lambda: 5, r"^int is no connection"),
    "a dict": (lambda: {"password": "geheim"}, r"^dict is no connection"),
    "an empty string": (lambda: "", r"^str is no connection"),
    "a SQLAlchemy URL": (lambda: sa.make_url(NOWHERE), r"^sqlalchemy\.URL is no connection"),
    "a connection to SQLite": (lambda: sqlite3.connect(":memory:"), r"^sqlite3\.Connection is no connection to PostgreSQL"),
    "a cursor of SQLite": (lambda: sqlite3.connect(":memory:").cursor(), r"^sqlite3\.Cursor is no connection"),
    "a coroutine": (unstarted, r"^A coroutine is no connection; await the call"),
    "a class": (lambda: Session, r"^This only makes connections or sessions; call it"),
    "a maker of sessions": (lambda: sessionmaker(LITE), r"^This only makes connections or sessions; call it"),
    "a function": (lambda: psycopg2.connect, r"^builtin_function_or_method is no connection|^function is no connection"),
    "a context that was not entered": (lambda: LITE.begin(), r"is no connection; if it is the context of one, enter it"),
}
BLOCKING: dict[str, tuple[Callable[[], Any], str]] = {
    "a SQLAlchemy engine of SQLite": (lambda: LITE, r"^This leads to sqlite, but halfstep's tasks are in PostgreSQL"),
    "a SQLAlchemy connection to SQLite": (lambda: LITE.connect(), r"^This leads to sqlite"),
    "a SQLAlchemy session of SQLite": (lambda: Session(LITE), r"^This leads to sqlite"),
    "a SQLAlchemy session without an engine": (Session, r"^The connection can't be used \(.*bind"),
    "an engine of asyncio": (lambda: create_async_engine("postgresql+asyncpg://h/d"), r"is asyncio's: `await halfstep.aio"),
    "a session of asyncio": (lambda: AsyncSession(), r"AsyncSession is asyncio's: `await halfstep.aio.enqueue"),
    "the inner engine of one of asyncio": (
        lambda: create_async_engine("postgresql+asyncpg://h/d").sync_engine, r"is asyncio's: `await halfstep.aio"
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:coroutine 'connect' was never awaited")
@pytest.mark.parametrize(("make", "sentence"), (NO_CONNECTIONS | BLOCKING).values(), ids=list(NO_CONNECTIONS | BLOCKING))
def test_what_is_no_connection_is_told_and_what_to_pass(make: Callable[[], Any], sentence: str) -> None:
    for call in (lambda: enqueue(make(), "bash", {}), lambda: enqueue_many(make(), [])):
        with pytest.raises(UnusableConnection, match=sentence) as refused:
            call()
        assert "\n" not in str(refused.value)
        assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(("make", "sentence"), NO_CONNECTIONS.values(), ids=list(NO_CONNECTIONS))
def test_what_is_no_connection_is_told_under_asyncio_too(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UnusableConnection, match=sentence) as refused:
        asyncio.run(aio.enqueue(make(), "bash", {}))
    assert "\n" not in str(refused.value)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("title", ["a psycopg2 connection", "a cursor of psycopg", "a pg8000 connection", "Django's connection"])
def test_a_blocking_connection_is_not_used_in_an_event_loop(title: str, drivers_url: str) -> None:
    sentence = r"would make the event loop wait: call halfstep\.enqueue with it in a thread"
    with python_callers.CALLERS[title](drivers_url) as held, pytest.raises(UnusableConnection, match=sentence):
        asyncio.run(aio.enqueue(held.passed, "bash", {}))


@pytest.mark.parametrize("title", ["an asyncpg connection", "a psycopg connection", "a cursor of psycopg with dict_row"])
def test_a_connection_of_asyncio_is_not_used_without_it(title: str, drivers_url: str) -> None:
    async def scene() -> None:
        async with async_callers.CALLERS[title](drivers_url) as held:
            with pytest.raises(UnusableConnection, match=r"is asyncio's: `await halfstep\.aio\.enqueue"):
                enqueue(held.passed, "bash", {})

    asyncio.run(scene())


def test_psycopg2s_own_asynchronous_connections_are_refused(drivers_url: str) -> None:
    connection = psycopg2.connect(drivers_url, async_=True)
    with closing(connection), pytest.raises(UnusableConnection, match="asynchronous connections can't be used"):
        enqueue(connection, "bash")


def test_a_pool_of_psycopg2_is_no_connection_and_a_connection_of_it_is(drivers_url: str, look: Look) -> None:
    pool = psycopg2.pool.SimpleConnectionPool(1, 1, drivers_url)
    with pytest.raises(UnusableConnection, match="SimpleConnectionPool is no connection"):
        enqueue(pool, "bash")
    with closing(pool.getconn()) as connection:
        enqueue(connection, "bash", queue=look.queue)
        connection.commit()
    assert len(look.ids()) == 1


UNREADY: dict[str, tuple[Callable[[str], Any], str]] = {
    "a pool of psycopg that is not open": (
        lambda url: psycopg_pool.AsyncConnectionPool(url, open=False), "The pool can't be used"
    ),
    "a pool of asyncpg that was not awaited": (lambda url: asyncpg.create_pool(url), r"can't be used \(pool is not initialized"),
    "a connection of asyncpg's pool that was not awaited": (lambda url: asyncpg.create_pool(url).acquire(), "enter it"),
    "a SQLAlchemy connection that was not awaited": (
        lambda url: create_async_engine(async_callers.url_for(url, "asyncpg")).connect(), "has not been started"
    ),
    "a SQLAlchemy session without an engine": (lambda _: AsyncSession(), "bind"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "sentence"), UNREADY.values(), ids=list(UNREADY))
def test_under_asyncio_what_is_not_ready_is_told(make: Callable[[str], Any], sentence: str, drivers_url: str) -> None:
    async def scene() -> None:
        await aio.enqueue(make(drivers_url), "bash")

    with pytest.raises(UnusableConnection, match=sentence):
        asyncio.run(scene())


def test_a_pool_that_is_closed_is_told(drivers_url: str) -> None:
    with psycopg_pool.ConnectionPool(drivers_url, min_size=1) as pool:
        pass
    with pytest.raises(UnusableConnection, match="The pool can't be used"):
        enqueue(pool, "bash")


def test_a_connection_of_another_event_loop_is_told(drivers_url: str) -> None:
    connection = asyncio.run(asyncpg.connect(drivers_url))
    with pytest.raises(UnusableConnection, match="made in another event loop"):
        asyncio.run(aio.enqueue(connection, "bash"))
    with suppress(RuntimeError):
        connection.terminate()


# -- the server is not there, or lets nobody in


@pytest.mark.parametrize("driver", python_callers.DRIVERS)
def test_no_server_and_a_refused_login_are_told_apart(driver: str, drivers_url: str) -> None:
    url = sa.make_url(drivers_url)
    nowhere = url.set(port=free_port(), password="geheim").render_as_string(hide_password=False)
    with python_callers.engine_for(nowhere, driver) as engine, pytest.raises(DatabaseUnavailable) as refused:
        enqueue(engine, "bash")
    assert str(refused.value).endswith("check the address that the connection was made with and that the server runs.")
    assert "geheim" not in str(refused.value)
    assert not isinstance(refused.value, LoginRefused)
    nobody = url.set(database="nowhere").render_as_string(hide_password=False)
    with python_callers.engine_for(nobody, driver) as engine, pytest.raises(LoginRefused, match="check the names in the address"):
        enqueue(engine, "bash")


@pytest.mark.parametrize("driver", async_callers.DRIVERS)
def test_no_server_and_a_refused_login_are_told_apart_under_asyncio(driver: str, drivers_url: str) -> None:
    async def scene(url: sa.URL) -> None:
        async with async_callers.engine_for(url.render_as_string(hide_password=False), driver) as engine:
            await aio.enqueue(engine, "bash")

    url = sa.make_url(drivers_url)
    with pytest.raises(DatabaseUnavailable, match="and that the server runs") as refused:
        asyncio.run(scene(url.set(port=free_port())))
    assert not isinstance(refused.value, LoginRefused)
    with pytest.raises(LoginRefused, match="check the names in the address"):
        asyncio.run(scene(url.set(database="nowhere")))


def test_a_pool_that_gets_no_connection_says_that_there_is_no_server() -> None:
    url = f"postgresql://u@127.0.0.1:{free_port()}/d"
    with psycopg_pool.ConnectionPool(url, min_size=1, timeout=0.2) as pool, pytest.raises(DatabaseUnavailable):
        enqueue(pool, "bash")


def _cut(look: Look, pid: int) -> None:
    look.database.execute("SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})


@pytest.mark.parametrize(
    "connect",
    [psycopg2.connect, psycopg.connect, lambda url: pg8000.dbapi.connect(**keywords(url))],
    ids=["psycopg2", "psycopg", "pg8000"],
)
def test_a_connection_that_is_cut_is_a_server_that_is_away_and_then_a_closed_one(
    connect: Callable[[str], Any], drivers_url: str, look: Look
) -> None:
    connection = connect(drivers_url)
    cursor = connection.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    _cut(look, cursor.fetchone()[0])
    with pytest.raises(DatabaseUnavailable, match="The database can't be used"):
        enqueue(connection, "bash", queue=look.queue)
    with pytest.raises((UnusableConnection, DatabaseUnavailable)):
        enqueue(connection, "bash", queue=look.queue)
    assert look.ids() == []
    with suppress(Exception):
        connection.close()


def test_a_connection_of_asyncpg_that_is_cut_and_one_that_is_in_use(drivers_url: str, look: Look) -> None:
    async def scene() -> None:
        connection = await asyncpg.connect(drivers_url)
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(0.3)"))
        await asyncio.sleep(0)
        with pytest.raises(UnusableConnection, match="another operation is in progress"):
            await aio.enqueue(connection, "bash", queue=look.queue)
        await sleeping
        _cut(look, await connection.fetchval("SELECT pg_backend_pid()"))
        with pytest.raises((DatabaseUnavailable, UnusableConnection)):
            await aio.enqueue(connection, "bash", queue=look.queue)

    asyncio.run(scene())
    assert look.ids() == []


# -- the caller's transaction


def test_a_deadlock_says_to_repeat_the_transaction(drivers_url: str, look: Look, threads: ThreadPoolExecutor) -> None:
    keys = [f"{look.queue}-{n}" for n in range(2)]
    enqueue(look.database, "bash", queue=look.queue)  # which makes the queue
    with closing(psycopg2.connect(drivers_url)) as one, closing(psycopg.connect(drivers_url)) as other:
        connections: list[Any] = [one, other]
        for connection, key in zip(connections, keys, strict=True):
            enqueue(connection, "bash", queue=look.queue, unique_key=key)

        def cross(n: int) -> HalfstepError | None:
            try:
                enqueue(connections[n], "bash", queue=look.queue, unique_key=keys[1 - n])
            except HalfstepError as error:
                return error
            finally:
                connections[n].rollback()
            return None

        ends = [future.result(PATIENCE) for future in [threads.submit(cross, n) for n in range(2)]]
    (refused,) = [error for error in ends if error is not None]
    assert isinstance(refused, SerializationFailure)
    assert "deadlock" in str(refused)


def test_a_lock_that_is_not_granted_is_told_as_that(drivers_url: str, look: Look) -> None:
    with closing(psycopg2.connect(drivers_url)) as one, closing(psycopg2.connect(drivers_url)) as other:
        enqueue(one, "bash", queue=look.queue, unique_key=look.queue)
        other.cursor().execute("SET lock_timeout = 50")
        with pytest.raises(LockNotGranted):
            enqueue(other, "bash", queue=look.queue, unique_key=look.queue)


def test_an_invalidated_connection_of_sqlalchemy_is_an_aborted_transaction(drivers_url: str) -> None:
    with python_callers.CALLERS["a SQLAlchemy connection on psycopg"](drivers_url) as held:
        enqueue(held.passed, "bash")
        held.passed.invalidate()
        with pytest.raises(AbortedTransaction):
            enqueue(held.passed, "bash")
        held.rollback()


def test_djangos_blocks_take_a_task_back_and_tell_of_an_earlier_error(drivers_url: str, look: Look) -> None:
    handler = python_callers.django_connections(drivers_url)
    with closing(handler["default"]) as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.db.transaction.get_connection", lambda using=None: connection)
        with transaction.atomic():
            kept = enqueue(connection, "bash", queue=look.queue)
            with suppress(InvalidTask), transaction.atomic():
                enqueue(connection, "bash", queue=look.queue)
                enqueue(connection, "bash", queue=look.queue, max_attempts=0)
            with suppress(ZeroDivisionError), transaction.atomic():
                enqueue(connection, "bash", queue=look.queue)
                _ = 1 / 0
        assert look.ids() == [kept]
        with transaction.atomic():
            connection.set_rollback(True)
            with pytest.raises(AbortedTransaction):
                enqueue(connection, "bash", queue=look.queue)
    assert look.ids() == [kept]


@pytest.mark.parametrize("title", ["a cursor of psycopg2", "a cursor of psycopg", "a cursor of pg8000"])
def test_a_cursor_that_is_half_read_can_be_read_on(title: str, drivers_url: str, look: Look) -> None:
    with python_callers.CALLERS[title](drivers_url) as held:
        held.passed.execute("SELECT n FROM generate_series(1, 3) n")
        read = [held.passed.fetchone()[0]]
        for row in held.passed:
            enqueue(held.passed, "bash", {"n": row[0]}, queue=look.queue)
            read.append(row[0])
        held.commit()
    assert read == [1, 2, 3]
    assert look.args() == [{"n": 2}, {"n": 3}]


def test_ids_are_numbers_however_the_connection_reads_bigint(drivers_url: str, look: Look) -> None:
    with closing(psycopg2.connect(drivers_url)) as connection:
        as_text = psycopg2.extensions.new_type((20,), "TEXT8", lambda value, _: value)
        psycopg2.extensions.register_type(psycopg2.extensions.new_array_type((1016,), "TEXTS8", as_text), connection)
        assert isinstance(enqueue(connection, "bash", queue=look.queue), int)


def test_an_object_that_stands_for_a_connection_is_what_it_stands_for(drivers_url: str, look: Look) -> None:
    class Traced:
        """As instrumentation wraps connections."""

        def __init__(self, wrapped: Any) -> None:
            self._wrapped = wrapped

        @property
        def __class__(self) -> Any:
            return type(self._wrapped)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._wrapped, name)

    with closing(psycopg2.connect(drivers_url)) as connection, closing(psycopg.connect(drivers_url)) as other:
        for wrapped in (connection, other):
            enqueue(Traced(wrapped), "bash", queue=look.queue)
            wrapped.commit()
    assert len(look.ids()) == 2
