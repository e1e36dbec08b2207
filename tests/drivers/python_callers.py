"""Callers in Python as users write them: each has something to pass to `enqueue`, and its own way to end its transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import django
import pg8000.dbapi
import pg8000.legacy
import pg8000.native
import psycopg
import psycopg2.extras
import psycopg_pool
import sqlalchemy as sa
from django.conf import settings
from django.db.utils import ConnectionHandler
from django.utils.connection import ConnectionProxy
from psycopg import rows
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool


@dataclass(frozen=True, slots=True)
class Held:
    """passed: what goes to `enqueue`. run: a statement of the caller's own in the same transaction.

    reopens: after `close` it connects again by itself.
    """

    passed: Any
    run: Callable[[str], object]
    commit: Callable[[], object]
    rollback: Callable[[], object]
    close: Callable[[], object]
    reopens: bool = False


Caller = Callable[[str], Any]
"""A context that gives Held for a URL."""

CALLERS: dict[str, Caller] = {}
DRIVERS = ("psycopg2", "psycopg", "pg8000")


def url_for(url: str, driver: str) -> sa.URL:
    parts = sa.make_url(url).set(drivername=f"postgresql+{driver}")
    return parts if driver.startswith("psycopg") else parts.set(query={})  # libpq's own parameters


def keywords(url: str) -> dict[str, Any]:
    """The parts of a URL, as drivers without URLs take them."""
    parts = sa.make_url(url)
    return {
        "host": parts.host, "port": parts.port, "user": parts.username, "password": parts.password, "database": parts.database
    }  # fmt: skip


def known_as(title: str, maker: Callable[..., Any], /, *given: Any, **options: Any) -> None:
    @contextmanager
    def caller(url: str) -> Iterator[Held]:
        with maker(url, *given, **options) as held:
            yield held

    CALLERS[title] = caller


# -- SQLAlchemy


@contextmanager
def engine_for(url: str, driver: str, **options: Any) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url_for(url, driver), poolclass=NullPool, **options)
    yield engine
    engine.dispose()


@contextmanager
def sa_connection(url: str, driver: str, **options: Any) -> Iterator[Held]:
    with engine_for(url, driver, **options) as engine, engine.connect() as connection:
        yield Held(connection, connection.exec_driver_sql, connection.commit, connection.rollback, connection.close)


@contextmanager
def sa_session(url: str, driver: str) -> Iterator[Held]:
    with engine_for(url, driver) as engine, Session(engine) as session:
        yield Held(session, lambda sql: session.execute(sa.text(sql)), session.commit, session.rollback, session.close, True)


@contextmanager
def sa_scoped_session(url: str, driver: str) -> Iterator[Held]:
    with engine_for(url, driver) as engine:
        scoped = scoped_session(sessionmaker(engine))
        yield Held(scoped, lambda sql: scoped.execute(sa.text(sql)), scoped.commit, scoped.rollback, scoped.remove, True)
        scoped.remove()


@contextmanager
def sa_raw_connection(url: str, driver: str) -> Iterator[Held]:
    with engine_for(url, driver) as engine, closing(engine.raw_connection()) as raw:
        yield Held(raw, lambda sql: raw.cursor().execute(sql), raw.commit, raw.rollback, raw.close)


for driver in DRIVERS:
    known_as(f"a SQLAlchemy connection on {driver}", sa_connection, driver)
    known_as(f"a SQLAlchemy session on {driver}", sa_session, driver)
    known_as(f"a connection of SQLAlchemy's pool on {driver}", sa_raw_connection, driver)
known_as("a SQLAlchemy scoped session", sa_scoped_session, "psycopg2")
known_as("a SQLAlchemy connection that writes parameters as %s", sa_connection, "psycopg2", paramstyle="format")
known_as("a SQLAlchemy connection whose driver speaks Latin 1", sa_connection, "psycopg2", client_encoding="latin1")


# -- psycopg2


@contextmanager
def psycopg2_connection(url: str, **options: Any) -> Iterator[Held]:
    with closing(psycopg2.connect(url, **options)) as connection:
        yield _psycopg2(connection, connection)


@contextmanager
def psycopg2_cursor(url: str, kind: Any, **options: Any) -> Iterator[Held]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor(cursor_factory=kind, **options) as cursor:
        yield _psycopg2(connection, cursor)


def _psycopg2(connection: Any, passed: Any) -> Held:
    plain = psycopg2.extensions.cursor
    run = lambda sql: connection.cursor(cursor_factory=plain).execute(sql)  # noqa: E731
    return Held(passed, run, connection.commit, connection.rollback, connection.close)


for kind in ("RealDictCursor", "NamedTupleCursor", "DictCursor"):
    known_as(f"a psycopg2 connection that makes a {kind}", psycopg2_connection, cursor_factory=getattr(psycopg2.extras, kind))
    known_as(f"a {kind} of psycopg2", psycopg2_cursor, getattr(psycopg2.extras, kind))
known_as("a psycopg2 connection", psycopg2_connection)
known_as(
    "a psycopg2 connection of a class of its own", psycopg2_connection, connection_factory=psycopg2.extras.RealDictConnection
)
known_as("a psycopg2 connection that speaks Latin 1", psycopg2_connection, client_encoding="latin1")
known_as("a psycopg2 connection that speaks ASCII", psycopg2_connection, client_encoding="sql_ascii")
known_as("a cursor of psycopg2", psycopg2_cursor, None)
known_as("a server-side cursor of psycopg2", psycopg2_cursor, None, name="here")


# -- psycopg 3


class Row(NamedTuple):
    number: int


@contextmanager
def psycopg_connection(url: str, **options: Any) -> Iterator[Held]:
    with closing(psycopg.connect(url, **options)) as connection:
        yield _psycopg(connection, connection)


@contextmanager
def psycopg_pipeline(url: str) -> Iterator[Held]:
    with closing(psycopg.connect(url)) as connection, connection.pipeline() as pipeline:
        held = _psycopg(connection, connection)

        def run(sql: str) -> None:
            held.run(sql)
            pipeline.sync()

        yield Held(connection, run, connection.commit, connection.rollback, connection.close)


@contextmanager
def psycopg_cursor(url: str, *, name: str = "", **options: Any) -> Iterator[Held]:
    with closing(psycopg.connect(url)) as connection, connection.cursor(name, **options) as cursor:
        yield _psycopg(connection, cursor)


def _psycopg(connection: Any, passed: Any) -> Held:
    run = lambda sql: psycopg.Cursor(connection, row_factory=rows.tuple_row).execute(sql)  # noqa: E731
    return Held(passed, run, connection.commit, connection.rollback, connection.close)


FACTORIES: dict[str, Any] = {
    "dict_row": rows.dict_row,
    "namedtuple_row": rows.namedtuple_row,
    "scalar_row": rows.scalar_row,
    "class_row": rows.class_row(Row),
    "args_row": rows.args_row(Row),
    "kwargs_row": rows.kwargs_row(Row),
}
for factory, row_factory in FACTORIES.items():
    known_as(f"a psycopg connection with {factory}", psycopg_connection, row_factory=row_factory)
known_as("a psycopg connection", psycopg_connection)
known_as("a psycopg connection that binds on the client", psycopg_connection, cursor_factory=psycopg.ClientCursor)
known_as("a psycopg connection that numbers its parameters", psycopg_connection, cursor_factory=psycopg.RawCursor)
known_as("a psycopg connection that speaks Latin 1", psycopg_connection, client_encoding="latin1")
known_as("a cursor of psycopg", psycopg_cursor)
known_as("a cursor of psycopg with dict_row", psycopg_cursor, row_factory=rows.dict_row)
known_as("a server-side cursor of psycopg with scalar_row", psycopg_cursor, name="here", row_factory=rows.scalar_row)


# -- pg8000


@contextmanager
def pg8000_connection(url: str, module: Any) -> Iterator[Held]:
    connection = module.connect(**keywords(url))
    yield _pg8000(connection, connection)


@contextmanager
def pg8000_cursor(url: str, module: Any) -> Iterator[Held]:
    connection = module.connect(**keywords(url))
    yield _pg8000(connection, connection.cursor())


@contextmanager
def pg8000_native(url: str) -> Iterator[Held]:
    connection = pg8000.native.Connection(**keywords(url))
    connection.run("START TRANSACTION")

    def end(how: str) -> None:
        connection.run(how)
        connection.run("START TRANSACTION")

    yield Held(connection, connection.run, partial(end, "COMMIT"), partial(end, "ROLLBACK"), connection.close)


def _pg8000(connection: Any, passed: Any) -> Held:
    run = lambda sql: connection.cursor().execute(sql)  # noqa: E731
    return Held(passed, run, connection.commit, connection.rollback, connection.close)


known_as("a pg8000 connection", pg8000_connection, pg8000.dbapi)
known_as("a cursor of pg8000", pg8000_cursor, pg8000.dbapi)
known_as("an old-style connection of pg8000", pg8000_connection, pg8000.legacy)
known_as("an old-style cursor of pg8000", pg8000_cursor, pg8000.legacy)
known_as("a native connection of pg8000", pg8000_native)


# -- Django


def django_connections(url: str, **options: Any) -> ConnectionHandler:
    """As `django.db.connections`."""
    if not settings.configured:
        settings.configure()
        django.setup()
    parts = {name.upper(): value for name, value in keywords(url).items()}
    named = {"NAME": parts.pop("DATABASE"), **parts, "ENGINE": "django.db.backends.postgresql", **options}
    return ConnectionHandler({"default": named})


@contextmanager
def django_connection(url: str, passed: Callable[[ConnectionHandler], Any]) -> Iterator[Held]:
    handler = django_connections(url)
    connection = handler["default"]
    connection.set_autocommit(False)
    yield Held(
        passed(handler),
        lambda sql: connection.cursor().execute(sql),
        connection.commit,
        connection.rollback,
        connection.close,
        True,
    )
    connection.close()


known_as("Django's connection", django_connection, lambda handler: ConnectionProxy(handler, "default"))
known_as("one of Django's connections", django_connection, lambda handler: handler["default"])
known_as("a cursor of Django", django_connection, lambda handler: handler["default"].cursor())


# -- whoever has no transaction at hand


@contextmanager
def psycopg_pool_of(url: str) -> Iterator[Any]:
    with psycopg_pool.ConnectionPool(url, min_size=1, max_size=1, kwargs={"row_factory": rows.dict_row}) as pool:
        yield pool


@contextmanager
def sa_autocommit(url: str, driver: str) -> Iterator[Any]:
    with engine_for(url, driver, isolation_level="AUTOCOMMIT") as engine, engine.connect() as connection:
        yield connection


@contextmanager
def plain(connection: Any, autocommit: bool) -> Iterator[Any]:
    connection.autocommit = autocommit
    with closing(connection):
        yield connection


ALONE: dict[str, Caller] = {
    **{f"a SQLAlchemy engine on {driver}": (lambda url, driver=driver: engine_for(url, driver)) for driver in DRIVERS},
    **{f"a committing SQLAlchemy connection on {driver}": (lambda url, d=driver: sa_autocommit(url, d)) for driver in DRIVERS},
    "a committing SQLAlchemy engine": lambda url: engine_for(url, "psycopg", isolation_level="AUTOCOMMIT"),
    "a pool of psycopg": psycopg_pool_of,
    "a committing psycopg2 connection": lambda url: plain(psycopg2.connect(url), True),
    "a committing psycopg connection": lambda url: plain(psycopg.connect(url), True),
    "a committing pg8000 connection": lambda url: plain(pg8000.dbapi.connect(**keywords(url)), True),
    "a native connection of pg8000 outside of a transaction": lambda url: closing(pg8000.native.Connection(**keywords(url))),
    "Django's connection outside of a transaction": lambda url: closing(django_connections(url)["default"]),
}
"""Callers whose tasks are committed when `enqueue` returns."""
