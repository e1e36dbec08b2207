"""The schema's versions: forward only, plain SQL, safe when several processes start at once.

Every migration states the oldest code that may use the schema after it (`-- oldest code: N`, N being the newest migration that
code knows). So older workers go on through an upgrade, and only code older than that refuses.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from halfstep.database import Database
from halfstep.errors import HalfstepError, LockNotGranted, NotFound, NotPermitted, SchemaMismatch
from halfstep.limits import OLDEST_SERVER
from halfstep.ownership import PINNED, check_owner, grantee, standing
from halfstep.statements import migrations

LOCK = 0x68616C66  # "half": one migration at a time, by a transaction-level advisory lock
LOCK_SECONDS = 0.15
"""Longest wait for a lock on a table. Whoever comes after us waits behind us, renewals too: so we let go, and ask again."""
ASK_SECONDS = 2.0
"""Longest wait for another migration before it is said who that is; then we ask again."""
PATIENCE = 240.0
"""So long we ask. A dump that is under way ends first."""
NEWEST = max(version for version, _, _ in migrations())
ENCODING = "UTF8"
_THERE = ("42P06", "23505")  # duplicate schema; the same while the other's transaction ends

Say = Callable[[str], None]

_BOOKS = """
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


def schema_state(database: Database, *, owner: str | None = None) -> SchemaState:
    """What the database has. owner: as for `migrate`.

    Raises DatabaseUnavailable, and ForeignSchema if nothing of the schema may be executed here.
    """
    if owner is None:
        return _state(database)
    with _acting(database, owner):
        return _state(database, owner)


def _state(database: Database, trusts: str | None = None) -> SchemaState:
    server = server_version(database)
    found = standing(database, trusts=trusts)
    if found is None or not found.books:
        return SchemaState(0, 0, server)
    if not found.trusted:
        raise NotPermitted(f"The schema halfstep belongs to role {found.owner}, of which {found.role} is no member.")
    row = database.execute(
        "SELECT coalesce(pg_catalog.max(version), 0) AS version, coalesce(pg_catalog.max(oldest_code), 0) AS oldest"
        " FROM halfstep.migration"
    )[0]
    return SchemaState(row["version"], row["oldest"], server)


def server_version(database: Database) -> int:
    """PostgreSQL's major version."""
    return int(database.execute("SELECT current_setting('server_version_num')::int / 10000 AS major")[0]["major"])


def check_encoding(database: Database) -> None:
    """Raises SchemaMismatch unless the database can hold every text that a task may have."""
    found = database.execute("SELECT current_setting('server_encoding') AS encoding, current_database() AS name")[0]
    if found["encoding"] != ENCODING:
        raise SchemaMismatch(
            f"The database {found['name']} has the encoding {found['encoding']}, which can't hold every text; halfstep needs "
            f"{ENCODING}. Make another one: CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0."
        )


def check_schema(database: Database, *, newest: int = NEWEST) -> SchemaState:
    """Raises SchemaMismatch unless this code, which knows migrations up to `newest`, may use the schema."""
    state = schema_state(database)
    check_server(state.server)
    _check_not_too_new(state, newest)
    if state.version < newest:
        raise SchemaMismatch(f"The database has schema {state.version}, this halfstep needs {newest}; run `halfstep migrate`.")
    return state


def _check_not_too_new(state: SchemaState, newest: int) -> None:
    if newest < state.oldest_code:
        raise SchemaMismatch(
            f"This halfstep knows schema {newest}, but the database asks for {state.oldest_code} or newer; upgrade halfstep."
        )


def check_server(major: int) -> None:
    """Raises SchemaMismatch for a server that is too old."""
    if major < OLDEST_SERVER:
        raise SchemaMismatch(f"The server is PostgreSQL {major}; halfstep needs {OLDEST_SERVER} or newer.")


def pending(database: Database, *, owner: str | None = None) -> list[str]:
    """Names of the migrations that are not applied yet, in order. owner: as for `migrate`. Raises what that would."""
    check_encoding(database)
    with _acting(database, owner):
        check_owner(database, trusts=owner)
        version = _state(database, owner).version
    return [name for number, name, _ in migrations() if number > version]


def migrate(database: Database, *, owner: str | None = None, say: Say | None = None) -> list[str]:
    """Applies what is pending, in one transaction; returns the names. Another process's migration is waited for, and so is who
    has a table, some minutes and without standing in anybody's way.

    owner: the role that owns the schema, or will; by default the current one. say: is told who is waited for, in a sentence.
    Raises LockNotGranted, SchemaMismatch, ForeignSchema (something there is somebody else's) and NotPermitted.
    """
    check_server(server_version(database))
    check_encoding(database)
    deadline, told = time.monotonic() + PATIENCE, ""
    while True:
        try:
            return _migrate_at_once(database, owner)
        except LockNotGranted as error:
            if time.monotonic() > deadline:
                raise LockNotGranted(f"{error} That was waited for {PATIENCE:g} s; migrate when it is over.") from error
            if say and str(error) != told:
                told = str(error)
                say(f"{told} Waiting for it.")
            threading.Event().wait(random.uniform(0.2, 0.5))


def _migrate_at_once(database: Database, owner: str | None) -> list[str]:
    """All or nothing. Raises LockNotGranted."""
    with _acting(database, owner, makes=True):
        check_owner(database, trusts=owner)
        if _is_current(database, owner):
            return []
        database.execute("SET LOCAL statement_timeout = 0")
        _take_lock(database)
        database.execute(f"SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}")
        return _apply(database, owner)


def _is_current(database: Database, owner: str | None) -> bool:
    """Nothing is to be applied: nobody has to be waited for. Raises SchemaMismatch for a schema that is too new."""
    state = _state(database, owner)
    _check_not_too_new(state, NEWEST)
    return state.version >= NEWEST


@contextmanager
def _acting(database: Database, owner: str | None, *, makes: bool = False) -> Iterator[None]:
    """A transaction, as that role if one is named. makes: its schema, if there is none. Raises NotPermitted, NotFound."""
    with database.transaction():
        # From here on nothing that stands in somebody's way is found by a name without a schema.
        database.script(f"SET LOCAL search_path = {PINNED}")
        if owner is not None:
            if not database.run("role_exists", role=owner):
                raise NotFound(f"There is no database role {owner}; make it first: CREATE ROLE {grantee(owner)};")
            if makes and standing(database, trusts=owner) is None:
                _make_schema(database, f"AUTHORIZATION {grantee(owner)}")
            database.script(f"SET LOCAL ROLE {grantee(owner)}")
        yield


def _make_schema(database: Database, words: str = "") -> None:
    try:
        database.script(f"CREATE SCHEMA halfstep {words}")
    except NotPermitted as error:
        raise NotPermitted(f"{error} `halfstep migrate` needs a role that may create a schema in this database.") from error
    except HalfstepError as error:
        if getattr(error.__cause__, "pgcode", None) not in _THERE:
            raise
        # Not IF NOT EXISTS: whoever was faster is looked at before anything of theirs is used.
        raise LockNotGranted("Somebody made a schema halfstep at the same moment.") from error


def _take_lock(database: Database) -> None:
    """Raises LockNotGranted, with the name of who holds it."""
    database.execute(f"SET LOCAL lock_timeout = {int(ASK_SECONDS * 1000)}; SAVEPOINT asking")
    try:
        database.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
    except LockNotGranted as error:
        database.execute("ROLLBACK TO SAVEPOINT asking")
        raise LockNotGranted(_holder(database)) from error


def _holder(database: Database) -> str:
    for row in database.run("migration_lock", lock=LOCK):
        where = f" from {row['address']}" if row["address"] else ""
        what = f" ({row['program']})" if row["program"] else ""
        return (
            f"Role {row['role']}{where}{what}, process {row['pid']} of the server, holds halfstep's lock of migrations; "
            f"if it does not migrate, end it with SELECT pg_terminate_backend({row['pid']})."
        )
    return "Somebody held halfstep's lock of migrations."


def _apply(database: Database, owner: str | None) -> list[str]:
    if standing(database, trusts=owner) is None:
        _make_schema(database)
    check_owner(database, migrates=True, trusts=owner)
    database.script(_BOOKS)
    version = _state(database, owner).version
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
