"""`halfstep doctor`: each line ok, or what to do."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import make_url

from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.troubles import TroubleBook, TroubleRow
from halfstep_cli.commands import checks
from old_encodings import migrate_as_before

NAMES = [
    "reachable",
    "server",
    "encoding",
    "schema",
    "rights",
    "owners",
    "grants",
    "installation",
    "durability",
    "notifications",
    "clock",
    "workers",
    "queues",
    "unserved",
    "scaled objects",
    "troubles",
    "partitions",
    "default partitions",
]


def lines(said) -> dict[str, str]:
    """The line of each check, by its name."""
    return {line[4:].partition(":")[0]: line for line in said.out.splitlines()}


def test_all_is_well_with_a_fresh_database(halfstep):
    said = halfstep("doctor")
    assert said.code == 0, said.out
    assert list(lines(said)) == NAMES
    assert all(line.startswith("ok  ") for line in said.out.splitlines())
    report = halfstep("doctor", "--json").json
    assert report["ok"] is True
    assert [check["name"] for check in report["checks"]] == NAMES


def test_waiting_tasks_without_a_worker_are_found(halfstep, database, make_worker):
    enqueue(database, "bash", {"command": "true"}, queue="etl")
    said = halfstep("doctor")
    assert said.code == 1
    assert lines(said)["workers"] == "no  workers: none, and 1 tasks wait -> Start one: halfstep worker (or halfstep up)."
    make_worker(queues=["mail"])
    said = halfstep("doctor")
    assert lines(said)["queues"] == "no  queues: tasks wait in etl, served by nobody -> halfstep worker --queues etl"
    make_worker()
    assert halfstep("doctor").code == 0


def test_what_waits_in_a_paused_queue_is_nobodys_fault(halfstep, database, queue):
    enqueue(database, "bash", {"command": "true"})
    queue.pause("default")
    assert halfstep("doctor").code == 0


def test_a_server_that_does_not_answer_is_the_only_finding(halfstep_at):
    said = halfstep_at("postgresql://me:secret@127.0.0.1:1/x", "doctor")
    assert said.code == 1
    assert list(lines(said)) == ["reachable"]
    assert "check HALFSTEP_DATABASE_URL" in said.out
    assert "secret" not in said.out + said.err


def test_a_schema_that_is_not_migrated_is_found(halfstep_at, empty_database_url):
    said = halfstep_at(empty_database_url, "doctor")
    assert said.code == 1
    assert list(lines(said)) == ["reachable", "server", "encoding", "schema"]
    assert "halfstep migrate" in lines(said)["schema"]


def test_a_server_that_is_too_old_is_found(halfstep, monkeypatch):
    monkeypatch.setattr("halfstep.migrate.OLDEST_SERVER", 99)
    said = halfstep("doctor")
    assert (said.code, list(lines(said))) == (1, ["reachable", "server"])


def test_a_clock_that_is_off_is_found(halfstep, monkeypatch):
    monkeypatch.setattr(checks, "CLOCK_SECONDS", -1)  # so that any offset is too much
    said = halfstep("doctor")
    assert said.code == 1
    assert lines(said)["clock"].endswith("Synchronise both clocks (NTP).")


def test_notifications_that_do_not_arrive_are_found(halfstep_at, database_url, server, monkeypatch):
    # As behind a pooler that gives LISTEN another server connection: here it is another database.
    monkeypatch.setattr(checks, "NOTIFY_SECONDS", 0.05)
    monkeypatch.setenv("HALFSTEP_DIRECT_DATABASE_URL", server.admin_url)
    said = halfstep_at(database_url, "doctor")
    assert said.code == 1
    assert "set HALFSTEP_DIRECT_DATABASE_URL" in lines(said)["notifications"]


@pytest.mark.alters_schema
def test_what_the_server_does_with_a_commit_is_told_as_our_login_sees_it(halfstep, database):
    assert lines(halfstep("doctor"))["durability"] == "ok  durability: synchronous_commit on, fsync on, full_page_writes on"
    name = database.execute("SELECT current_database() AS name")[0]["name"]
    database.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    said = halfstep("doctor")
    assert said.code == 0, "halfstep's own commits are waited for all the same"
    assert "synchronous_commit off, fsync on" in lines(said)["durability"]
    assert "what your transactions enqueue may be lost" in lines(said)["durability"]


@pytest.mark.parametrize(
    ("values", "code", "sentence"),
    [
        (("on", "off", "on"), 1, "fsync off, full_page_writes on: a crash of the machine may lose or ruin everything"),
        (("on", "on", "off"), 0, "full_page_writes off: only right where the file system never writes half a page"),
    ],
)
def test_a_server_that_would_lose_what_is_committed_is_found(halfstep, monkeypatch, values, code, sentence):
    columns = ("synchronous_commit", "fsync", "full_page_writes")
    stands_for = ", ".join(f"'{value}' AS {name}" for name, value in zip(columns, values, strict=True))
    monkeypatch.setattr(checks, "_DURABILITY", f"SELECT {stands_for}")
    said = halfstep("doctor")
    assert said.code == code
    assert sentence in lines(said)["durability"]
    told = next(check for check in halfstep("doctor", "--json").json["checks"] if check["name"] == "durability")
    assert told["ok"] is (code == 0)


@pytest.mark.alters_schema
@pytest.mark.parametrize("table", ["history", "log"])
def test_missing_partitions_are_found_and_prune_makes_them(halfstep, database, table):
    day = database.execute("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD') AS day")[0]["day"]
    database.execute(f"DROP TABLE halfstep.{table}_{day}")
    said = halfstep("doctor")
    assert said.code == 1
    assert lines(said)["partitions"] == "no  partitions: 1 of the coming days are missing -> halfstep prune"
    halfstep("prune")
    assert halfstep("doctor").code == 0


@pytest.mark.alters_schema
def test_rows_in_a_default_partition_are_found(halfstep, database):
    database.execute("INSERT INTO halfstep.log (task_id, attempt, chunk, written_at, lines) VALUES (1, 1, 0, '2001-01-01', '[]')")
    said = halfstep("doctor")
    assert said.code == 1
    assert lines(said)["default partitions"].endswith("rows in that of log -> halfstep prune, every day")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252"])
def test_a_database_that_cannot_hold_every_text_is_refused_and_found(halfstep_at, server, encoding):
    name = server.make_database(template=f"template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    for words in (("migrate",), ("migrate", "--dry-run")):
        said = halfstep_at(server.url(name), *words)
        assert (said.code, said.out) == (4, "")
        assert f"has the encoding {encoding}" in said.err
        assert "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0" in said.err
    assert halfstep_at(server.url(name), "doctor").code == 1
    migrate_as_before(server.url(name))
    said = halfstep_at(server.url(name), "doctor")
    assert said.code == 1
    assert list(lines(said)) == NAMES, "the rest is asked all the same: it may have been in use for years"
    assert lines(said)["encoding"].startswith(f"no  encoding: The database {name} has the encoding {encoding}")
    assert halfstep_at(server.url(name), "migrate").code == 4
    server.drop(name)


@pytest.fixture
def stranger(server):
    """A role that logs in and may do nothing; whatever it has goes with the test's database."""
    role = server.make_role()
    yield role[0]
    server.admin(f"DROP OWNED BY {role[0]}")


GRANTS = {
    "all may make objects": (
        "GRANT CREATE ON SCHEMA halfstep TO PUBLIC",
        "owners",
        "REVOKE CREATE ON SCHEMA halfstep FROM PUBLIC;",
    ),
    "a stranger may make objects": (
        "GRANT CREATE ON SCHEMA halfstep TO {role}",
        "owners",
        'REVOKE CREATE ON SCHEMA halfstep FROM "{role}";',
    ),
    "all may use the schema": (
        "GRANT USAGE ON SCHEMA halfstep TO PUBLIC",
        "grants",
        "REVOKE ALL ON SCHEMA halfstep FROM PUBLIC;",
    ),
    "all may read the demand": (
        "GRANT SELECT ON halfstep.demand TO PUBLIC",
        "grants",
        "REVOKE ALL ON halfstep.demand FROM PUBLIC;",
    ),
    "a stranger may read tasks": (
        "GRANT SELECT ON halfstep.task TO {role}",
        "grants",
        'REVOKE ALL ON halfstep.task FROM "{role}";',
    ),
    "a stranger may read one column": (
        "GRANT SELECT (args) ON halfstep.task TO {role}",
        "grants",
        '"{role}" has SELECT on halfstep.task',
    ),
    "a stranger may write tasks": (
        "GRANT INSERT, TRIGGER ON halfstep.task TO {role}",
        "grants",
        "has INSERT, TRIGGER on halfstep.task",
    ),
    "a stranger may use a sequence": (
        "GRANT USAGE ON SEQUENCE halfstep.task_id TO {role}",
        "grants",
        "REVOKE ALL ON SEQUENCE halfstep.task_id",
    ),
    "a stranger may write history": ("GRANT DELETE ON halfstep.history TO {role}", "grants", "has DELETE on halfstep.history"),
    "all may enqueue": (
        "GRANT EXECUTE ON FUNCTION halfstep.enqueue_many(json) TO PUBLIC",
        "grants",
        "PUBLIC has EXECUTE on halfstep.enqueue_many",
    ),
    "a stranger may take keys": (
        "GRANT EXECUTE ON FUNCTION halfstep.take_key TO {role}",
        "grants",
        "REVOKE ALL ON FUNCTION halfstep.take_key(",
    ),
}


@pytest.mark.alters_schema
@pytest.mark.parametrize("kind", GRANTS)
def test_rights_that_nobody_should_have_are_found(halfstep, database, stranger, kind):
    statement, check, sentence = GRANTS[kind]
    database.execute(statement.format(role=stranger))
    said = halfstep("doctor")
    assert said.code == 1
    assert lines(said)[check].startswith(f"no  {check}: ")
    assert sentence.format(role=stranger) in lines(said)[check]
    database.execute(statement.replace("GRANT", "REVOKE").replace(" TO ", " FROM ").format(role=stranger))
    assert halfstep("doctor").code == 0


def test_what_producers_scalers_and_members_have_is_in_order(halfstep, database, administration, stranger, server):
    administration.grant_producer(stranger, ["mail"])
    database.execute(f"GRANT SELECT ON halfstep.demand TO {stranger}")
    assert halfstep("doctor").code == 0
    member = server.make_role()[0]
    server.admin(f"GRANT {server.owner[0]} TO {member}")
    database.execute(f"GRANT ALL ON halfstep.task TO {member}")
    assert halfstep("doctor").code == 0
    database.execute(f"REVOKE ALL ON halfstep.task FROM {member}")
    server.admin(f"DROP ROLE {member}")
    administration.revoke_producer(stranger)
    database.execute(f"REVOKE ALL ON halfstep.demand FROM {stranger}")


@pytest.mark.alters_schema
def test_an_object_of_somebody_else_is_found(halfstep, halfstep_at, database, stranger, server, database_url):
    database.execute(f"GRANT CREATE, USAGE ON SCHEMA halfstep TO {stranger}")
    admin = make_url(server.admin_url).set(database=make_url(database_url).database).render_as_string(hide_password=False)
    with closing(Database(admin)) as superuser:
        superuser.script(f"SET ROLE {stranger}; CREATE TABLE halfstep.theirs (x int)")
        database.execute(f"REVOKE CREATE, USAGE ON SCHEMA halfstep FROM {stranger}")
        said = halfstep("doctor")
        assert said.code == 1
        assert f"table halfstep.theirs of {stranger}" in lines(said)["owners"]
        assert f"table halfstep.theirs of {stranger}" in halfstep("migrate").err
        superuser.script("RESET ROLE; DROP TABLE halfstep.theirs")
    assert halfstep("doctor").code == 0
    assert halfstep_at(admin, "doctor").code == 0, "a superuser trusts who owns the database"


def test_what_keeps_a_launcher_from_getting_on_is_said_with_what_to_do(halfstep, database, make_worker):
    launchers = [make_worker(placement="pod", name=name) for name in ("l1", "l2")]
    assert lines(halfstep("doctor"))["troubles"] == "ok  troubles: every launcher gets on with its cluster"
    for launcher in launchers:
        TroubleBook(database).write(launcher.id, [TroubleRow("", "jobs", "create pods", "No right. Give it that right.", 1.0)])
    said = halfstep("doctor")
    assert said.code == 1
    told = "no  troubles: l1, l2: No right. Give it that right. -> Until then its tasks wait, and use up no attempt; "
    assert lines(said)["troubles"] == f"{told}it goes on by itself."


def test_of_many_troubles_the_oldest_are_said(halfstep, database, make_worker):
    rows = [TroubleRow("", f"n{n}", "create pods", f"No right in n{n}.", 100.0 - n) for n in range(7)]
    TroubleBook(database).write(make_worker(placement="pod", name="l1").id, rows)
    line = lines(halfstep("doctor"))["troubles"]
    assert "l1: No right in n4. And 2 more. ->" in line
    assert "n5" not in line
