"""The schema's versions: forward only, plain SQL, safe when several processes start at once.

Every migration states the oldest code that may use the schema after it (`-- oldest code: N`, N being the newest migration that
code knows). So older workers go on through an upgrade, and only code older than that refuses.
"""

from __future__ import annotations

import random
import re
import threading
import time
from dataclasses import dataclass

from halfstep.database import Database
from halfstep.errors import LockNotGranted, NotPermitted, SchemaMismatch
from halfstep.limits import OLDEST_SERVER
from halfstep.statements import migrations

LOCK = 0x68616C66  # "half": one migration at a time, by a transaction-level advisory lock
LOCK_SECONDS = 0.15
"""Longest wait for a lock on a table. Whoever comes after us waits behind us, renewals too: so we let go, and ask again."""
PATIENCE = 240.0
"""So long we ask. A dump that is under way ends first."""
NEWEST = max(version for version, _, _ in migrations())

_BOOKS = """
CREATE SCHEMA IF NOT EXISTS halfstep;
CREATE TABLE IF NOT EXISTS halfstep.migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    oldest_code integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """version: newest migration applied (0: none). oldest_code: the oldest code that may use it. server: major version."""

    version: int
    oldest_code: int
    server: int


def schema_state(database: Database) -> SchemaState:
    """What the database has. Raises DatabaseUnavailable."""
    server = int(database.execute("SELECT current_setting('server_version_num')::int / 10000 AS major")[0]["major"])
    if database.execute("SELECT to_regclass('halfstep.migration') AS books")[0]["books"] is None:
        return SchemaState(0, 0, server)
    row = database.execute(
        "SELECT coalesce(max(version), 0) AS version, coalesce(max(oldest_code), 0) AS oldest FROM halfstep.migration"
    )[0]
    return SchemaState(row["version"], row["oldest"], server)


def check_schema(database: Database, *, newest: int = NEWEST) -> SchemaState:
    """Raises SchemaMismatch unless this code, which knows migrations up to `newest`, may use the schema."""
    state = schema_state(database)
    check_server(state.server)
    if newest < state.oldest_code:
        raise SchemaMismatch(
            f"This halfstep knows schema {newest}, but the database asks for {state.oldest_code} or newer; upgrade halfstep."
        )
    if state.version < newest:
        raise SchemaMismatch(f"The database has schema {state.version}, this halfstep needs {newest}; run `halfstep migrate`.")
    return state


def check_server(major: int) -> None:
    """Raises SchemaMismatch for a server that is too old."""
    if major < OLDEST_SERVER:
        raise SchemaMismatch(f"The server is PostgreSQL {major}; halfstep needs {OLDEST_SERVER} or newer.")


def pending(database: Database) -> list[str]:
    """Names of the migrations that are not applied yet, in order."""
    version = schema_state(database).version
    return [name for number, name, _ in migrations() if number > version]


def migrate(database: Database) -> list[str]:
    """Applies what is pending, in one transaction; returns the names. Another process's migration is waited for, and so is who
    has a table, some minutes and without standing in anybody's way. Raises LockNotGranted.
    """
    state = schema_state(database)
    check_server(state.server)
    if state.oldest_code > NEWEST:
        check_schema(database)
    if state.version >= NEWEST:
        return []
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _migrate_at_once(database)
        except LockNotGranted as error:
            if time.monotonic() > deadline:
                raise LockNotGranted(
                    f"{error} Somebody has used a table in one transaction for minutes; migrate when it is done."
                ) from error
            threading.Event().wait(random.uniform(0.2, 0.5))


def _migrate_at_once(database: Database) -> list[str]:
    """All or nothing. Raises LockNotGranted."""
    with database.transaction():
        database.script("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
        database.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        database.execute(f"SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}")
        return _apply(database)


def _apply(database: Database) -> list[str]:
    try:
        database.script(_BOOKS)
    except NotPermitted as error:
        raise NotPermitted(f"{error} `halfstep migrate` needs a role that may create a schema in this database.") from error
    version = schema_state(database).version
    todo = [found for found in migrations() if found[0] > version]
    for number, name, text in todo:
        database.script(text)
        parameters = {"version": number, "name": name, "oldest": _oldest_code(text)}
        database.execute(
            "INSERT INTO halfstep.migration (version, name, oldest_code) VALUES (%(version)s, %(name)s, %(oldest)s)", parameters
        )
    return [name for _, name, _ in todo]


def _oldest_code(text: str) -> int:
    stated = re.match(r"-- oldest code: (\d+)\n", text)
    assert stated is not None, "a migration begins with `-- oldest code: N`"
    return int(stated.group(1))
