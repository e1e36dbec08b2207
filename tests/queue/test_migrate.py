"""Migrate: forward only, safe when several start at once, and only code that is too old refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import pytest

from halfstep import enqueue
from halfstep.database import ConnectionSettings, Database
from halfstep.errors import DependentObjects, NotPermitted, SchemaMismatch
from halfstep.migrate import LOCK, NEWEST, check_schema, check_server, migrate, pending, schema_state
from halfstep.statements import migrations
from waiting import PATIENCE, is_within, wait_until

ALL = [name for _, name, _ in migrations()]


@pytest.fixture
def connect_empty(empty_database_url: str) -> Iterator[Callable[..., Database]]:
    """Makes connections to a database without halfstep's schema."""
    with ExitStack() as stack:
        yield lambda settings=None: stack.enter_context(closing(Database(empty_database_url, settings)))


@pytest.fixture
def empty(connect_empty: Callable[..., Database]) -> Database:
    return connect_empty()


def test_an_owner_who_is_no_superuser_migrates_and_enqueues(empty: Database) -> None:
    assert empty.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0]["rolsuper"] is False
    assert schema_state(empty).version == 0
    assert pending(empty) == ALL
    assert migrate(empty) == ALL
    assert (pending(empty), migrate(empty)) == ([], [])
    assert check_schema(empty).version == NEWEST
    assert enqueue(empty, "bash") == 1


def test_looking_at_what_is_pending_changes_nothing(empty: Database) -> None:
    pending(empty)
    assert empty.execute("SELECT FROM pg_namespace WHERE nspname = 'halfstep'") == []


def test_of_several_starting_at_once_one_migrates_and_the_others_find_it_done(
    connect_empty: Callable[..., Database], threads: ThreadPoolExecutor
) -> None:
    done = [task.result(PATIENCE) for task in [threads.submit(migrate, connect_empty()) for _ in range(5)]]
    assert sorted(done) == [[], [], [], [], ALL]


def test_waiting_for_another_migration_is_not_cut_short_by_a_timeout(
    connect_empty: Callable[..., Database], empty: Database, threads: ThreadPoolExecutor
) -> None:
    other = connect_empty()
    other.execute("BEGIN")
    other.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
    hasty = connect_empty(ConnectionSettings(statement_timeout=0.1, lock_timeout=0.1))
    migrating = threads.submit(migrate, hasty)
    waits = "SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND now() - query_start > '0.3 s'"
    wait_until(lambda: empty.execute(waits) or migrating.done(), what="a wait longer than the timeouts")
    other.execute("COMMIT")
    assert migrating.result(PATIENCE) == ALL


def test_a_migration_that_waits_for_a_table_holds_nobody_up_and_goes_on_when_it_is_free(
    connect_empty: Callable[..., Database], threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halfstep.migrate.migrations", lambda: [found for found in migrations() if found[0] < 5])
    migrate(connect_empty())
    monkeypatch.undo()
    reader = connect_empty()
    reader.execute("BEGIN")
    reader.execute("SELECT FROM halfstep.worker")
    migrating = threads.submit(migrate, connect_empty())
    other, longest = connect_empty(), 0.0
    for _ in range(30):
        began = time.monotonic()
        other.execute("UPDATE halfstep.lease SET counter = counter + 1")
        other.execute("SELECT FROM halfstep.worker")
        longest = max(longest, time.monotonic() - began)
        wait_until(lambda until=began + 0.05: time.monotonic() > until, what="the next renewal")  # type: ignore[misc]
    assert not migrating.done()
    assert is_within(1.0, longest)
    reader.execute("SELECT FROM halfstep.lease")  # not the victim of a deadlock
    reader.execute("COMMIT")
    assert migrating.result(PATIENCE) == [name for version, name, _ in migrations() if version >= 5]


def test_a_migration_that_fails_leaves_nothing_behind(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*migrations(), (NEWEST + 1, "broken", "-- oldest code: 1\nSELECT no_such_function();")]
    monkeypatch.setattr("halfstep.migrate.migrations", lambda: broken)
    with pytest.raises(SchemaMismatch):
        migrate(empty)
    assert empty.execute("SELECT FROM pg_namespace WHERE nspname = 'halfstep'") == []
    monkeypatch.undo()
    assert migrate(empty) == ALL


DEPENDENTS = {
    "a view that calls a function": (
        "CREATE VIEW theirs.mine AS SELECT halfstep.old() AS x",
        "view theirs.mine depends on function halfstep.old()",
    ),
    "a view on a table": (
        "CREATE VIEW theirs.mine AS SELECT x FROM halfstep.gone",
        "view theirs.mine depends on table halfstep.gone",
    ),
    "a default that calls a function": (
        "CREATE TABLE theirs.mine (x int DEFAULT halfstep.old())",
        "default value for column x of table theirs.mine depends on function halfstep.old()",
    ),
    "a function written in standard SQL": (
        "CREATE FUNCTION theirs.mine() RETURNS int BEGIN ATOMIC SELECT halfstep.old(); END",
        "function theirs.mine() depends on function halfstep.old()",
    ),
    "a foreign key": (
        "CREATE TABLE theirs.mine (x int REFERENCES halfstep.gone)",
        "constraint mine_x_fkey on table theirs.mine depends on table halfstep.gone",
    ),
    "several views": (
        "CREATE VIEW theirs.a AS SELECT halfstep.old() AS x; CREATE VIEW theirs.b AS SELECT * FROM theirs.a",
        "view theirs.a depends on function halfstep.old(); view theirs.b depends on view theirs.a",
    ),
}


@pytest.mark.parametrize("kind", DEPENDENTS)
def test_a_migration_that_somebodys_objects_stand_in_the_way_of_names_them_and_goes_on_without_them(
    empty: Database, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = "-- oldest code: 1\nCREATE FUNCTION halfstep.old() RETURNS int LANGUAGE sql AS 'SELECT 1';"
    made += "CREATE TABLE halfstep.gone (x int PRIMARY KEY);"
    drops = "-- oldest code: 1\nDROP FUNCTION halfstep.old(); DROP TABLE halfstep.gone;"
    future = [(NEWEST + 1, "makes", made), (NEWEST + 2, "drops", drops)]
    monkeypatch.setattr("halfstep.migrate.migrations", lambda: [*migrations(), future[0]])
    monkeypatch.setattr("halfstep.migrate.NEWEST", NEWEST + 2)
    migrate(empty)
    monkeypatch.setattr("halfstep.migrate.migrations", lambda: [*migrations(), *future])
    words, told = DEPENDENTS[kind]
    empty.execute("CREATE SCHEMA theirs")
    empty.script(words)
    with pytest.raises(DependentObjects) as refused:
        migrate(empty)
    assert str(refused.value) == (
        f"What is to be dropped is still needed: {told}. Drop what needs it, do this again, and make that anew."
    )
    assert pending(empty) == ["drops"]
    empty.script("DROP SCHEMA theirs CASCADE")
    assert migrate(empty) == ["drops"]


def test_an_upgrade_applies_only_what_is_new(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfstep.migrate.migrations", lambda: migrations()[:1])
    assert migrate(empty) == ALL[:1]
    monkeypatch.undo()
    assert pending(empty) == ALL[1:]
    with pytest.raises(SchemaMismatch, match=f"has schema 1, this halfstep needs {NEWEST}; run `halfstep migrate`"):
        check_schema(empty)
    assert migrate(empty) == ALL[1:]


def newer(database: Database, *, oldest_code: int) -> None:
    sql = "INSERT INTO halfstep.migration (version, name, oldest_code) VALUES (%(version)s, 'newer', %(oldest)s)"
    database.execute(sql, {"version": NEWEST + 1, "oldest": oldest_code})


def test_older_code_goes_on_with_a_newer_schema_that_allows_it(empty: Database) -> None:
    migrate(empty)
    newer(empty, oldest_code=NEWEST)
    assert check_schema(empty).version == NEWEST + 1
    assert (pending(empty), migrate(empty)) == ([], [])


def test_code_that_is_too_old_refuses(empty: Database) -> None:
    migrate(empty)
    newer(empty, oldest_code=NEWEST + 1)
    for refusing in (check_schema, migrate):
        with pytest.raises(
            SchemaMismatch, match=f"knows schema {NEWEST}, but the database asks for {NEWEST + 1} or newer; upgrade halfstep"
        ):
            refusing(empty)


def test_a_database_without_the_schema_says_to_migrate(empty: Database) -> None:
    with pytest.raises(SchemaMismatch, match="run `halfstep migrate`"):
        check_schema(empty)
    with pytest.raises(SchemaMismatch, match="run `halfstep migrate`"):
        empty.run("leases")
    with pytest.raises(SchemaMismatch, match="run `halfstep migrate`"):
        enqueue(empty, "bash")


def test_a_role_that_may_make_no_schema_is_told_so(server: Any) -> None:
    name = server.make_database(template="template0")
    guest = server.make_role()
    with closing(Database(server.url(name, guest))) as database, pytest.raises(NotPermitted, match="may create a schema"):
        migrate(database)
    server.drop(name)
    server.admin(f"DROP ROLE {guest[0]}")


def test_a_server_that_is_too_old_is_refused() -> None:
    check_server(14)
    with pytest.raises(SchemaMismatch, match="PostgreSQL 13; halfstep needs 14 or newer"):
        check_server(13)
