"""The one place that talks to PostgreSQL: connections, statements, transactions, notifications, and what their errors mean.

Nothing else in halfstep executes SQL of the queue (an import contract says so). A `Database` is one connection, made when it is
first needed and made afresh after it broke; it is used by one thread. Each `run` is one statement and one commit, unless a
`transaction` is open.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from halfstep.callers import in_our_words, opened
from halfstep.context import running
from halfstep.errors import DatabaseUnavailable, HalfstepError, InvalidSettings, RefusedValue
from halfstep.failpoints import reach
from halfstep.sqlstates import is_read_only, meaning, unavailable
from halfstep.statements import statement

Row = Mapping[str, Any]

# What we were told is committed must outlast a crash of the server: a claim counts as the start of a body that may not start
# again. Only `off` is raised; how many servers a commit waits for is the operator's. Asked at each commit, in its own round trip
# and for it alone: a reload changes the setting under a session, and a pooler gives the session to others.
_DURABLY = "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';\n"


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How we connect. Times are seconds."""

    application_name: str = "halfstep"
    connect_timeout: int = 5
    """A server that does not answer within this is unavailable."""
    statement_timeout: float = 15.0
    """Longer than any statement of ours takes; a hung one must not hold a worker for ever. 0: none."""
    lock_timeout: float = 5.0
    """Nothing of ours waits long for a lock; whoever does tries again."""
    silence: int = 10
    """A server that acknowledges nothing for this long is gone (keepalives and tcp_user_timeout)."""


def parse_url(url: str) -> sa.URL:
    """A PostgreSQL URL for our driver. Raises InvalidSettings; the password never stands in the message."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidSettings(
            "The database URL can't be read; it looks like postgresql://user:password@host:5432/name."
        ) from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise InvalidSettings(
            f"The database URL begins with {parsed.drivername}:, but halfstep needs PostgreSQL (postgresql://…)."
        )
    return parsed.set(drivername="postgresql+psycopg2")


class Database:
    """One connection to the queue's database. `run` and `transaction` reconnect when the connection is gone."""

    def __init__(self, url: str, settings: ConnectionSettings | None = None) -> None:
        self.settings = settings or ConnectionSettings()
        self._url = parse_url(url)
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self.in_transaction = False
        """Whether what is done is committed by `transaction`, and not by each statement."""

    def run(self, name: str, /, **parameters: Any) -> list[Row]:
        """The rows of `sql/<name>.sql`; one statement, one commit. Raises HalfstepError (see `meaning`)."""
        reach(f"{name}.before")
        rows = self.write(statement(name), parameters)
        reach(f"{name}.after", self._lose_the_reply)
        return rows

    def write(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of one statement. Its commit outlasts a crash of the server, even if `synchronous_commit` is off."""
        return self.execute(_DURABLY + sql, parameters)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of one statement. A connection that broke is closed, so that the next call makes a new one."""
        try:
            result = self._connected().exec_driver_sql(sql, dict(parameters) if parameters else None)
            return [cast(Row, row._mapping) for row in result.all()] if result.returns_rows else []
        except DBAPIError as error:
            if error.connection_invalidated or self._is_broken() or is_read_only(error):
                self.close()
            raise meaning(error) from error
        except ValueError as error:  # the driver refuses a NUL before anything is sent
            raise RefusedValue(str(error)) from error

    def script(self, text: str) -> None:
        """Several statements without parameters, as they stand. Raises HalfstepError."""
        try:
            cursor = self._connected().connection.cursor()
        except DBAPIError as error:
            raise meaning(error) from error
        try:
            cursor.execute(text)
        except psycopg2.Error as error:
            raise meaning(error) from error
        finally:
            cursor.close()

    @contextmanager
    def transaction(self, *, lock_seconds: float | None = None, statement_seconds: float | None = None) -> Iterator[None]:
        """Several statements, one commit, which outlasts a crash of the server; any exception rolls back.

        lock_seconds, statement_seconds: longest wait for a lock, longest statement; None: as always.
        """
        self.execute(f"BEGIN; {_DURABLY}")
        self.in_transaction = True
        try:
            for name, seconds in (("lock_timeout", lock_seconds), ("statement_timeout", statement_seconds)):
                if seconds is not None:
                    # Local: behind a pooler the connection's next transaction is somebody else's.
                    self.execute(f"SET LOCAL {name} = {int(seconds * 1000)}")
            yield
        except BaseException:
            self._roll_back()
            raise
        finally:
            self.in_transaction = False
        self.execute("COMMIT")

    def close(self) -> None:
        """Gives the connection up, whatever state it is in. Closing twice is fine."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def interrupt(self) -> None:
        """Cancels the statement in flight, from another thread."""
        connection = self._connection
        if connection is not None and not connection.invalidated:
            raw = connection.connection.dbapi_connection
            if raw is not None:
                raw.cancel()

    def abandon(self) -> None:
        """Breaks the connection off, from another thread. Asks nobody: the server may be away. A commit may come through."""
        connection = self._connection
        if connection is not None and not connection.invalidated:
            raw = cast(Any, connection.connection.dbapi_connection)
            with suppress(psycopg2.Error, OSError), socket.socket(fileno=os.dup(raw.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)

    def _connected(self) -> sa.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sa.Connection:
        self._engine = self._engine or self._make_engine(with_options=True)
        try:
            return self._engine.connect()
        except DBAPIError as error:
            if "startup parameter" not in str(error):
                raise
            # PgBouncer refuses `options`; there the settings come from ALTER ROLE … SET (docs/reference/settings.md).
            self._engine = self._make_engine(with_options=False)
            return self._engine.connect()

    def _make_engine(self, *, with_options: bool) -> sa.Engine:
        arguments = connect_arguments(self.settings, with_options=with_options)
        engine = sa.create_engine(
            self._url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args=arguments, use_native_hstore=False,
            json_deserializer=_value_of,
        )  # fmt: skip
        sa.event.listen(engine, "connect", lambda connection, _: psycopg2.extensions.register_type(_MOMENT, connection))
        return engine

    def _lose_the_reply(self) -> None:
        self.close()
        raise DatabaseUnavailable("The connection broke before the reply came.")

    def _is_broken(self) -> bool:
        connection = self._connection
        if connection is None or connection.closed or connection.invalidated:
            return True
        return bool(getattr(connection.connection.dbapi_connection, "closed", True))

    def _roll_back(self) -> None:
        try:
            self.execute("ROLLBACK")
        except HalfstepError:
            self.close()


def _moment_of(text: str | bytes | None, cursor: Any) -> Any:
    """A timestamptz. PostgreSQL keeps years that Python has not: such a moment stays text."""
    try:
        return psycopg2.extensions.PYDATETIMETZ(text, cursor)
    except (ValueError, OverflowError):
        return text


_MOMENT = psycopg2.extensions.new_type((1184,), "MOMENT", _moment_of)


def _value_of(text: str) -> Any:
    """A value of json or jsonb. PostgreSQL keeps longer numbers and deeper nesting than Python reads: such a value stays text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class Listener:
    """Notifications of one channel on a connection of their own. A hint only: who misses one polls."""

    def __init__(self, url: str, channel: str, settings: ConnectionSettings | None = None) -> None:
        address = parse_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            self._connection = psycopg2.connect(
                address, **connect_arguments(settings or ConnectionSettings(), with_options=False)
            )
            self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(f'LISTEN "{channel}"')
        except psycopg2.Error as error:
            raise unavailable(str(error)) from error

    def wait(self, seconds: float, *, stop_fd: int) -> list[str]:
        """The payloads that came within `seconds`; returns early when `stop_fd` is readable. Raises DatabaseUnavailable."""
        try:
            readable, _, _ = select.select([self._connection, stop_fd], [], [], seconds)
            if self._connection in readable:
                self._connection.poll()
        except (psycopg2.Error, OSError, ValueError) as error:
            raise DatabaseUnavailable("The listening connection is gone.") from error
        heard = [notification.payload for notification in self._connection.notifies]
        self._connection.notifies.clear()
        return heard

    def close(self) -> None:
        """Closing twice is fine."""
        self._connection.close()


def connect_arguments(settings: ConnectionSettings, *, with_options: bool) -> dict[str, Any]:
    """libpq's arguments for our settings."""
    timeouts = (
        f"-c statement_timeout={int(settings.statement_timeout * 1000)} -c lock_timeout={int(settings.lock_timeout * 1000)}"
    )
    arguments = {
        "application_name": settings.application_name,
        "client_encoding": "utf8",  # whatever the database's: what it can't hold it refuses, and a SQL_ASCII one takes as it is
        "connect_timeout": settings.connect_timeout,
        "keepalives_idle": settings.silence,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": settings.silence * 1000,
    }
    # Our statements name schemas: what somebody has made in `public` stands in for no operator and no function of theirs.
    paths = "-c search_path=pg_catalog,pg_temp"
    return arguments | ({"options": f"-c jit=off -c timezone=UTC {paths} {timeouts}"} if with_options else {})


def execute_on(connection: Any, sql: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
    """The first row of a statement in the caller's transaction; parameters as in `%(name)s`, connections as for `enqueue`."""
    with in_our_words(), opened(connection) as caller:
        return caller.ask(sql, parameters)


@contextmanager
def owned_connection(url: str | None) -> Iterator[Database]:
    """A connection of our own, for callers that bring none. Raises InvalidSettings when there is no URL."""
    address = url or os.environ.get("HALFSTEP_DATABASE_URL")
    if not address and running() is not None:
        raise InvalidSettings(
            "The body of a task is not given halfstep's database: make a connection of your own in it, as a role that may"
            " enqueue, and pass that."
        )
    if not address:
        raise InvalidSettings("There is no database: set HALFSTEP_DATABASE_URL, or pass a connection.")
    database = Database(address)
    try:
        yield database
    finally:
        database.close()
