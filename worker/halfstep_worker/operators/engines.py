"""Database engines of named connections: one a name and process, one database connection each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2.extensions
import sqlalchemy as sa
from psycopg2.extras import wait_select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from halfstep.errors import InvalidTask
from halfstep_worker.connections import Connection

CONNECT_SECONDS = 10


class Engines:
    """Engines made when first asked for. Those from before a fork are forgotten, as their sockets belong to the parent."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._engines: dict[str, sa.Engine] = {}

    def of(self, connection: Connection) -> sa.Engine:
        """The engine of a connection. InvalidTask: its kind of database, or the driver for it, is not installed."""
        if self._process != os.getpid():
            self._process, self._engines = os.getpid(), {}
        if connection.name not in self._engines:
            self._engines[connection.name] = _make(connection)
        return self._engines[connection.name]


def _make(connection: Connection) -> sa.Engine:
    url = _with_our_driver(connection.parts)
    try:
        engine = sa.create_engine(url, hide_parameters=True, pool_pre_ping=True, **_options(url))
    except NoSuchModuleError:
        raise InvalidTask(f"Connection '{connection.name}' is for '{url.drivername}', which is no database known here.") from None
    except ImportError as error:
        raise InvalidTask(f"Connection '{connection.name}' needs the Python package '{error.name}'; install it.") from None
    except (ArgumentError, TypeError, ValueError):
        raise InvalidTask(f"The URL of connection '{connection.name}' has options that its driver does not know.") from None
    if engine.dialect.name == "postgresql":
        sa.event.listen(engine, "reset", _forget_session)
    return engine


def _with_our_driver(url: sa.URL) -> sa.URL:
    """psycopg2 for a PostgreSQL URL that names no driver: SQLAlchemy's own default depends on its version."""
    return url.set(drivername="postgresql+psycopg2") if url.drivername in ("postgres", "postgresql") else url


def _options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {}
    common: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}
    if url.drivername == "postgresql+psycopg2":
        common["connect_args"] = {"connect_timeout": CONNECT_SECONDS, "application_name": "halfstep task"}
    return common


def _forget_session(connection: Any, _record: object, _state: object) -> None:
    """Settings, temporary tables and locks of one task must not meet the next one."""
    connection.rollback()
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("DISCARD ALL")
    connection.autocommit = False


@contextmanager
def interruptible() -> Iterator[None]:
    """psycopg2 waits in Python meanwhile, so that a stop is heard during a long statement, and the server is told to end it."""
    before = psycopg2.extensions.get_wait_callback()
    psycopg2.extensions.set_wait_callback(_wait)
    try:
        yield
    finally:
        psycopg2.extensions.set_wait_callback(before)


def _wait(connection: Any) -> None:
    try:
        wait_select(connection)
    except BaseException:
        if not connection.closed:
            connection.cancel()
        raise
