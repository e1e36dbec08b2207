"""Callers' connections: how each family of drivers runs a statement of ours in its caller's transaction.

A family is told by the names of an object's classes, so that no driver is imported but the one that the object is of. Cursors
are made for each statement: a caller's own cursor may have rows to be read, and a row factory. Nothing here ends a transaction
that it did not begin, or closes what it did not open.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from halfstep.errors import HalfstepError, UnusableConnection

Parameters = Mapping[str, Any]
_NAMED = re.compile(r"%\((\w+)\)s")
_MARKS = {"format": "%s", "qmark": "?", "numeric": ":{number}", "numeric_dollar": "${number}", "named": ":{name}"}

ASYNC = {
    "asyncpg.Connection", "asyncpg.PoolConnectionProxy", "asyncpg.Pool", "psycopg.AsyncConnection", "psycopg.AsyncCursor",
    "psycopg_pool.AsyncConnectionPool", "sqlalchemy.AsyncEngine", "sqlalchemy.AsyncConnection", "sqlalchemy.AsyncSession",
    "sqlalchemy.async_scoped_session",
}  # fmt: skip
"""What `halfstep.aio` takes."""

_WANTED = (
    "a SQLAlchemy Engine, Connection or Session, a connection or cursor of psycopg2, psycopg or pg8000, Django's connection,"
    " or None for HALFSTEP_DATABASE_URL"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller's transaction.

    ask: the first row of a statement, whose parameters are named as in `%(name)s`. commits: the connection commits each
    statement by itself, so that what belongs together has to be one statement.
    """

    ask: Callable[[str, Parameters], Sequence[Any]]
    commits: bool


@contextmanager
def opened(connection: Any) -> Iterator[Caller]:
    """A caller's transaction. Of an engine, a pool or nothing (HALFSTEP_DATABASE_URL) one of its own, which ends here.

    Raises UnusableConnection for what is no connection, and errors of the driver's.
    """
    names = names_of(connection)
    if connection is None:
        from halfstep.database import owned_connection  # its driver takes a while to import

        with owned_connection(None) as database, database.transaction():
            yield _own(database)
    elif "sqlalchemy.Engine" in names:
        with connection.begin() as begun:
            yield sqlalchemy(begun)
    elif "psycopg_pool.ConnectionPool" in names:
        with connection.connection() as lent:
            yield _psycopg(lent)
    else:
        yield _family(connection, names)(connection)


@contextmanager
def in_our_words() -> Iterator[None]:
    """A driver's errors as HalfstepError, which has the driver's as its cause; others pass."""
    try:
        yield
    except HalfstepError:
        raise
    except Exception as error:
        from halfstep.sqlstates import callers_meaning

        known = callers_meaning(error)
        if known is None:
            raise
        raise known from error


def lacks_a_character(error: BaseException | None) -> bool:
    """Whether a driver could not write a text in its connection's encoding; nothing was sent then."""
    while error is not None and not isinstance(error, UnicodeEncodeError):
        error = error.__cause__
    return error is not None


def names_of(value: Any) -> list[str]:
    """`package.Class` of what it is an instance of, the most special first; a proxy is what it stands for."""
    return [f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in value.__class__.__mro__]


def in_style(sql: str, parameters: Parameters, style: str) -> tuple[str, Any]:
    """A statement with `%(name)s` and its parameters as a driver of this DB-API parameter style takes them (PEP 249)."""
    if style == "pyformat":
        return sql, dict(parameters)
    names: list[str] = []

    def mark(match: re.Match[str]) -> str:
        names.append(match[1])
        return _MARKS[style].format(name=match[1], number=len(names))

    text = _NAMED.sub(mark, sql).replace("%%", "%")
    return text, dict(parameters) if style == "named" else tuple(parameters[name] for name in names)


def refused(connection: Any, wanted: str) -> UnusableConnection:
    """What to pass instead of this. Its value is not shown: a password may stand in it."""
    names = names_of(connection)
    if names[0] in ("builtins.coroutine", "builtins.generator"):
        return UnusableConnection(f"A {names[0].partition('.')[2]} is no connection; await the call that makes the connection.")
    if isinstance(connection, type) or {"sqlalchemy.sessionmaker", "sqlalchemy.async_sessionmaker"} & {*names}:
        return UnusableConnection("This only makes connections or sessions; call it, and pass what it returns.")
    entered = not hasattr(connection, "execute") and (hasattr(connection, "__enter__") or hasattr(connection, "__aenter__"))
    what = names[0].removeprefix("builtins.")
    if entered and not hasattr(connection, "cursor"):
        return UnusableConnection(f"{what} is no connection; if it is the context of one, enter it, and pass what that gives.")
    return UnusableConnection(f"{what} is no connection to PostgreSQL that halfstep knows; pass {wanted}.")


def refused_by_asyncio(connection: Any, wanted: str) -> UnusableConnection:
    """The same for `halfstep.aio`."""
    names = names_of(connection)
    if {"sqlalchemy.Engine", "psycopg_pool.ConnectionPool", *_FAMILIES}.intersection(names):
        return UnusableConnection(
            f"{names[0]} would make the event loop wait: call halfstep.enqueue with it in a thread (asyncio.to_thread),"
            f" or pass {wanted}."
        )
    return refused(connection, wanted)


def refuse_closed(closed: Any) -> None:
    """Raises UnusableConnection if it is."""
    if closed:
        raise UnusableConnection("The connection is closed; pass one that is open.")


def refuse_other_databases(name: str | None) -> None:
    """Raises UnusableConnection unless this names PostgreSQL."""
    if name != "postgresql":
        raise UnusableConnection(
            f"This leads to {name or 'no database'}, but halfstep's tasks are in PostgreSQL; pass a connection to that."
        )


# -- one family each


def _own(database: Any) -> Caller:
    def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        return tuple(database.write(sql, parameters)[0].values())

    return Caller(ask, commits=not database.in_transaction)


def sqlalchemy(connection: Any) -> Caller:
    """Of a SQLAlchemy Connection, on whatever driver."""
    refuse_other_databases(connection.dialect.name)
    refuse_closed(connection.closed)

    # Drivers of libpq take names whatever style their engine was told to use for its own statements.
    style = "pyformat" if connection.dialect.driver.startswith("psycopg") else connection.dialect.paramstyle

    def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        return tuple(connection.exec_driver_sql(*in_style(sql, parameters, style)).one())

    return Caller(ask, commits=_autocommits(connection.connection.dbapi_connection))


def _session(session: Any) -> Caller:
    return sqlalchemy(session.connection())


def _pooled(fairy: Any) -> Caller:
    raw = fairy.dbapi_connection
    refuse_closed(raw is None)
    return _family(raw, names_of(raw))(raw)


def _psycopg2(connection: Any) -> Caller:
    from psycopg2.extensions import cursor as plain

    refuse_closed(connection.closed)
    if connection.async_:
        raise UnusableConnection("psycopg2's asynchronous connections can't be used; pass one that is made without async_.")

    def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        with connection.cursor(cursor_factory=plain) as cursor:
            cursor.execute(sql, dict(parameters))
            return tuple(cursor.fetchone())

    return Caller(ask, commits=_autocommits(connection))


def _psycopg(connection: Any) -> Caller:
    from psycopg import Cursor
    from psycopg.rows import tuple_row

    refuse_closed(connection.closed)

    def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        with Cursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(sql.encode(), dict(parameters))
            return cursor.fetchone() or ()

    return Caller(ask, commits=_autocommits(connection))


def _pg8000(connection: Any) -> Caller:
    if not hasattr(connection, "cursor"):
        return _pg8000_native(connection)

    def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        cursor = connection.cursor()
        # The module's style may have been changed, as its documentation has it.
        style = getattr(cursor, "paramstyle", None) or sys.modules["pg8000.dbapi"].paramstyle
        cursor.execute(*in_style(sql, parameters, style))
        return tuple(cursor.fetchone())

    return Caller(ask, commits=_autocommits(connection))


def _pg8000_native(connection: Any) -> Caller:
    def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        text, named = in_style(sql, parameters, "named")
        return tuple(connection.run(text, **named)[0])

    return Caller(ask, commits=True)


def _django(connection: Any) -> Caller:
    refuse_other_databases(getattr(connection, "vendor", None))

    def ask(sql: str, parameters: Parameters) -> Sequence[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, dict(parameters))
            return tuple(cursor.fetchone())

    return Caller(ask, commits=connection.get_autocommit())


def _of_cursor(name: str) -> Callable[[Any], Caller]:
    """The family of the connection that is in this attribute of a cursor."""

    def caller(cursor: Any) -> Caller:
        connection = getattr(cursor, name)
        refuse_closed(connection is None)
        return _family(connection, names_of(connection))(connection)

    return caller


def _autocommits(raw: Any) -> bool:
    return bool(getattr(raw, "autocommit", False))


_FAMILIES: Mapping[str, Callable[[Any], Caller]] = {
    "halfstep.Database": _own,
    "sqlalchemy.Connection": sqlalchemy,
    "sqlalchemy.Session": _session,
    "sqlalchemy.scoped_session": _session,
    "sqlalchemy.PoolProxiedConnection": _pooled,
    "psycopg2.connection": _psycopg2,
    "psycopg2.cursor": _of_cursor("connection"),
    "psycopg.Connection": _psycopg,
    "psycopg.Cursor": _of_cursor("connection"),
    "pg8000.Connection": _pg8000,
    "pg8000.Cursor": _of_cursor("_c"),  # `connection` warns
    "django.BaseDatabaseWrapper": _django,
    "django.ConnectionProxy": _django,
    "django.CursorWrapper": _of_cursor("db"),
}


def _family(connection: Any, names: Sequence[str]) -> Callable[[Any], Caller]:
    for name in names:
        if name in _FAMILIES:
            return _FAMILIES[name]
    if ASYNC.intersection(names):
        raise UnusableConnection(f"{names[0]} is asyncio's: `await halfstep.aio.enqueue(…)` takes it, with the same arguments.")
    raise refused(connection, _WANTED)
