"""What comes in by SQL: each bad input gets one sentence and a documented code, and nothing is stored. The table is the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from halfstep.database import Database

VALID = "HS001"
DEEP = "('{%s:' || repeat('[', 64) || repeat(']', 64) || '}')::jsonb"


def nested(levels: int, *, opening: str = "[", closing: str = "]") -> str:
    """An object in which so many arrays stand, or objects, as SQL of type jsonb."""
    return f"""('{{"x":' || repeat('{opening}', {levels}) || '1' || repeat('{closing}', {levels}) || '}}')::jsonb"""


NESTED_OBJECTS = nested(65, opening='{"a":', closing="}")
POD = "placement => 'pod'"

REFUSED: list[tuple[str, str, str, str]] = [
    # what it is, the arguments behind the operator, SQLSTATE, a part of the sentence
    ("a run_at before the years", "run_at => '4713-01-01 BC'", VALID, "run_at must be a point in time of the years 1 to 9999"),
    ("a run_at of year 1 BC", "run_at => '0001-12-31 BC'", VALID, "years 1 to 9999"),
    ("a run_at on the first day of the years", "run_at => '0001-01-01 00:00:00Z'", VALID, "years 1 to 9999"),
    ("a run_at on the last day of the years", "run_at => '9999-12-31 23:59:59Z'", VALID, "years 1 to 9999"),
    ("a run_at of year 10000", "run_at => '10000-01-01'", VALID, "years 1 to 9999"),
    ("the last run_at of all", "run_at => '294276-12-31'", VALID, "years 1 to 9999"),
    ("a run_at that never comes", "run_at => 'infinity'", VALID, "years 1 to 9999"),
    ("a run_at that always was", "run_at => '-infinity'", VALID, "years 1 to 9999"),
    ("a run_at that is no time", "run_at => 'soon'", "22007", "timestamp"),
    ("a run_at in a 13th month", "run_at => '2030-13-01'", "22008", "out of range"),
    ("a run_at beyond all calendars", "run_at => '999999-01-01'", "22008", "out of range"),
    ("args of 65 arrays", f"args => {nested(65)}", VALID, "args are nested deeper than 64 levels"),
    ("args of 1,500 arrays", f"args => {nested(1500)}", VALID, "args are nested deeper than 64 levels"),
    ("args of 65 objects", f"args => {NESTED_OBJECTS}", VALID, "args are nested deeper than 64 levels"),
    ("args of 5,000 arrays as text", f"args => {nested(5000)}::text", VALID, "args are nested deeper than 64 levels"),
    ("args with a number of 5,000 digits", """args => '{"x": 1e5000}'""", VALID, "beyond the range of a double"),
    ("args with the same below zero", """args => '{"x": -1e5000}'""", VALID, "beyond the range of a double"),
    ("args with a number of 309 digits", """args => '{"x": 2e308}'""", VALID, "beyond the range of a double"),
    ("args with the longest number", """args => '{"x": 1e131071}'""", VALID, "beyond the range of a double"),
    (
        "args with many of them",
        """args => ('{"x":[' || repeat('1e131071,', 100) || '1]}')::jsonb""",
        VALID,
        "the limit is 262144",
    ),
    ("args with a number near zero", """args => '{"x": 1e-400}'""", VALID, "beyond the range of a double"),
    ("args with a number in an array", """args => '{"x": [[1, {"y": 1e400}]]}'""", VALID, "beyond the range of a double"),
    ("args with more digits than a double", """args => '{"x": 0.12345678901234567890}'""", VALID, "of which a double keeps"),
    ("args with more digits before the point", """args => '{"x": 12345678901234567.25}'""", VALID, "of which a double keeps"),
    ("args with more digits below zero", """args => '{"x": -98765432109876543.5}'""", VALID, "of which a double keeps"),
    ("args with a whole number that is written with a point", """args => '{"x": 9007199254740993.0}'""", VALID, "a double keeps"),
    ("args that are an array", "args => '[1]'", VALID, "args must be a JSON object"),
    ("args that are a string", """args => '"x"'""", VALID, "args must be a JSON object"),
    ("args that are null", "args => 'null'", VALID, "args must be a JSON object"),
    ("args that are SQL's null", "args => NULL", VALID, "args must be a JSON object"),
    ("args that are no JSON", "args => '{'", "22P02", "json"),
    ("args with a NUL", r"""args => '{"x": "\u0000"}'""", "22P05", "Unicode escape"),
    ("args with half a surrogate", r"""args => '{"x": "\ud800"}'""", "22P02", "json"),
    (
        "args that are too large",
        "args => jsonb_build_object('x', repeat('x', 262144))",
        VALID,
        "args are 262153 bytes; the limit is 262144",
    ),
    ("labels of 1,500 arrays", f"labels => {nested(1500)}", VALID, "labels are nested deeper than 64 levels"),
    ("labels with a number of 5,000 digits", """labels => '{"x": 1e5000}'""", VALID, "at most 4096 bytes"),
    ("labels with a number of 400 digits", """labels => '{"x": 1e400}'""", VALID, "labels have a number beyond"),
    ("labels with more digits than a double", """labels => '{"x": 0.12345678901234567890}'""", VALID, "of which a double keeps"),
    ("labels that are an array", "labels => '[]'", VALID, "labels must be a JSON object"),
    ("labels that are too large", "labels => jsonb_build_object('x', repeat('x', 4096))", VALID, "at most 4096 bytes"),
    ("labels that are no JSON", "labels => 'team=a'", "22P02", "json"),
    ("a queue without a name", "queue => ''", VALID, "A queue name has 1 to 63"),
    ("a queue of 64 letters", "queue => repeat('q', 64)", VALID, "A queue name has 1 to 63"),
    ("a queue of a megabyte", "queue => repeat('q', 1000000)", VALID, "A queue name has 1 to 63"),
    ("a queue with a blank", "queue => 'a b'", VALID, "A queue name has 1 to 63"),
    ("a queue with a newline", "queue => E'a\\n'", VALID, "A queue name has 1 to 63"),
    ("a queue with a bracket", "queue => 'a{b}'", VALID, "A queue name has 1 to 63"),
    ("a queue with a letter of another script", "queue => 'ä'", VALID, "A queue name has 1 to 63"),
    ("a priority above all", "priority => 2147483648", VALID, "priority must be a whole number"),
    ("a priority below all", "priority => -2147483649", VALID, "priority must be a whole number"),
    ("a priority beyond bigint", "priority => 9223372036854775808", "42883", "does not exist"),
    ("a priority that is a word", "priority => 'high'", "22P02", "bigint"),
    ("a placement that there is not", "placement => 'moon'", VALID, "placement must be worker or pod, not 'moon'"),
    ("a placement without a name", "placement => ''", VALID, "placement must be worker or pod"),
    ("a placement of a megabyte", "placement => repeat('x', 1000000)", VALID, "placement must be worker or pod"),
    ("a placement in capitals", "placement => 'POD'", VALID, "placement must be worker or pod"),
    ("a cluster for a worker", "cluster => 'gpu'", VALID, "A cluster is for tasks with the placement pod"),
    ("a cluster for the placement worker", "cluster => 'gpu', placement => 'worker'", VALID, "A cluster is for tasks with"),
    ("a cluster of 64 letters", f"{POD}, cluster => repeat('c', 64)", VALID, "A cluster name has 1 to 63"),
    ("a cluster longer than an index takes", f"{POD}, cluster => repeat(md5(random()::text), 1000)", VALID, "A cluster name has"),
    (
        "the same for later",
        f"{POD}, cluster => repeat(md5(random()::text), 1000), run_at => '2100-01-01'",
        VALID,
        "A cluster name has",
    ),
    ("a cluster with a blank", f"{POD}, cluster => 'a b'", VALID, "A cluster name has 1 to 63"),
    ("a cluster with a quote", f"{POD}, cluster => 'a\"b'", VALID, "A cluster name has 1 to 63"),
    ("a cluster that begins with a dot", f"{POD}, cluster => '.a'", VALID, "A cluster name has 1 to 63"),
    ("a unique key without a letter", "unique_key => ''", VALID, "A unique_key has 1 to 512 bytes"),
    ("a unique key of 513 bytes", "unique_key => repeat('k', 513)", VALID, "A unique_key has 1 to 512 bytes"),
    ("a unique key of 171 letters of three bytes", "unique_key => repeat('€', 171)", VALID, "A unique_key has 1 to 512 bytes"),
    (
        "a key for a thousand years",
        "unique_key => 'k', unique_for => '1000 years'",
        VALID,
        "unique_for must be more than 0 seconds and at",
    ),
    ("a key for 367 days", "unique_key => 'k', unique_for => '367 days'", VALID, "at most a year"),
    ("a key for longer than PostgreSQL counts", "unique_key => 'k', unique_for => '178000000 years'", VALID, "at most a year"),
    (
        "a key for more seconds than PostgreSQL counts",
        "unique_key => 'k', unique_for => '9223372036855.0'",
        "22015",
        "out of range",
    ),
    ("a key for no time", "unique_key => 'k', unique_for => '0 seconds'", VALID, "unique_for must be more than 0 seconds"),
    ("a key for less than no time", "unique_key => 'k', unique_for => '-1 day'", VALID, "unique_for must be more than 0 seconds"),
    ("a period without a key", "unique_for => '1 day'", VALID, "there is no unique_key"),
    ("a period that is none", "unique_key => 'k', unique_for => 'a while'", "22007", "interval"),
    ("a timeout of nothing", "timeout => 0", VALID, "timeout must be more than 0 seconds and at most a year"),
    ("a timeout below zero", "timeout => -1", VALID, "timeout must be more than 0"),
    ("a timeout of two years", "timeout => interval '2 years'", VALID, "at most a year"),
    ("a timeout of an endless number", "timeout => 'infinity'::float8", VALID, "seconds"),
    ("a timeout that is no number", "timeout => 'NaN'::float8", VALID, "seconds"),
    ("a timeout in words", "timeout => 'soon'", VALID, "'soon' is neither a number of seconds nor an interval"),
    ("a timeout of 5,000 digits", "timeout => '1e5000'", VALID, "is neither a number of seconds nor an interval"),
    (
        "a timeout of a megabyte",
        "timeout => repeat('1', 1000000)::bpchar",
        VALID,
        "is neither a number of seconds nor an interval",
    ),
    ("a timeout with two points", "timeout => '1.2.3'", VALID, "is neither a number of seconds nor an interval"),
    ("an interval below zero", "timeout => interval '-1 minute'", VALID, "timeout must be more than 0"),
    ("no attempt", "max_attempts => 0", VALID, "max_attempts must be 1 to 1000"),
    ("fewer than no attempt", "max_attempts => -1", VALID, "max_attempts must be 1 to 1000"),
    ("1,001 attempts", "max_attempts => 1001", VALID, "max_attempts must be 1 to 1000"),
    ("attempts beyond int", "max_attempts => 3000000000", VALID, "max_attempts must be 1 to 1000"),
    ("a back-off below zero", "backoff_base => -1", VALID, "back-off needs 0 <= backoff_base <= backoff_cap"),
    ("a cap below zero", "backoff_cap => -1", VALID, "back-off needs"),
    ("a back-off above its cap", "backoff_base => 9, backoff_cap => 8", VALID, "back-off needs"),
    ("a cap of two years", "backoff_cap => 63072000", VALID, "back-off needs"),
    ("a back-off without end", "backoff_base => 'infinity'::float8", VALID, "seconds"),
    ("a back-off in words", "timeout => NULL, backoff_base => 'later'", VALID, "neither a number of seconds nor an interval"),
    ("an at_most_once that is neither", "at_most_once => 'perhaps'", "22P02", "boolean"),
    ("an argument that there is not", "prioritty => 3", "42883", "does not exist"),
    ("args of a type without JSON", "args => 3", "42883", "does not exist"),
]
OPERATORS: list[tuple[str, str]] = [
    ("none", "NULL"),
    ("an empty one", "''"),
    ("one with a blank", "'no such'"),
    ("one of 129 letters", "repeat('x', 129)"),
    ("one of a megabyte", "repeat('x', 1000000)"),
    ("one that begins with a dash", "'-x'"),
    ("one with a slash", "'a/b'"),
    ("one with a newline at its end", "E'bash\\n'"),
    ("one with an escape", "E'ba\\x1bsh'"),
]
RECORDS: list[tuple[str, str, str, str]] = [
    ("an object instead of an array", "{}", VALID, "must be a JSON array of objects"),
    ("a number instead of an array", "3", VALID, "must be a JSON array of objects"),
    ("null instead of an array", "null", VALID, "must be a JSON array of objects"),
    ("no JSON", "[{]", "22P02", "json"),
    ("an array of numbers", "[1]", VALID, "Task 1 of 1: A task must be a JSON object, not '1'"),
    ("an array of arrays", "[[]]", VALID, "A task must be a JSON object"),
    (
        "a null among tasks",
        '[{"operator": "a", "args": {}}, null]',
        VALID,
        "Task 2 of 2: A task must be a JSON object, not 'null'",
    ),
    (
        "a misspelt key",
        '[{"operator": "a", "args": {}, "prioritty": 3}]',
        VALID,
        "There is no task option 'prioritty'; known: operator, args",
    ),
    ("a key in capitals", '[{"operator": "a", "args": {}, "Queue": "x"}]', VALID, "There is no task option 'Queue'"),
    ("a key of a newer version", '[{"operator": "a", "args": {}, "after": [1]}]', VALID, "There is no task option 'after'"),
    ("an empty object", "[{}]", VALID, "The operator must be a name"),
    ("no args", '[{"operator": "a"}]', VALID, "The args must be a JSON object"),
    ("a priority in words", '[{"operator": "a", "args": {}, "priority": "high"}]', "22P02", "bigint"),
    ("half a priority", '[{"operator": "a", "args": {}, "priority": 1.5}]', "22P02", "bigint"),
    ("a priority of true", '[{"operator": "a", "args": {}, "priority": true}]', "22P02", "bigint"),
    (
        "a priority of 5,000 digits",
        '[{"operator": "a", "args": {}, "priority": 1e5000}]',
        "22003",
        "out of range",
    ),
    ("an array of attempts", '[{"operator": "a", "args": {}, "max_attempts": [3]}]', "22P02", "bigint"),
    ("an object for a timeout", '[{"operator": "a", "args": {}, "timeout": {"s": 3}}]', "22P02", "double precision"),
    ("a timeout of 5,000 digits", '[{"operator": "a", "args": {}, "timeout": 1e5000}]', "22003", "out of range"),
    ("an object for a queue", '[{"operator": "a", "args": {}, "queue": {}}]', VALID, "A queue name has 1 to 63"),
    ("a number for a run_at", '[{"operator": "a", "args": {}, "run_at": 1764489600}]', "22008", "out of range"),
    ("an object for at_most_once", '[{"operator": "a", "args": {}, "at_most_once": {}}]', "22P02", "boolean"),
    (
        "more seconds for a period than PostgreSQL counts",
        '[{"operator": "a", "args": {}, "unique_key": "k", "unique_for": "9223372036855.0"}]',
        "22015",
        "out of range",
    ),
    ("an object for a period", '[{"operator": "a", "args": {}, "unique_key": "k", "unique_for": {}}]', "22007", "interval"),
]


@pytest.fixture
def raw(raw_connect: Callable[[], Any]) -> Any:
    """A plain connection, as a producer has."""
    connection = raw_connect()
    connection.autocommit = True
    return connection.cursor()


def refused(raw: Any, database: Database, sql: str, parameters: tuple[object, ...] | None, code: str, sentence: str) -> None:
    """The statement is refused so, in one line, and there is no task, no key and no queue more than before."""
    with pytest.raises(psycopg2.Error) as told:
        raw.execute(sql, parameters)
    message = told.value.diag.message_primary
    assert (told.value.pgcode, sentence in message) == (code, True), (told.value.pgcode, message)
    assert "\n" not in message
    assert len(message) < 500 or code != VALID  # PostgreSQL's own are as long as the value
    counts = (
        "SELECT (SELECT count(*) FROM halfstep.task) + (SELECT count(*) FROM halfstep.unique_key) AS things,"
        " (SELECT count(*) FROM halfstep.queue) AS queues"
    )
    assert [*database.execute(counts)[0].values()] == [0, 1]


@pytest.mark.parametrize(("arguments", "code", "sentence"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_task_is_refused_for(raw: Any, database: Database, arguments: str, code: str, sentence: str) -> None:
    refused(raw, database, f"SELECT halfstep.enqueue('bash', {arguments})" if "args =>" in arguments else
            f"SELECT halfstep.enqueue('bash', '{{}}', {arguments})", None, code, sentence)  # fmt: skip


@pytest.mark.parametrize("operator", [row[1] for row in OPERATORS], ids=[row[0] for row in OPERATORS])
def test_an_operator_is_refused_that_is(raw: Any, database: Database, operator: str) -> None:
    refused(raw, database, f"SELECT halfstep.enqueue({operator})", None, VALID, "The operator must be a name")


@pytest.mark.parametrize(("text", "code", "sentence"), [row[1:] for row in RECORDS], ids=[row[0] for row in RECORDS])
@pytest.mark.parametrize("kind", ["jsonb", "json", "text"])
def test_an_array_is_refused_that_has(raw: Any, database: Database, text: str, code: str, sentence: str, kind: str) -> None:
    refused(raw, database, f"SELECT halfstep.enqueue_many(%s::{kind})", (text,), code, sentence)


def test_null_instead_of_an_array_is_refused(raw: Any, database: Database) -> None:
    refused(raw, database, "SELECT halfstep.enqueue_many(NULL)", None, VALID, "must be a JSON array of objects")


KEPT = [
    "0.1", "0.30000000000000004", "1764489600", "1764489600.123456", "-1764489600.5", "9007199254740993", "1e300", "1e-300",
    "1e308", "1.7976931348623157e308", "2.2250738585072014e-308",
    "123456789012345678901234567890", "1.7976931348623e307", "2.2250738585072014e-300", "0", "-0", "3.0", "1.10", "100000000.5",
    "99999999.9999999",
]  # fmt: skip


@pytest.mark.parametrize("number", KEPT)
def test_a_number_that_every_reader_gets_as_it_was_is_taken(database: Database, raw: Any, reports: Any, number: str) -> None:
    raw.execute("SELECT halfstep.enqueue('bash', %s::jsonb)", (f'{{"x": {number}}}',))
    (id,) = raw.fetchone()
    stored = database.execute("SELECT (args -> 'x')::numeric = %(n)s::numeric AS same FROM halfstep.task", {"n": number})
    assert stored[0]["same"]
    read = reports.show(id)["args"]["x"]
    assert database.execute("SELECT %(read)s::numeric = %(given)s::numeric AS same", {"read": repr(read), "given": number})[0][
        "same"
    ]


@pytest.mark.parametrize("levels", [1, 62, 63])
def test_args_of_up_to_64_levels_are_taken(raw: Any, reports: Any, levels: int) -> None:
    raw.execute(f"SELECT halfstep.enqueue('bash', {nested(levels)})")
    assert reports.show(raw.fetchone()[0])["args"]["x"]
