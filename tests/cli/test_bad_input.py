"""Each bad input gets one clear sentence and its documented exit code, and nothing else happens. The table is the test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from halfstep.administration import Administration
from halfstep.database import Database, parse_url
from halfstep.producer import NewTask, enqueue_many
from halfstep.queue import Queue
from halfstep.reports import Reports
from ports import free_port

BASH = ("enqueue", "bash", '{"command": "true"}')


def nothing(_: Database) -> None:
    """The database stays as it is."""


def fixed_queues(database: Database) -> None:
    """Only the queues that there are."""
    Administration(database).fix_queues(True)


def limited_queue(database: Database) -> None:
    """A queue for http only."""
    Administration(database).set_queue("mail", operators=["http"])


def newer_schema(database: Database) -> None:
    """As after a migration that this code is too old for."""
    database.execute("INSERT INTO halfstep.migration (version, name, oldest_code) VALUES (9999, '9999_future', 9999)")


def no_schema(database: Database) -> None:
    """As before the first migration."""
    database.execute("DROP SCHEMA halfstep CASCADE")


def same(url: str) -> str:
    """The test's database."""
    return url


def wrong_password(url: str) -> str:
    """Somebody else's password."""
    return changed(url, password="not-the-password")


def no_server(url: str) -> str:
    """A port that nobody listens on."""
    return changed(url, host="127.0.0.1", port=free_port())


def no_database(url: str) -> str:
    """A database that is not there."""
    return changed(url, database="nowhere")


def changed(url: str, **parts: object) -> str:
    """The URL with some of its parts replaced."""
    return parse_url(url).set(drivername="postgresql", **parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Row:
    """One bad input: the words, the code, a part of the sentence, and what is otherwise than usual."""

    name: str
    words: tuple[str, ...]
    code: int
    sentence: str
    given: Callable[[Database], None] = nothing
    at: Callable[[str], str] = same
    stdin: str = ""


TABLE = [
    # args
    Row(
        "unknown operator",
        ("enqueue", "bahs", "{}"),
        2,
        "There is no operator 'bahs' here; known: bash, http, pod, python, script, sql.",
    ),
    Row("args not JSON", ("enqueue", "bash", "{command: true}"), 2, "The args are not JSON: Expecting property name"),
    Row("args not an object", ("enqueue", "bash", "[1, 2]"), 2, "The args must be a JSON object, not a list"),
    Row("args null", ("enqueue", "bash", "null"), 2, "The args must be a JSON object, not null"),
    Row("args empty", ("enqueue", "bash", ""), 2, "The args are not JSON"),
    Row("args NaN", ("enqueue", "bash", '{"command": NaN}'), 2, "NaN is no JSON number"),
    Row("args too deep", ("enqueue", "bash", '{"command": ' + "[" * 100_000), 2, "The args are not JSON"),
    Row("args too large", ("enqueue", "bash", "-"), 2, "; the limit is 262144.", stdin='{"command": "' + "x" * 300_000 + '"}'),
    Row("args of no file", ("enqueue", "bash", "@missing.json"), 2, "The file missing.json can't be read: No such file"),
    Row("missing argument", ("enqueue", "bash", "{}"), 2, "Operator 'bash' needs the argument 'command'"),
    Row("unknown argument", ("enqueue", "bash", '{"command": "true", "user": 1}'), 2, "has no argument 'user'"),
    Row("wrong type", ("enqueue", "bash", '{"command": 1}'), 2, "must be a string"),
    Row("NUL in args", ("enqueue", "bash", '{"command": "a\\u0000b"}'), 2, "NUL"),
    Row("source escape", ("enqueue", "script", '{"path": "../secret.sh"}'), 2, "'../secret.sh'"),
    Row("absolute script", ("enqueue", "script", '{"path": "/etc/passwd.sh"}'), 2, "'/etc/passwd.sh'"),
    # options of a task
    Row("negative timeout", (*BASH, "--timeout", "-1"), 2, "The timeout must be more than 0 seconds and at most a year."),
    Row("endless timeout", (*BASH, "--timeout", "nan"), 2, "The timeout must be more than 0 seconds and at most a year."),
    Row("timeout no number", (*BASH, "--timeout", "soon"), 2, "'--timeout'"),
    Row("negative count", (*BASH, "--count", "-1"), 2, "'--count'"),
    Row("count zero", (*BASH, "--count", "0"), 2, "'--count'"),
    Row("no attempts", (*BASH, "--max-attempts", "0"), 2, "max_attempts must be 1 to 1000."),
    Row("huge priority", (*BASH, "--priority", "99999999999"), 2, "'--priority'"),
    Row("bad time", (*BASH, "--run-at", "tomorrow"), 2, "'tomorrow' is no time; write "),
    Row("day that is none", (*BASH, "--run-at", "2030-02-30"), 2, "'2030-02-30' is no time"),
    Row("delay backwards", (*BASH, "--run-at", "-5m"), 2, "'-5m' is no time"),
    Row("delay for ever", (*BASH, "--run-at", "+99999999999d"), 2, "'+99999999999d' is no time"),
    Row("label without value", (*BASH, "--label", "team"), 2, "A label looks like key=value, not 'team'."),
    Row("unknown placement", (*BASH, "--placement", "moon"), 2, "The placement must be worker or pod, not 'moon'."),
    Row("bad queue name", (*BASH, "--queue", "a b"), 2, "A queue name has 1 to 63 letters"),
    Row(
        "unknown queue, fixed", (*BASH, "--queue", "etl"), 2, "There is no queue etl, and the queues here are fixed", fixed_queues
    ),
    Row("queue for others", (*BASH, "--queue", "mail"), 7, "Queue mail takes only the operators http, not bash.", limited_queue),
    # ids, names, words
    Row("id no number", ("show", "seven"), 2, "Invalid value for 'ID'"),
    Row("id zero", ("show", "0"), 2, "Invalid value for 'ID'"),
    Row("id too large", ("cancel", "9223372036854775808"), 2, "Invalid value for 'ID"),
    Row("no such task", ("show", "42"), 5, "There is no task 42."),
    Row("no log", ("logs", "42"), 5, "There is no task 42."),
    Row("retry of none", ("retry", "42"), 5, "There is no task 42."),
    Row("cancel of none", ("cancel", "42"), 5, "There is no task 42."),
    Row("attempt zero", ("logs", "42", "--attempt", "0"), 2, "'--attempt'"),
    Row("pause of none", ("pause", "nowhere"), 5, "There is no queue nowhere."),
    Row("unknown state", ("tasks", "--state", "done"), 2, "There is no state 'done'; known: scheduled, ready,"),
    Row("limit below one", ("tasks", "--limit", "-1"), 2, "'--limit'"),
    Row("filter without value", ("tasks", "--label", "team"), 2, "A label looks like key=value, not 'team'."),
    Row("weight zero", ("queue", "set", "etl", "--weight", "0"), 2, "'--weight'"),
    Row("queue set, bad name", ("queue", "set", "a b"), 2, "A queue name has 1 to 63 letters"),
    Row("limit and no limit", ("queue", "set", "a", "--operator", "http", "--any-operator"), 2, "Choose: "),
    Row("no such role", ("grant", "producer", "nobody_here", "--queue", "etl"), 5, "There is no database role nobody_here"),
    Row("grant of nothing", ("grant", "producer", "nobody_here"), 2, "--queue"),
    Row("revoke of none", ("revoke", "producer", "nobody_here"), 5, "There is no database role nobody_here."),
    Row("no history", ("prune", "--days", "0"), 2, "'--days'"),
    Row("unknown command", ("taks",), 2, "No such command 'taks'."),
    Row("unknown option", ("tasks", "--colour"), 2, "No such option"),
    Row("option in the wrong place", ("tasks", "--database", "x"), 2, "--database stands before the command"),
    # the worker
    Row("no source folder", ("worker", "--source", "missing"), 2, "The source folder missing does not exist"),
    Row("no slots", ("worker", "--slots", "0"), 2, "'--slots'"),
    Row("no connections file", ("worker", "--connections", "missing.yaml"), 2, "missing.yaml can't be read"),
    Row("worker, old code", ("worker",), 4, "upgrade halfstep", newer_schema),
    Row(
        "worker, no server",
        ("worker", "--patience", "0"),
        3,
        "check HALFSTEP_DATABASE_URL and that the server runs.",
        at=no_server,
    ),
    # the database
    Row("wrong password", ("tasks",), 3, "check the user and password in HALFSTEP_DATABASE_URL.", at=wrong_password),
    Row("no server", BASH, 3, "check HALFSTEP_DATABASE_URL and that the server runs.", at=no_server),
    Row("no database", BASH, 3, 'database "nowhere" does not exist', at=no_database),
    Row("not PostgreSQL", BASH, 2, "halfstep needs PostgreSQL", at=lambda _: "mysql://me:secret@localhost/x"),
    Row("no URL", BASH, 2, "The database URL can't be read", at=lambda _: "me:secret@localhost"),
    Row("nowhere", BASH, 2, "There is no database: set HALFSTEP_DATABASE_URL", at=lambda _: ""),
    Row("old code, enqueue", BASH, 4, "upgrade halfstep.", newer_schema),
    Row("old code, reading", ("tasks",), 4, "upgrade halfstep.", newer_schema),
    Row("old code, migrate", ("migrate",), 4, "upgrade halfstep.", newer_schema),
    Row("no schema", BASH, 4, "run `halfstep migrate`.", no_schema),
]


def parameters() -> Iterator[object]:
    """A test for each row; those that leave the schema otherwise than they found it say so."""
    for row in TABLE:
        marks = [pytest.mark.alters_schema] if row.given in (newer_schema, no_schema) else []
        yield pytest.param(row, id=row.name.replace(" ", "-"), marks=marks)


@pytest.mark.parametrize("row", list(parameters()))
def test_bad_input_gets_one_sentence_and_its_code(
    row: Row, halfstep_at, halfstep_process_at, database_url, database, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    row.given(database)
    run = halfstep_process_at if row.words[0] == "worker" else halfstep_at  # a worker changes the process that it is in
    said = run(row.at(database_url), *row.words, stdin=row.stdin)
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("halfstep: ")
    assert row.sentence in lines[0]
    assert (said.code, said.out) == (row.code, "")
    for secret in (str(parse_url(database_url).password), "secret@", "not-the-password"):
        assert secret not in said.err
    assert row.given is no_schema or not Reports(database).tasks(), "something was enqueued"


def test_a_server_that_is_too_old_is_refused(halfstep, monkeypatch):
    monkeypatch.setattr("halfstep.migrate.OLDEST_SERVER", 99)
    for words in (("tasks",), ("migrate",), BASH):
        said = halfstep(*words)
        assert said.code == 4
        assert "halfstep needs 99 or newer." in said.err


def test_an_unchecked_task_goes_to_the_workers_who_know_more(halfstep):
    assert halfstep("enqueue", "theirs", '{"any": 1}', "--unchecked").ids == [1]


SOURCE = """
import math
from halfstep import task

@task
def nul(): return "a\\0b"

@task
def nan(): return math.nan

@task
def octets(): return b"bytes"

@task
def large(): return "x" * 300_000

@task
def nul_in_log(): print("before\\0after"); return "fine"

@task
def fine(): return "fine"
"""


def run_time_table(source: Path) -> list[tuple[NewTask, str, str | None]]:
    """What only a worker can know: task, reason, part of the error; those with None succeed."""

    def call(function: str, **options: int) -> NewTask:
        return NewTask("python", {"function": function}, options)

    return [
        (call("jobs:nul"), "result", "NUL"),
        (call("jobs:fine"), "", None),
        (call("jobs:nan"), "result", "JSON"),
        (call("jobs:octets"), "result", "JSON"),
        (call("jobs:large"), "result", "262144"),
        (call("jobs:nul_in_log"), "", None),
        (call("os:getcwd"), "invalid", "os"),
        (call("jobs:missing", max_attempts=1), "invalid", "missing"),
        (NewTask("theirs", {}, {}), "invalid", "There is no operator 'theirs'"),
        (NewTask("bash", {"wrong": 1}, {}), "invalid", "wrong"),
        (NewTask("sql", {"connection": "nowhere", "statement": "SELECT 1"}, {}), "invalid", "no connection 'nowhere'"),
        (NewTask("script", {"path": "link.sh"}, {}), "invalid", "link.sh"),
        (NewTask("script", {"path": "../outside.sh"}, {}), "invalid", "outside.sh"),
        (call("jobs:fine"), "", None),
    ]


def test_what_only_a_worker_can_refuse_fails_with_a_sentence_and_its_neighbours_finish(
    database: Database, queue: Queue, reports: Reports, start_worker, halfstep, tmp_path: Path
):
    source = tmp_path / "source"
    source.mkdir()
    (source / "jobs.py").write_text(SOURCE)
    (tmp_path / "outside.sh").write_text("echo outside\n")
    os.symlink(tmp_path / "outside.sh", source / "link.sh")
    table = run_time_table(source)
    queue.pause("default")  # so that they are claimed together
    ids = enqueue_many(database, [task for task, _, _ in table])
    start_worker("--source", str(source), "--import", "jobs", "--slots", "2")
    queue.resume("default")
    said = halfstep("enqueue", "python", '{"function": "jobs:fine"}', "--wait", "--priority", "-1")
    assert said.code == 0
    for id, (task, reason, part) in zip(ids, table, strict=True):
        end = halfstep("show", str(id), "--json").json
        assert end["state"] == ("succeeded" if part is None else "failed"), (task, end)
        if part is not None:
            assert (end["reason"], part in end["error"]) == (reason, True), end
            assert len(end["error"].splitlines()) == 1, end
    log = halfstep("logs", str(ids[5]))
    assert "before" in log.out
    assert "after" in log.out


def test_a_refused_task_is_told_with_wait(halfstep, start_worker):
    start_worker()
    said = halfstep("enqueue", "python", '{"function": "os:getcwd"}', "--wait")
    assert (said.code, said.ids) == (1, [1])
    assert said.err.startswith("Task 1 failed: ")
    assert len(said.err.splitlines()) == 1
