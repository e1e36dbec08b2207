"""Migrate and the owners: what somebody else has made under our name is never executed, and never adopted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from halfstep import enqueue
from halfstep.database import ConnectionSettings, Database, parse_url
from halfstep.errors import ForeignSchema, HalfstepError, LockNotGranted, NotFound, NotPermitted, SchemaMismatch
from halfstep.migrate import LOCK, NEWEST, check_schema, migrate, pending, schema_state
from halfstep.ownership import TrustedDatabase, foreign_objects
from halfstep.statements import migrations
from waiting import PATIENCE, wait_until

ALL = [name for _, name, _ in migrations()]
TRAP = """
CREATE FUNCTION {schema}.trap() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN INSERT INTO trap.caught VALUES (current_user, session_user); RETURN 1; END $$;
GRANT EXECUTE ON FUNCTION {schema}.trap() TO PUBLIC;
"""


@dataclass
class Ground:
    """A database without our schema, and those who come to it. Who runs a stranger's function leaves a row in trap.caught."""

    server: Any
    name: str
    roles: list[tuple[str, str]]
    stack: ExitStack

    @property
    def stranger(self) -> tuple[str, str]:
        return self.roles[0]

    @property
    def admin_url(self) -> str:
        address = parse_url(self.server.admin_url).set(drivername="postgresql", database=self.name)
        return address.render_as_string(hide_password=False)

    def as_admin(self) -> Database:
        """The superuser."""
        return self.stack.enter_context(closing(Database(self.admin_url)))

    def as_owner(self) -> Database:
        """The role that owns the database; no superuser."""
        return self.stack.enter_context(closing(Database(self.server.url(self.name))))

    def as_stranger(self) -> Database:
        """May make schemas here, and nothing else."""
        return self.stack.enter_context(closing(Database(self.server.url(self.name, self.stranger))))

    def make(self, *, options: str = "") -> tuple[str, str]:
        """One more role; goes with the ground."""
        self.roles.append(self.server.make_role(options))
        return self.roles[-1]

    def caught(self) -> list[Any]:
        return list(self.as_admin().execute("SELECT * FROM trap.caught"))


@pytest.fixture
def ground(server: Any) -> Iterator[Ground]:
    name = server.make_database(template="template0")
    with ExitStack() as stack:
        roles = [server.make_role()]
        stack.callback(lambda: [server.admin(f"DROP ROLE {role}") for role, _ in roles])
        stack.callback(server.drop, name)
        found = Ground(server, name, roles, stack)
        found.as_admin().script(
            f"GRANT CREATE ON DATABASE {name} TO {roles[0][0]}; CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC;"
            "CREATE TABLE trap.caught (role text, session text); GRANT INSERT, SELECT ON trap.caught TO PUBLIC"
        )
        yield found


OPEN = "CREATE SCHEMA halfstep; GRANT ALL ON SCHEMA halfstep TO PUBLIC;"
SET_TRAP = OPEN + TRAP.format(schema="halfstep")
COLUMNS = "version int PRIMARY KEY, name text, oldest_code int, applied_at timestamptz DEFAULT now()"
BOOKS = f"CREATE TABLE halfstep.migration ({COLUMNS}); GRANT ALL ON halfstep.migration TO PUBLIC;"
HOSTILE = {
    "an empty schema": "CREATE SCHEMA halfstep;",
    "an empty schema that all may use": OPEN,
    "a function of our name": f"""{SET_TRAP}
        CREATE FUNCTION halfstep.add_partition(parent text, column_name text, day date) RETURNS boolean
        LANGUAGE sql AS 'SELECT halfstep.trap() = 1';""",
    "a view for the table of migrations": f"""{SET_TRAP}
        CREATE VIEW halfstep.migration AS SELECT halfstep.trap() AS version, 'x'::text AS name, 1 AS oldest_code;
        GRANT ALL ON halfstep.migration TO PUBLIC;""",
    "a table of migrations that says all is done": f"{OPEN} {BOOKS} INSERT INTO halfstep.migration VALUES ({NEWEST}, 'x', 1);",
    "a table of migrations that asks for newer code": f"{OPEN} {BOOKS} INSERT INTO halfstep.migration VALUES (999, 'x', 999);",
    "a table of migrations with a trigger": f"""{OPEN} {BOOKS}
        CREATE FUNCTION halfstep.fire() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO trap.caught VALUES (current_user, session_user); RETURN NEW; END $$;
        CREATE TRIGGER fire BEFORE INSERT ON halfstep.migration FOR EACH ROW EXECUTE FUNCTION halfstep.fire();""",
    "a table of migrations with a rule": f"""{SET_TRAP} {BOOKS}
        CREATE RULE r AS ON INSERT TO halfstep.migration DO ALSO SELECT halfstep.trap();""",
    "a table of migrations with a default": f"""{SET_TRAP} {BOOKS}
        ALTER TABLE halfstep.migration ADD more int, ALTER more SET DEFAULT halfstep.trap();""",
    "a table of migrations with a policy": f"""{SET_TRAP} {BOOKS}
        INSERT INTO halfstep.migration VALUES (1, 'x', 1); ALTER TABLE halfstep.migration ENABLE ROW LEVEL SECURITY;
        CREATE POLICY p ON halfstep.migration USING (halfstep.trap() = 1);""",
    "a table of migrations of a type with a cast": f"""{SET_TRAP}
        CREATE TYPE halfstep.number AS (n int);
        CREATE FUNCTION halfstep.as_int(halfstep.number) RETURNS int LANGUAGE sql AS 'SELECT halfstep.trap()';
        CREATE CAST (halfstep.number AS integer) WITH FUNCTION halfstep.as_int(halfstep.number) AS IMPLICIT;
        CREATE TABLE halfstep.migration (version halfstep.number, name text, oldest_code halfstep.number, applied_at timestamptz);
        INSERT INTO halfstep.migration VALUES (ROW(1), 'x', ROW(1), now()); GRANT ALL ON halfstep.migration TO PUBLIC;""",
    "a materialized view": f"""{OPEN}
        CREATE MATERIALIZED VIEW halfstep.migration AS SELECT 1 AS version, 1 AS oldest_code;
        GRANT ALL ON halfstep.migration TO PUBLIC;""",
    "one of our tables, with a default": f"""{SET_TRAP} {BOOKS}
        CREATE TABLE halfstep.task (id bigint PRIMARY KEY DEFAULT halfstep.trap()); GRANT ALL ON halfstep.task TO PUBLIC;""",
}


@pytest.mark.parametrize("who", ["as_admin", "as_owner"])
@pytest.mark.parametrize("state", HOSTILE)
def test_a_strangers_schema_is_refused_and_nothing_in_it_is_executed(ground: Ground, state: str, who: str) -> None:
    ground.as_stranger().script(HOSTILE[state])
    before = ground.as_admin().execute("SELECT count(*) AS n FROM pg_depend")[0]["n"]
    ours: Database = getattr(ground, who)()
    with pytest.raises(ForeignSchema, match=ground.stranger[0]):
        migrate(ours)
    with pytest.raises(ForeignSchema, match=ground.stranger[0]):
        pending(ours)
    with pytest.raises(HalfstepError):
        check_schema(ours)
    assert ground.caught() == []
    assert ground.as_admin().execute("SELECT count(*) AS n FROM pg_depend")[0]["n"] == before


FOREIGN = {
    "a table": "CREATE TABLE halfstep.mine (x int)",
    "a view": "CREATE VIEW halfstep.mine AS SELECT 1 AS x",
    "a materialized view": "CREATE MATERIALIZED VIEW halfstep.mine AS SELECT 1 AS x",
    "a sequence": "CREATE SEQUENCE halfstep.mine",
    "a function": "CREATE FUNCTION halfstep.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a function beside one of ours": "CREATE FUNCTION halfstep.enqueue(operator varchar) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a procedure": "CREATE PROCEDURE halfstep.mine() LANGUAGE sql AS 'SELECT 1'",
    "an aggregate": "CREATE AGGREGATE halfstep.mine(int) (SFUNC = int4pl, STYPE = int)",
    "a domain": "CREATE DOMAIN halfstep.mine AS int",
    "an enumeration": "CREATE TYPE halfstep.mine AS ENUM ('a')",
    "a composite type": "CREATE TYPE halfstep.mine AS (x int)",
    "an operator": "CREATE OPERATOR halfstep.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)",
    "a collation": "CREATE COLLATION halfstep.mine FROM \"C\"",
    "a text search configuration": "CREATE TEXT SEARCH CONFIGURATION halfstep.mine (COPY = simple)",
    "a text search dictionary": "CREATE TEXT SEARCH DICTIONARY halfstep.mine (TEMPLATE = simple)",
    "a conversion": "CREATE CONVERSION halfstep.mine FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("when", ["before the first migration", "after the last one"])
def test_an_object_of_somebody_else_in_our_schema_is_refused(ground: Ground, kind: str, when: str) -> None:
    ours = ground.as_owner()
    if when.startswith("before"):
        ours.execute("CREATE SCHEMA halfstep")
    else:
        migrate(ours)
    ours.execute(f"GRANT CREATE, USAGE ON SCHEMA halfstep TO {ground.stranger[0]}")
    ground.as_stranger().script(FOREIGN[kind])
    ours.execute(f"REVOKE CREATE, USAGE ON SCHEMA halfstep FROM {ground.stranger[0]}")
    with pytest.raises(ForeignSchema, match=f"halfstep\\..* of {ground.stranger[0]}|mine of {ground.stranger[0]}"):
        migrate(ours)
    if when.startswith("before"):
        assert ours.execute("SELECT to_regclass('halfstep.task') AS there") == [{"there": None}]


def test_an_operator_family_or_class_or_statistics_of_somebody_else_is_found_too(ground: Ground) -> None:
    ours, admin = ground.as_owner(), ground.as_admin()
    migrate(ours)
    admin.script(
        "CREATE OPERATOR FAMILY halfstep.mine USING btree; CREATE STATISTICS halfstep.kept ON queue, state FROM halfstep.task"
    )
    assert {row["object"] for row in foreign_objects(ours)} == {
        "operator family halfstep.mine for access method btree", "statistics object halfstep.kept"
    }  # fmt: skip
    with pytest.raises(ForeignSchema, match="operator family"):
        migrate(ours)


@pytest.mark.parametrize("to", ["PUBLIC", "stranger"])
def test_a_schema_in_which_others_may_make_objects_is_refused(ground: Ground, to: str) -> None:
    ours = ground.as_owner()
    role = to if to == "PUBLIC" else ground.stranger[0]
    ours.script(f"CREATE SCHEMA halfstep; GRANT CREATE ON SCHEMA halfstep TO {role}")
    with pytest.raises(ForeignSchema, match=r"REVOKE CREATE ON SCHEMA halfstep FROM .*;") as refused:
        migrate(ours)
    ours.script(str(refused.value).partition("Take that back: ")[2])
    assert migrate(ours) == ALL


CALLS = {
    "a trigger": (
        "CREATE FUNCTION mine.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
        "CREATE TRIGGER fire BEFORE INSERT ON halfstep.task FOR EACH ROW EXECUTE FUNCTION mine.fire()",
        "",
    ),
    "a default": ("", "ALTER TABLE halfstep.queue ALTER COLUMN weight SET DEFAULT mine.trap()"),
    "a check": ("", "ALTER TABLE halfstep.queue ADD CHECK (mine.trap() > 0)"),
    "a view": ("", "CREATE VIEW halfstep.more AS SELECT mine.trap() AS x"),
}


@pytest.mark.parametrize("kind", CALLS)
def test_what_calls_a_strangers_function_is_refused(ground: Ground, kind: str) -> None:
    """TRIGGER on a table is enough to have one's own function run by everybody who writes there."""
    ours = ground.as_owner()
    migrate(ours)
    ours.script(f"GRANT TRIGGER ON halfstep.task TO {ground.stranger[0]}; GRANT USAGE ON SCHEMA halfstep TO {ground.stranger[0]}")
    theirs, own = CALLS[kind]
    ground.as_stranger().script(
        f"CREATE SCHEMA mine; GRANT USAGE ON SCHEMA mine TO PUBLIC; {TRAP.format(schema='mine')} {theirs}"
    )
    ours.script(own or "SELECT 1")
    ours.execute("DELETE FROM halfstep.migration WHERE version > 1")
    caught = len(ground.caught())
    with pytest.raises(ForeignSchema, match=f"of {ground.stranger[0]}"):
        migrate(ours)
    assert len(ground.caught()) == caught


def test_what_a_superuser_has_added_to_our_tables_is_trusted(ground: Ground) -> None:
    ours = ground.as_owner()
    migrate(ours)
    ground.as_admin().script(
        "CREATE FUNCTION trap.pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
        "CREATE TRIGGER pass BEFORE INSERT ON halfstep.task FOR EACH ROW EXECUTE FUNCTION trap.pass()"
    )
    assert migrate(ours) == []


def test_a_superuser_makes_nothing_in_a_schema_that_belongs_to_the_databases_owner_unless_told_for_whom(ground: Ground) -> None:
    owner, admin = ground.server.owner[0], ground.as_admin()
    ground.as_owner().execute("CREATE SCHEMA halfstep")
    with pytest.raises(ForeignSchema, match=f"halfstep migrate --owner {owner}"):
        migrate(admin)
    assert migrate(admin, owner=owner) == ALL
    assert foreign_objects(admin) == []
    owners = admin.execute(
        "SELECT DISTINCT relowner::regrole::text AS owner FROM pg_class WHERE relnamespace = 'halfstep'::regnamespace"
    )
    assert owners == [{"owner": owner}]
    assert enqueue(ground.as_owner(), "bash") == 1
    assert migrate(admin) == []
    assert check_schema(admin).version == NEWEST


def test_a_superuser_makes_the_schema_for_a_role_that_may_make_none(ground: Ground) -> None:
    role = ground.make()
    assert migrate(ground.as_admin(), owner=role[0]) == ALL
    theirs = ground.stack.enter_context(closing(Database(ground.server.url(ground.name, role))))
    assert enqueue(theirs, "bash") == 1
    assert migrate(theirs) == []


def test_an_administrator_who_is_no_superuser_migrates_for_a_role_that_was_granted_to_them(ground: Ground) -> None:
    """As on a managed server: the administrator is a member, and owns nothing of it."""
    owner, admin = ground.make(), ground.make(options="CREATEROLE")
    ground.as_admin().script(f"GRANT {owner[0]} TO {admin[0]}; GRANT CREATE ON DATABASE {ground.name} TO {admin[0]}, {owner[0]}")
    theirs = ground.stack.enter_context(closing(Database(ground.server.url(ground.name, admin))))
    ground.stack.enter_context(closing(Database(ground.server.url(ground.name, owner)))).execute("CREATE SCHEMA halfstep")
    with pytest.raises(ForeignSchema, match=f"--owner {owner[0]}"):
        migrate(theirs)
    assert migrate(theirs, owner=owner[0]) == ALL
    assert migrate(theirs) == [], "nothing is to be made"
    assert check_schema(theirs).version == NEWEST
    ground.as_admin().script(f"REVOKE CREATE ON DATABASE {ground.name} FROM {admin[0]}, {owner[0]}")


def test_nobody_migrates_for_a_role_that_is_not_theirs_or_not_there(ground: Ground) -> None:
    with pytest.raises(NotPermitted):
        migrate(ground.as_owner(), owner=ground.stranger[0])
    with pytest.raises(NotFound, match="no database role nobody here"):
        migrate(ground.as_owner(), owner="nobody here")
    assert ground.as_admin().execute("SELECT FROM pg_namespace WHERE nspname = 'halfstep'") == []


MIGRATORS = {
    "a superuser, for a role that logs in": ("SUPERUSER", "LOGIN", ""),
    "a superuser, for a group": ("SUPERUSER", "NOLOGIN", ""),
    "a superuser who is the owner by a setting": ("SUPERUSER", "NOLOGIN", "ALTER ROLE {me} SET role = {owner}"),
    "a member, for a group": ("INHERIT", "NOLOGIN", "GRANT {owner} TO {me}"),
    "a member who does not inherit, for a group": ("NOINHERIT", "NOLOGIN", "GRANT {owner} TO {me}"),
    "an administrator who may make roles, for a group": ("CREATEROLE", "NOLOGIN", "GRANT {owner} TO {me}"),
    "the database's owner who does not inherit, for a group": (
        "NOINHERIT",
        "NOLOGIN",
        "GRANT {owner} TO {me}; ALTER DATABASE {database} OWNER TO {me}",
    ),
    "the database's owner who inherits, for a role that logs in": (
        "INHERIT",
        "LOGIN",
        "GRANT {owner} TO {me}; ALTER DATABASE {database} OWNER TO {me}",
    ),
}


@pytest.mark.parametrize("first", ["all at once", "an upgrade"])
@pytest.mark.parametrize("who", MIGRATORS)
def test_migrating_for_a_named_role_works_as_often_as_it_is_done(
    ground: Ground, who: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, login, more = MIGRATORS[who]
    owner, me, admin = ground.make(), ground.make(), ground.as_admin()
    facts = {"owner": owner[0], "me": me[0], "database": ground.name}
    admin.execute(f"ALTER ROLE {owner[0]} {login}")
    admin.execute(f"ALTER ROLE {me[0]} {options}")
    admin.script(f"GRANT CREATE ON DATABASE {ground.name} TO {me[0]}, {owner[0]}; {more.format(**facts)}")

    def again() -> Database:
        return ground.stack.enter_context(closing(Database(ground.server.url(ground.name, me))))

    assert pending(again(), owner=owner[0]) == ALL
    if first == "an upgrade":
        monkeypatch.setattr("halfstep.migrate.migrations", lambda: migrations()[:2])
        assert migrate(again(), owner=owner[0]) == ALL[:2]
        monkeypatch.undo()
        assert schema_state(again(), owner=owner[0]).version == 2
        assert pending(again(), owner=owner[0]) == ALL[2:]
    assert migrate(again(), owner=owner[0]) == (ALL[2:] if first == "an upgrade" else ALL)
    assert migrate(again(), owner=owner[0]) == []
    assert pending(again(), owner=owner[0]) == []
    assert schema_state(again(), owner=owner[0]).version == NEWEST
    assert foreign_objects(admin) == []
    admin.execute(f"ALTER DATABASE {ground.name} OWNER TO {ground.server.owner[0]}")


@pytest.mark.parametrize("words", [("migrate", "--owner"), ("migrate", "--dry-run", "--owner")], ids=" ".join)
def test_the_command_migrates_for_a_named_role_as_often_as_it_is_called(
    ground: Ground, words: tuple[str, ...], tmp_path: Path
) -> None:
    owner = ground.make()
    for _ in range(2):
        call = as_superuser(ground, tmp_path, *words, owner[0])
        said = subprocess.run(**call, capture_output=True, timeout=PATIENCE, check=False)
        assert said.returncode == 0, said.stderr
    expected = NEWEST if "--dry-run" not in words else 0
    assert schema_state(ground.as_admin(), owner=owner[0]).version == expected


def test_a_named_role_is_trusted_and_no_other_and_what_others_own_is_still_refused(ground: Ground) -> None:
    ground.as_stranger().script(SET_TRAP)
    other, admin = ground.make(), ground.as_admin()
    for refused in (migrate, pending, schema_state):
        with pytest.raises(ForeignSchema, match=ground.stranger[0]):
            refused(admin, owner=other[0])
    admin.script("CREATE VIEW halfstep.mine AS SELECT 1 AS x")
    with pytest.raises(ForeignSchema, match=r"halfstep\.mine of"):
        migrate(admin, owner=ground.stranger[0])
    assert ground.caught() == []


STANDINGS = {
    "a superuser": ("SUPERUSER", "", True),
    "who is a superuser by SET ROLE": ("NOINHERIT", "GRANT {superuser} TO {me}; ALTER ROLE {me} SET role = {superuser}", True),
    "who may become a superuser": ("NOINHERIT", "GRANT {superuser} TO {me}", True),
    "who inherits from a superuser": ("INHERIT", "GRANT {superuser} TO {me}", True),
    "a superuser who is a guest by SET ROLE": ("SUPERUSER", "ALTER ROLE {me} SET role = {guest}", True),
    "a superuser who is the stranger by SET ROLE": ("SUPERUSER", "ALTER ROLE {me} SET role = {stranger}", True),
    "who may become a superuser and is a guest by SET ROLE": (
        "NOINHERIT",
        "GRANT {superuser}, {guest} TO {me}; ALTER ROLE {me} SET role = {guest}",
        True,
    ),
    "who may become the database's owner": ("NOINHERIT", "GRANT {chief} TO {me}", True),
    "who is the database's owner by SET ROLE": ("NOINHERIT", "GRANT {chief} TO {me}; ALTER ROLE {me} SET role = {chief}", True),
    "a superuser who was granted the stranger's rights": ("SUPERUSER", "GRANT {stranger} TO {me}", True),
    "who has the stranger's rights": ("INHERIT", "GRANT {stranger} TO {me}", False),
    "who has the stranger's rights and may become a superuser": ("INHERIT", "GRANT {stranger}, {superuser} TO {me}", False),
    "who is the stranger by SET ROLE": ("NOINHERIT", "GRANT {stranger} TO {me}; ALTER ROLE {me} SET role = {stranger}", False),
    "the database's owner who is the stranger by SET ROLE": (
        "NOINHERIT",
        "GRANT {chief}, {stranger} TO {me}; ALTER ROLE {me} SET role = {stranger}",
        False,
    ),
}


@pytest.mark.parametrize("who", STANDINGS)
def test_whoever_can_become_a_superuser_or_the_databases_owner_trusts_a_stranger_only_by_a_grant(
    ground: Ground, who: str
) -> None:
    options, more, refused = STANDINGS[who]
    me, guest, superuser, admin = ground.make(), ground.make(), ground.make(), ground.as_admin()
    migrate(ground.as_stranger())
    facts = {"me": me[0], "guest": guest[0], "superuser": superuser[0], "stranger": ground.stranger[0]}
    admin.execute(f"ALTER ROLE {me[0]} {options}")
    admin.execute(f"ALTER ROLE {superuser[0]} SUPERUSER")
    admin.script(more.format(chief=ground.server.owner[0], **facts) or "SELECT 1")
    theirs = ground.stack.enter_context(closing(TrustedDatabase(ground.server.url(ground.name, me))))
    if refused:
        for look in (check_schema, migrate, lambda database: database.execute("SELECT")):
            with pytest.raises(ForeignSchema, match=f"belongs to role {ground.stranger[0]}"):
                look(theirs)
    else:
        assert check_schema(theirs).version == NEWEST
        assert migrate(theirs) == []


def test_a_stranger_who_makes_the_schema_at_the_same_moment_is_found_out(ground: Ground, threads: Any) -> None:
    """Between our look and our CREATE SCHEMA, and not yet committed."""
    theirs, ours = ground.as_stranger(), ground.as_owner()
    theirs.execute("BEGIN")
    theirs.execute("CREATE SCHEMA halfstep")
    migrating = threads.submit(migrate, ours)
    waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    watcher = ground.as_admin()
    wait_until(lambda: watcher.execute(waits) or migrating.done(), what="our CREATE SCHEMA to wait for theirs")
    theirs.execute("COMMIT")
    with pytest.raises(ForeignSchema, match=ground.stranger[0]):
        migrating.result(PATIENCE)


PUBLIC = {
    "a function of the same name": "CREATE FUNCTION public.max(int) RETURNS int LANGUAGE sql AS 'SELECT public.trap()'",
    "a better match": "CREATE FUNCTION public.jsonb_array_length(text) RETURNS int LANGUAGE sql AS 'SELECT public.trap()'",
    "a type": "CREATE DOMAIN public.bigint AS int CHECK (public.trap() = 1)",
    "an operator": "CREATE FUNCTION public.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT public.trap() = 1';"
    "CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.eq)",
    "a table": "CREATE TABLE public.pg_roles (rolname text)",
}


@pytest.mark.parametrize("kind", PUBLIC)
def test_what_a_stranger_makes_in_public_stands_in_for_nothing(ground: Ground, kind: str) -> None:
    admin = ground.as_admin()
    admin.execute(f"GRANT CREATE ON SCHEMA public TO {ground.stranger[0]}")
    admin.execute(f"ALTER DATABASE {ground.name} SET search_path = public, pg_catalog")
    ground.as_stranger().script(f"{TRAP.format(schema='public')} {PUBLIC[kind]}")
    ours = ground.as_owner()
    assert migrate(ours) == ALL
    assert enqueue(ours, "bash", {"command": "true"}, unique_key="k") == 1
    assert check_schema(ground.as_admin()).version == NEWEST
    assert ground.caught() == []


def test_every_function_that_runs_as_the_owner_pins_its_search_path_is_the_owners_and_not_everybodys(ground: Ground) -> None:
    ours = ground.as_owner()
    migrate(ours)
    found = ours.execute(
        "SELECT p.oid::regprocedure::text AS name, p.proconfig AS settings, p.proowner = n.nspowner AS owned,"
        " EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0) AS everybody"
        " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'halfstep' AND p.prosecdef"
    )
    assert len(found) >= 5
    for row in found:
        assert "search_path=pg_catalog, pg_temp" in (row["settings"] or []), row["name"]
        assert (row["owned"], row["everybody"]) == (True, False), row["name"]


def test_no_function_of_ours_is_everybodys(ground: Ground) -> None:
    ours = ground.as_owner()
    migrate(ours)
    everybody = (
        "SELECT p.oid::regprocedure::text AS name FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
        " WHERE p.pronamespace = 'halfstep'::regnamespace AND a.grantee = 0"
    )
    assert ours.execute(everybody) == []


@pytest.mark.parametrize("named", [True, False], ids=["who says what it is", "who says nothing"])
def test_whoever_holds_the_lock_of_migrations_is_named_and_not_waited_for_without_end(
    ground: Ground, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ConnectionSettings("a report" if named else "")
    theirs = ground.stack.enter_context(closing(Database(ground.server.url(ground.name, ground.stranger), settings)))
    theirs.execute(f"SELECT pg_advisory_lock({LOCK})")
    pid = theirs.execute("SELECT pg_backend_pid() AS pid")[0]["pid"]
    monkeypatch.setattr("halfstep.migrate.PATIENCE", 0.5)
    monkeypatch.setattr("halfstep.migrate.ASK_SECONDS", 0.3)
    said: list[str] = []
    with pytest.raises(LockNotGranted, match=rf"Role {ground.stranger[0]}.*process {pid} .*pg_terminate_backend\({pid}\)"):
        migrate(ground.as_owner(), say=said.append)
    assert len(said) == 1, "once, not at every look"
    assert f"Role {ground.stranger[0]}{' (a report)' if named else ''}, process {pid}" in said[0]
    theirs.execute(f"SELECT pg_advisory_unlock({LOCK})")
    assert migrate(ground.as_owner()) == ALL


@pytest.mark.parametrize("ask", ["PGCLIENTENCODING", "the role's setting", "the database's setting"])
def test_our_connections_speak_utf_8_whatever_is_set(ground: Ground, ask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if ask == "PGCLIENTENCODING":
        monkeypatch.setenv(ask, "LATIN1")
    else:
        whose = f"ROLE {ground.stranger[0]}" if "role" in ask else f"DATABASE {ground.name}"
        ground.as_admin().execute(f"ALTER {whose} SET client_encoding = 'LATIN1'")
    theirs = ground.as_stranger()
    assert theirs.execute("SHOW client_encoding") == [{"client_encoding": "UTF8"}]
    assert theirs.execute("SELECT %(text)s AS text", {"text": "5 €"}) == [{"text": "5 €"}]


COMMANDS = {
    "tasks": ("tasks",),
    "show": ("show", "1"),
    "logs": ("logs", "1"),
    "queues": ("queues",),
    "workers": ("workers",),
    "pods": ("pods",),
    "doctor": ("doctor",),
    "migrate": ("migrate",),
    "prune": ("prune",),
    "pause": ("pause", "default"),
    "retry": ("retry", "1"),
    "cancel": ("cancel", "1"),
    "queue set": ("queue", "set", "mine"),
    "enqueue": ("enqueue", "bash", '{"command": "true"}'),
    "grant": ("grant", "producer", "postgres", "--queue", "q"),
    "renew-id": ("renew-id", "--yes"),
    "uninstall": ("uninstall", "--drop-schema", "--yes"),
    "drain": ("drain", "somebody"),
    "bench": ("bench", "latency", "--tasks", "1"),
    "worker": ("worker", "--no-notify"),
    "exporter": ("exporter",),
    "up": ("up", "--exit-when-idle"),
}


def set_traps(theirs: Database) -> None:
    """The stranger has migrated, which is their right, and then redefines what others call, read and write."""
    theirs.script(TRAP.format(schema="halfstep"))
    theirs.script(
        """CREATE FUNCTION halfstep.fire() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM halfstep.trap(); RETURN NEW; END $$;
        CREATE OR REPLACE FUNCTION halfstep.enqueue_many(tasks jsonb) RETURNS bigint[]
        LANGUAGE sql AS 'SELECT ARRAY[halfstep.trap()::bigint]'; GRANT ALL ON SCHEMA halfstep TO PUBLIC"""
    )
    for table in ("worker", "queue", "task", "lease", "installation"):
        theirs.script(
            f"""ALTER TABLE halfstep.{table} RENAME TO {table}_;
            CREATE TRIGGER fire BEFORE INSERT OR UPDATE OR DELETE ON halfstep.{table}_
            FOR EACH STATEMENT EXECUTE FUNCTION halfstep.fire();
            CREATE VIEW halfstep.{table} AS SELECT * FROM halfstep.{table}_ WHERE halfstep.trap() = 1;
            GRANT ALL ON halfstep.{table} TO PUBLIC"""
        )


@pytest.fixture
def trapped(ground: Ground) -> Ground:
    """With a schema of the stranger's that is full of traps."""
    theirs = ground.as_stranger()
    migrate(theirs)
    set_traps(theirs)
    return ground


def as_superuser(ground: Ground, folder: Path, *words: str) -> dict[str, Any]:
    """How a real command is started."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HALFSTEP_")}
    own = {"HALFSTEP_DATABASE_URL": ground.admin_url, "XDG_DATA_HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    return {"args": [sys.executable, "-P", "-m", "halfstep_cli.main", *words], "env": kept | own, "text": True}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_of_a_superuser_runs_what_a_stranger_has_put_into_a_schema_of_ours(
    trapped: Ground, command: str, tmp_path: Path
) -> None:
    call = as_superuser(trapped, tmp_path, *COMMANDS[command])
    said = subprocess.run(**call, capture_output=True, timeout=PATIENCE, check=False)
    assert said.returncode == (1 if command == "doctor" else 4), said.stderr
    assert f"The schema halfstep belongs to role {trapped.stranger[0]}" in said.stdout + said.stderr
    assert trapped.caught() == []


def test_a_superusers_scaler_waits_for_another_schema_and_runs_nothing_of_this_one(trapped: Ground, tmp_path: Path) -> None:
    call = as_superuser(trapped, tmp_path, "scaler", "--insecure", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
    with subprocess.Popen(**call, stderr=subprocess.PIPE) as scaler:
        assert scaler.stderr is not None
        said = next((line for line in scaler.stderr if "belongs to role" in line), "")
        scaler.terminate()
        scaler.communicate(timeout=PATIENCE)
    assert f"The schema halfstep belongs to role {trapped.stranger[0]}" in said
    assert trapped.caught() == []


def hand_over(ground: Ground) -> None:
    """In the place of the schema that was there, if any, stands one of the stranger's, at once."""
    ground.as_admin().script(f"DROP SCHEMA IF EXISTS halfstep CASCADE; CREATE SCHEMA halfstep AUTHORIZATION {ground.stranger[0]}")
    migrate(ground.as_stranger())
    set_traps(ground.as_stranger())


def seen_none(ours: Database, ground: Ground) -> None:
    """Before there is a schema."""
    with pytest.raises(SchemaMismatch, match="run `halfstep migrate`"):
        ours.run("leases")


def lost(ours: Database, ground: Ground) -> None:
    """It was in use, and went."""
    migrate(ground.as_owner())
    ours.run("leases")
    ground.as_admin().execute("DROP SCHEMA halfstep CASCADE")
    with pytest.raises(SchemaMismatch, match="run `halfstep migrate`"):
        ours.run("leases")


def in_a_transaction(ours: Database, ground: Ground) -> None:
    """It went in the middle of a transaction of ours."""
    migrate(ground.as_owner())

    def drop_and_ask() -> None:
        with ours.transaction():
            ground.as_admin().execute("DROP SCHEMA halfstep CASCADE")
            ours.run("leases")

    with pytest.raises(SchemaMismatch):
        drop_and_ask()


def in_a_script(ours: Database, ground: Ground) -> None:
    """A script of several statements was the first to miss it."""
    migrate(ground.as_owner())
    ours.run("leases")
    ground.as_admin().execute("DROP SCHEMA halfstep CASCADE")
    with pytest.raises(SchemaMismatch):
        ours.script("SELECT FROM halfstep.lease; SELECT FROM halfstep.task")


def table_gone(ours: Database, ground: Ground) -> None:
    """Only a table is missing."""
    migrate(ground.as_owner())
    ours.run("leases")
    ground.as_admin().execute("DROP TABLE halfstep.lease CASCADE")
    with pytest.raises(SchemaMismatch):
        ours.run("leases")


def function_gone(ours: Database, ground: Ground) -> None:
    """Only a function is missing."""
    migrate(ground.as_owner())
    ours.run("leases")
    with pytest.raises(SchemaMismatch):
        ours.execute("SELECT halfstep.what_an_upgrade_has_dropped()")


def unnoticed(ours: Database, ground: Ground) -> None:
    """Between two statements, without an error."""
    migrate(ground.as_owner())
    ours.run("leases")


def given_away(ours: Database, ground: Ground) -> None:
    """The schema is given to the stranger, not dropped."""
    migrate(ground.as_owner())
    ours.run("leases")
    ground.as_admin().execute(f"ALTER SCHEMA halfstep OWNER TO {ground.stranger[0]}")
    with pytest.raises(ForeignSchema):
        ours.run("leases")


SWAPS = {case.__doc__: case for case in (seen_none, lost, in_a_transaction, in_a_script, table_gone, function_gone)}
UNSEEN = {case.__doc__: case for case in (unnoticed, given_away)}
CHANGES = [(login, doc) for login in ("the superuser", "the database's owner") for doc in SWAPS]
CHANGES += [("the superuser", doc) for doc in UNSEEN]


@pytest.mark.parametrize(("login", "change"), CHANGES, ids=[": ".join(words) for words in CHANGES])
def test_a_connection_that_is_kept_runs_nothing_of_a_schema_that_comes_later(ground: Ground, login: str, change: str) -> None:
    url = ground.admin_url if "superuser" in login else ground.server.url(ground.name)
    ours = ground.stack.enter_context(closing(TrustedDatabase(url)))
    (SWAPS | UNSEEN)[change](ours, ground)
    hand_over(ground)
    for name in ("leases", "installation"):
        with pytest.raises(ForeignSchema, match=ground.stranger[0]):
            ours.run(name)
    with pytest.raises(ForeignSchema), ours.transaction():
        ours.run("leases")
    assert ground.caught() == []
    ground.as_admin().execute("DROP SCHEMA halfstep CASCADE")
    migrate(ground.as_owner())
    assert ours.run("installation") != []


@pytest.mark.parametrize("login", ["a superuser", "the owner"])
def test_only_who_trusts_for_the_owners_sake_looks_before_each_statement(ground: Ground, login: str) -> None:
    migrate(ground.as_owner())
    url = ground.admin_url if "superuser" in login else ground.server.url(ground.name)
    looks: list[str] = []

    class Watched(TrustedDatabase):
        def run(self, name: str, /, **parameters: Any) -> list[Any]:
            looks.append(name)
            return super().run(name, **parameters)

    with closing(Watched(url)) as ours:
        for _ in range(3):
            ours.execute("SELECT")
        with ours.transaction():
            ours.execute("SELECT")
    assert looks == ["schema_owner"] * (5 if "superuser" in login else 1)


def hear(running: subprocess.Popen[str], *words: str) -> str:
    """The first line that says any of it; empty if the program ended before."""
    assert running.stderr is not None
    return next((line for line in running.stderr if any(word in line for word in words)), "")


RUNNING = {
    "halfstep exchange": ("worker", "--no-notify"),
    "halfstep exporter": ("exporter", "--metrics", "127.0.0.1:0"),
    "halfstep scaler": ("scaler", "--insecure", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"),
}


@pytest.mark.parametrize("program", RUNNING)
def test_a_superusers_program_runs_nothing_of_a_schema_that_comes_while_it_runs_and_says_what_it_is(
    ground: Ground, program: str, tmp_path: Path
) -> None:
    migrate(ground.as_owner())
    watcher = ground.as_admin()
    with subprocess.Popen(**as_superuser(ground, tmp_path, *RUNNING[program]), stderr=subprocess.PIPE) as running:
        ending = threading.Timer(PATIENCE, running.kill)
        ending.start()
        hear(running, "The database is used as superuser")
        rests = "SELECT FROM pg_stat_activity WHERE application_name = %(program)s AND datname = current_database()"
        rests += " AND state = 'idle' AND state_change < now() - interval '0.1 s'"
        said = ""
        for _ in range(5):  # a statement that was under way may have missed its table, before any look
            wait_until(lambda: watcher.execute(rests, {"program": program}), what=f"{program} to rest")
            hand_over(ground)
            said = hear(running, "belongs to role", "run `halfstep migrate`")
            if "belongs to role" in said:
                break
            watcher.execute("DROP SCHEMA halfstep CASCADE")
            migrate(ground.as_owner())
            hear(running, "The database answers again")
        running.terminate()
        running.communicate(timeout=PATIENCE)
        ending.cancel()
    assert f"The schema halfstep belongs to role {ground.stranger[0]}" in said
    assert ground.caught() == []
