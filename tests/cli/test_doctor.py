"""`halfstep doctor`: each line ok, or what to do."""

from __future__ import annotations

import pytest

from halfstep.producer import enqueue
from halfstep_cli.commands import checks

NAMES = [
    "reachable",
    "server",
    "schema",
    "rights",
    "durability",
    "notifications",
    "clock",
    "workers",
    "queues",
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
    assert list(lines(said)) == ["reachable", "server", "schema"]
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
