"""SQLSTATE 42883 says only that no function fits: which argument is it, and what has to be done?"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from halfstep import enqueue
from halfstep.database import Database, execute_on
from halfstep.errors import InvalidTask, SchemaMismatch
from halfstep.signatures import FUNCTIONS, mistakes

WRONG: dict[str, tuple[str, str]] = {
    "args that are a number": ("enqueue('bash', 5)", "cast args to jsonb"),
    "args that are true": ("enqueue('bash', true, queue => 'q')", "cast args to jsonb"),
    "args that are an array": ("enqueue('bash', ARRAY['a'])", "cast args to jsonb"),
    "an operator that is an object": ("enqueue('{}'::jsonb, '{}'::jsonb)", "cast operator to text"),
    "a queue that is a number": ("enqueue('bash', queue => 5)", "cast queue to text"),
    "a priority that is a moment": ("enqueue('bash', priority => now())", "cast priority to integer"),
    "a moment that is a number": ("enqueue('bash', run_at => 5)", "cast run_at to timestamp with time zone"),
    "labels that are a number and a flag that is a name": (
        "enqueue('bash', labels => 5, at_most_once => 'a'::name)", "cast labels to jsonb, at_most_once to boolean"
    ),
    "an argument that there is not": ("enqueue('bash', prio => 5)", "it has no argument prio; there are operator, args, queue"),
    "more arguments than there are": (
        f"enqueue({', '.join('1' * 16)})", "it takes no more than operator, args, queue"
    ),
    "many tasks that are a number": ("enqueue_many(5)", "cast tasks to jsonb"),
    "many tasks that are an array of rows": ("enqueue_many(ARRAY[1], 2)", "it takes no more than tasks"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "advice"), WRONG.values(), ids=list(WRONG))
def test_the_argument_is_named_and_what_to_do(onlooker: Database, call: str, advice: str) -> None:
    with pytest.raises(InvalidTask, match=r"^No function takes these arguments \(function halfstep\.enqueue") as refused:
        onlooker.execute(f"SELECT halfstep.{call}")
    assert advice in str(refused.value)


def test_a_call_that_several_functions_take_says_how_to_choose(onlooker: Database) -> None:
    with pytest.raises(InvalidTask, match="name them"):
        onlooker.execute("SELECT halfstep.enqueue('bash', '{}'::jsonb, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)")


def test_a_callers_own_statement_is_told_the_same(drivers_url: str) -> None:
    with closing(psycopg2.connect(drivers_url)) as connection, pytest.raises(InvalidTask, match="cast args to jsonb"):
        execute_on(connection, "SELECT halfstep.enqueue(%(operator)s, %(args)s)", {"operator": "bash", "args": 5})


def test_a_function_that_is_not_there_asks_for_a_migration(onlooker: Database) -> None:
    with pytest.raises(SchemaMismatch, match="run `halfstep migrate`"):
        onlooker.execute("SELECT halfstep.nothing(1)")


def test_a_schema_without_the_functions_asks_for_a_migration(empty_database_url: str) -> None:
    with closing(psycopg2.connect(empty_database_url)) as connection:
        with pytest.raises(SchemaMismatch, match="run `halfstep migrate`"):
            enqueue(connection, "bash")
        connection.rollback()
        connection.cursor().execute("CREATE SCHEMA halfstep")
        with pytest.raises(SchemaMismatch, match=r"halfstep\.enqueue_many\(jsonb\) does not exist.*run `halfstep migrate`"):
            enqueue(connection, "bash")


MESSAGES: dict[str, tuple[str, str | None]] = {
    "a type that no form takes": ("function halfstep.enqueue(unknown, xml, queue => unknown)", "cast args to jsonb"),
    "without the schema's name": ("function enqueue(character varying, bytea)", "cast args to jsonb"),
    "two types": ("function halfstep.enqueue(text, jsonb, labels => text)", "cast args to jsonb, labels to jsonb"),
    "a number and an interval": (
        "function halfstep.enqueue(text, json, timeout => interval, backoff_cap => numeric)",
        "cast timeout to double precision, backoff_cap to double precision",
    ),
    "what newer schemas take": ("function halfstep.enqueue(text, json, priority => bigint)", None),
    "what is cast by itself": ("function halfstep.enqueue(name, jsonb, run_at => date, timeout => real)", None),
    "nothing given": ("function halfstep.enqueue()", None),
    "another function": ("function halfstep.nothing(xml)", None),
    "an operator": ("operator text = integer", None),
    "no message": ("", None),
}  # fmt: skip


@pytest.mark.parametrize(("message", "advice"), MESSAGES.values(), ids=list(MESSAGES))
def test_what_is_read_out_of_the_servers_message(message: str, advice: str | None) -> None:
    assert mistakes(f"{message} does not exist") == advice


def test_a_message_in_another_language_is_not_guessed_at() -> None:
    assert mistakes("Funktion halfstep.enqueue(unknown, xml) existiert nicht") is None


def test_the_arguments_that_we_tell_are_those_of_the_functions(onlooker: Database) -> None:
    rows: list[Any] = onlooker.execute(
        """SELECT proname, proargnames AS names, ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) t) AS types
           FROM pg_proc WHERE pronamespace = 'halfstep'::regnamespace AND proname IN ('enqueue', 'enqueue_many')"""
    )
    assert {row["proname"] for row in rows} == {*FUNCTIONS}
    for row in rows:
        expected = FUNCTIONS[row["proname"]]
        types = dict(zip(row["names"], row["types"], strict=True))
        assert all(kind in expected[name].taken for name, kind in types.items())
    assert {name for row in rows for name in row["names"]} == {name for arguments in FUNCTIONS.values() for name in arguments}
