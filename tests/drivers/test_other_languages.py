"""Other languages call the SQL function by their own drivers, in their own transaction."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

from drivers.looking import Look
from drivers.toolchains import LANGUAGES, Parameter, Program, Request
from halfstep import enqueue
from waiting import PATIENCE

ARGS = {"command": "true", "text": 'né € 😀 "quoted" \\ %s :y ?'}
every_language = pytest.mark.parametrize("language", LANGUAGES)


@pytest.fixture
def program(programs: Callable[[str], Program], language: str) -> Program:
    return programs(language)


def call(program: Program, look: Look, *more: str) -> tuple[str, list[Parameter]]:
    """A call as our how-to has it."""
    named = "".join(f", {part}" for part in more)
    sql = f"SELECT halfstep.enqueue({program.mark(1)}, CAST({program.mark(2)} AS jsonb), queue => {program.mark(3)}{named})"
    return sql, [Parameter("text", "bash"), Parameter("json", ARGS), Parameter("text", look.queue)]


@every_language
def test_a_task_is_there_after_a_commit_and_not_after_a_rollback(program: Program, drivers_url: str, look: Look) -> None:
    sql, parameters = call(program, look)
    assert program.ask(drivers_url, Request(sql, parameters, commit=False)).sqlstate is None
    assert look.ids() == []
    id = program.ask(drivers_url, Request(sql, parameters))
    assert (look.task()["id"], look.task()["args"]) == (int(id.value), ARGS)


@every_language
def test_many_are_enqueued_by_one_call(program: Program, drivers_url: str, look: Look) -> None:
    tasks = [{"operator": "bash", "args": {"n": n}, "queue": look.queue} for n in range(3)]
    sql = f"SELECT array_to_string(halfstep.enqueue_many(CAST({program.mark(1)} AS jsonb)), ' ')"
    answer = program.ask(drivers_url, Request(sql, [Parameter("json", {"tasks": tasks})], commit=True))
    assert answer.sqlstate is not None  # an object is no array
    sql = f"SELECT array_to_string(halfstep.enqueue_many(CAST({program.mark(1)} AS jsonb) -> 'tasks'), ' ')"
    answer = program.ask(drivers_url, Request(sql, [Parameter("json", {"tasks": tasks})]))
    assert [int(id) for id in answer.value.split()] == look.ids()


@every_language
def test_an_error_has_its_sqlstate_and_sentence(program: Program, drivers_url: str, look: Look) -> None:
    sql, parameters = call(program, look, "placement => 'moon'")
    answer = program.ask(drivers_url, Request(sql, parameters))
    assert answer.sqlstate == "HS001"
    assert "The placement must be worker or pod, not 'moon'" in str(answer.message)
    sql, parameters = call(program, look)
    for statement, state in (("SELECT 1/0", "25P02"), ("SET TRANSACTION READ ONLY", "25006")):
        assert program.ask(drivers_url, Request(sql, parameters, before=[statement])).sqlstate == state
    assert look.ids() == []


@every_language
def test_a_held_key_gives_the_id_of_its_task(program: Program, drivers_url: str, look: Look) -> None:
    held = enqueue(look.database, "bash", queue=look.queue, unique_key=look.queue)
    sql, parameters = call(program, look, f"unique_key => {program.mark(4)}")
    assert int(program.ask(drivers_url, Request(sql, [*parameters, Parameter("text", look.queue)])).value) == held


@every_language
def test_moments_of_the_language_are_taken(program: Program, drivers_url: str, look: Look) -> None:
    moment = "2100-01-02T03:04:05Z"
    sql, parameters = call(program, look, f"run_at => {program.mark(4)}")
    assert program.ask(drivers_url, Request(sql, [*parameters, Parameter("moment", moment)])).sqlstate is None
    assert look.task()["run_at"].isoformat() == "2100-01-02T03:04:05+00:00"


def test_psql_passes_what_it_was_given_as_variables(drivers_url: str, look: Look) -> None:
    if shutil.which("psql") is None:
        pytest.skip("psql can't be run here")
    call = "SELECT halfstep.enqueue('bash', :'args', queue => :'queue', priority => :priority);"
    variables = [f"--set=args={json.dumps(ARGS)}", f"--set=queue={look.queue}", "--set=priority=7", "--set=ON_ERROR_STOP=1"]

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", *variables, drivers_url]
        return subprocess.run(command, input=script, capture_output=True, text=True, timeout=PATIENCE, encoding="utf-8")

    assert run(f"BEGIN; {call} ROLLBACK;").returncode == 0
    assert look.ids() == []
    id = run(f"BEGIN; {call} COMMIT;").stdout
    assert (look.task()["id"], look.task()["args"], look.task()["priority"]) == (int(id), ARGS, 7)
    refused = run("\\set VERBOSITY verbose\nSELECT halfstep.enqueue('bash', '[1]');")
    assert "HS001: The args must be a JSON object" in refused.stderr
