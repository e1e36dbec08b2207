"""`halfstep enqueue`: what it prints, what it takes, and waiting."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from halfstep.administration import Administration
from halfstep.database import Database

BASH = ("enqueue", "bash", '{"command": "true"}')


def test_it_prints_one_id_a_line(halfstep):
    assert halfstep(*BASH).out == "1\n"
    assert halfstep(*BASH, "--count", "3").out == "2\n3\n4\n"


def test_options_reach_the_task(halfstep):
    options = (
        "--queue",
        "etl",
        "--priority",
        "-7",
        "--max-attempts",
        "5",
        "--timeout",
        "2.5",
        "--unique-key",
        "k",
        "--at-most-once",
    )
    halfstep(*BASH, *options, "--label", "team=ops", "-l", "a=b=c", "--placement", "pod")
    task = halfstep("show", "1", "--json").json
    expected = {
        "queue": "etl",
        "priority": -7,
        "max_attempts": 5,
        "timeout": 2.5,
        "unique_key": "k",
        "at_most_once": True,
        "labels": {"team": "ops", "a": "b=c"},
        "placement": "pod",
        "state": "ready",
    }
    assert {name: task[name] for name in expected} == expected


def test_without_options_the_defaults_count(halfstep):
    halfstep(*BASH)
    task = halfstep("show", "1", "--json").json
    assert [task[name] for name in ("queue", "priority", "max_attempts", "timeout", "labels")] == ["default", 0, 3, None, None]


def test_a_delay_counts_from_the_servers_clock(halfstep, database: Database):
    halfstep(*BASH, "--run-at", "+2h")
    task = halfstep("show", "1", "--json").json
    now = database.execute("SELECT clock_timestamp() AS now")[0]["now"]
    assert task["state"] == "scheduled"
    assert timedelta(hours=1, minutes=59) < datetime.fromisoformat(task["run_at"]) - now < timedelta(hours=2)


def test_a_moment_may_be_named(halfstep):
    halfstep(*BASH, "--run-at", "2999-05-01T09:00:00+02:00")
    assert datetime.fromisoformat(halfstep("show", "1", "--json").json["run_at"]) == datetime(2999, 5, 1, 7, tzinfo=UTC)


def test_args_come_from_stdin_or_from_a_file(halfstep, tmp_path):
    file = tmp_path / "args.json"
    file.write_text('{"command": "echo Grüße"}')
    halfstep("enqueue", "bash", f"@{file}")
    halfstep("enqueue", "bash", "-", stdin='{"command": "echo ☃"}')
    commands = [halfstep("show", id, "--json").json["args"]["command"] for id in ("1", "2")]
    assert commands == ["echo Grüße", "echo ☃"]


def test_a_held_unique_key_prints_the_holder(halfstep):
    first = halfstep(*BASH, "--unique-key", "nightly").ids
    assert halfstep(*BASH, "--unique-key", "nightly").ids == first


def test_a_producer_role_can_enqueue_and_read_nothing(halfstep_at, server, database_url: str, database: Database):
    role = server.make_role()
    Administration(database).grant_producer(role[0], ["mail"])
    url = server.url(database_url.rsplit("/", 1)[1].partition("?")[0], role)
    assert halfstep_at(url, *BASH, "--queue", "mail").ids == [1]
    refused = halfstep_at(url, *BASH, "--queue", "etl")
    assert (refused.code, refused.out) == (7, "")
    assert "halfstep grant producer" in refused.err
    reading = halfstep_at(url, "tasks")
    assert (reading.code, len(reading.err.splitlines())) == (7, 1)
    doctor = halfstep_at(url, "doctor")
    assert doctor.code == 0, doctor.out
    assert "may enqueue" in doctor.out


def test_waiting_ends_well_only_if_all_succeeded(halfstep, start_worker):
    start_worker("--slots", "2")
    well = halfstep(*BASH, "--count", "5", "--wait")
    assert (well.code, len(well.ids), well.err) == (0, 5, "")
    failing = ("enqueue", "bash", '{"command": "exit 3"}', "--max-attempts", "1")
    ill = halfstep(*failing, "--wait")
    assert (ill.code, ill.ids) == (1, [6])
    assert ill.err == "Task 6 failed: bash exited with code 3.\n"


def test_waiting_for_many_failures_names_the_first_and_counts_the_rest(halfstep, start_worker):
    start_worker("--slots", "2")
    said = halfstep("enqueue", "bash", '{"command": "exit 1"}', "--max-attempts", "1", "--count", "25", "--wait")
    lines = said.err.splitlines()
    assert (said.code, len(lines)) == (1, 21)
    assert lines[-1] == "… and 5 more; see: halfstep tasks --state failed"


@pytest.fixture
def folder(tmp_path):
    """A source folder with one function, and one module that can't be imported here."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "shop.py").write_text(
        "print('noise')\nfrom halfstep import task\n@task\ndef total(): ...\ndef other(): ...\n"
    )
    (tmp_path / "code" / "far.py").write_text("import a_package_of_the_workers\n")
    return str(tmp_path / "code")


KNOWN = {
    "a function that is there": ("shop:total", (), 0),
    "a function that is not there": ("shop:totl", (), 2),
    "a function without @task": ("shop:other", (), 2),
    "a module that is not there": ("shpo:total", (), 2),
    "a function of Python's own": ("os:system", (), 2),
    "one of an allowed package": ("json:dumps", ("--allow", "json"), 0),
    "one of a package that is not allowed": ("json:dumps", ("--allow", "html"), 2),
    "one in a module that can't be imported here": ("far:total", (), 0),
    "one that may come, by one who knows": ("shop:soon", ("--unchecked",), 0),
    "one for a pod, whose image has its own code": ("shop:soon", ("--placement", "pod"), 0),
}


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("told", ["by an option", "by the environment"])
def test_a_function_that_no_worker_knows_is_refused_where_their_code_is_known(halfstep, monkeypatch, folder, kind, told):
    function, more, code = KNOWN[kind]
    words = ("--source", folder) if told == "by an option" else ()
    if not words:
        monkeypatch.setenv("HALFSTEP_SOURCE", folder)
    said = halfstep("enqueue", "python", json.dumps({"function": function}), *words, *more)
    assert said.code == code, said.err
    assert len(halfstep("tasks", "--json").json) == (code == 0)
    if code:
        assert said.err.startswith(f"halfstep: Function '{function}' is not registered with @task")
        assert "add --unchecked" in said.err


def test_where_nothing_is_known_of_the_workers_code_any_function_may_be_enqueued(halfstep):
    assert halfstep("enqueue", "python", '{"function": "who:knows"}').code == 0
