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
    "more arguments than there are": ("enqueue(1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16)", "it takes at most 15 arguments"),
    "many tasks that are a number": ("enqueue_many(5)", "cast tasks to jsonb"),
    "many tasks that are an array of rows": ("enqueue_many(ARRAY[1], 2)", "it takes at most 1 arguments"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "advice"), WRONG.values(), ids=list(WRONG))
def test_the_argument_is_named_and_what_to_do(onlooker: Database, call: str, advice: str) -> None:
    with pytest.raises(InvalidTask, match=r"^No function takes these arguments \(function halfstep\.enqueue") as refused:
        onlooker.execute(f"SELECT halfstep.{call}")
    assert advice in str(refused.value)


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


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("function halfstep.enqueue(unknown, json, queue => unknown) does not exist", "cast args to jsonb"),
        ("function enqueue(character varying, character varying) does not exist", "cast args to jsonb"),
        ("function halfstep.enqueue(text, jsonb, priority => bigint, timeout => interval) does not exist",
         "cast priority to integer, timeout to double precision"),
        ("function halfstep.enqueue(name, jsonb, timeout => numeric, run_at => date, priority => smallint) does not exist", None),
        ("function halfstep.enqueue() does not exist", None),
        ("function halfstep.nothing(json) does not exist", None),
        ("operator does not exist: text = integer", None),
        ("Funktion halfstep.enqueue(unknown, json) existiert nicht", None),
        ("", None),
    ],
    ids=["json", "text", "bigint and interval", "what is cast by itself", "nothing given", "another function", "an operator",
         "another language", "no message"],
)  # fmt: skip
def test_what_is_read_out_of_the_servers_message(message: str, advice: str | None) -> None:
    assert mistakes(message) == advice


def test_the_arguments_that_we_tell_are_those_of_the_functions(onlooker: Database) -> None:
    rows: list[Any] = onlooker.execute(
        """SELECT proname, proargnames AS names, ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) t) AS types
           FROM pg_proc WHERE pronamespace = 'halfstep'::regnamespace AND proname IN ('enqueue', 'enqueue_many')"""
    )
    there = [(row["proname"], dict(zip(row["names"], row["types"], strict=True))) for row in rows]
    for name, arguments in FUNCTIONS.items():
        assert (name, arguments) in there
