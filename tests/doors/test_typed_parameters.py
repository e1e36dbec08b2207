"""Drivers send parameters of many types; each finds a function that takes it, and the task is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from halfstep.database import Database

NAMED = "queue => 'etl', priority => 3"
PLACED = "'etl', 3"
# What the args and the labels are typed as, where the queue stands, the timeout of 90 s and the back-off of 2.5 s.
CALLS: dict[str, tuple[str, str, str, str]] = {
    "literals": ("", PLACED, "90", "2.5"),
    "untyped literals": ("", "'etl', '3'", "'90'", "'2.5'"),
    "jsonb": ("::jsonb", NAMED, "90", "2.5"),
    "jsonb and untyped literals": ("::jsonb", "queue => 'etl', priority => '3'", "'90'", "'2.5'"),
    "json": ("::json", NAMED, "90", "2.5"),
    "json and untyped literals": ("::json", "queue => 'etl', priority => '3'", "'90'", "'2.5'"),
    "varchar": ("::varchar", "'etl'::varchar, 3", "90", "2.5"),
    "text": ("::text", "'etl'::text, 3", "90::float8", "2.5::numeric"),
    "bigint": ("", "'etl', 3::bigint", "90::bigint", "2.5"),
    "smallint": ("", "'etl', 3::smallint", "90::smallint", "2.5::real"),
    "intervals": ("", NAMED, "interval '90 s'", "interval '2.5 s'"),
    "jsonb and intervals": ("::jsonb", NAMED, "interval '00:01:30'", "interval '2.5 s'"),
    "json and intervals": ("::json", NAMED, "interval 'PT1M30S'", "interval '2.5 s'"),
    "text and intervals": ("::text", NAMED, "interval '90 s'", "interval '2.5 s'"),
    "intervals in words": ("", NAMED, "'90 seconds'", "'00:00:02.5'"),
    "varchar in words": ("::varchar", NAMED, "'PT90S'::varchar", "'2.5'::varchar"),
}
ARGUMENTS = (
    "queue", "priority", "run_at", "unique_key", "unique_for", "placement", "cluster", "timeout", "max_attempts", "backoff_base",
    "backoff_cap", "at_most_once", "labels",
)  # fmt: skip
NULLS = ", ".join(f"{name} => NULL" for name in ARGUMENTS)


@pytest.fixture
def raw(raw_connect: Callable[[], Any]) -> Any:
    """A plain connection, as a producer has."""
    connection = raw_connect()
    connection.autocommit = True
    return connection.cursor()


@pytest.mark.parametrize(("kind", "queue", "timeout", "backoff"), CALLS.values(), ids=CALLS.keys())
def test_a_task_is_the_same_by(raw: Any, reports: Any, kind: str, queue: str, timeout: str, backoff: str) -> None:
    args, labels = f"""'{{"command": "true"}}'{kind}""", f"'{{}}'{kind}"
    raw.execute(
        f"SELECT halfstep.enqueue('bash', {args}, {queue}, timeout => {timeout}, backoff_base => {backoff}, labels => {labels})"
    )
    task = reports.show(raw.fetchone()[0])
    assert (task["args"], task["queue"], task["priority"]) == ({"command": "true"}, "etl", 3)
    assert (task["timeout"], task["backoff_base"], task["backoff_cap"], task["labels"]) == (90, 2.5, 300, {})


@pytest.mark.parametrize("args", ["", "args => '{}',", "args => '{}'::jsonb,", "args => '{}'::json,", "args => '{}'::text,"])
def test_nulls_of_all_arguments_are_the_defaults(raw: Any, reports: Any, args: str) -> None:
    raw.execute(f"SELECT halfstep.enqueue('bash', {args} {NULLS})" if args else "SELECT halfstep.enqueue('bash')")
    task = reports.show(raw.fetchone()[0])
    assert (task["queue"], task["priority"], task["placement"], task["cluster"], task["args"]) == ("default", 0, "worker", "", {})
    assert (task["timeout"], task["backoff_base"], task["backoff_cap"], task["max_attempts"]) == (None, 1, 300, 3)


@pytest.mark.parametrize("types", ["varchar, varchar, varchar", "text, text, text", "unknown, unknown, unknown"])
def test_a_third_argument_without_a_name_is_the_queue(raw: Any, reports: Any, types: str) -> None:
    raw.execute(f"PREPARE p ({types}) AS SELECT halfstep.enqueue($1, $2, $3)")
    raw.execute("EXECUTE p ('bash', '{}', 'etl')")
    assert reports.show(raw.fetchone()[0])["queue"] == "etl"


@pytest.mark.parametrize(
    "arguments",
    [
        "'bash', '{}', 'etl', '5'", "'bash', '{}', 'etl', 5", "'bash', '{}'::jsonb, 'etl', '5'", "'bash', '{}'::json, 'etl', '5'",
        "'bash', '{}', 'etl', '5', NULL, NULL, NULL, 'worker', '', NULL", "'bash', '{}', 'etl'::char(5), 5",
        "'bash', '{}', 'etl'::name, 5",
        "'bash', '{}'::jsonb, 'etl', '5', NULL, 'k', NULL, NULL, NULL, 2.5",
    ],
)  # fmt: skip
def test_arguments_without_names_are_those_of_before(raw: Any, reports: Any, arguments: str) -> None:
    raw.execute(f"SELECT halfstep.enqueue({arguments})")
    task = reports.show(raw.fetchone()[0])
    assert (task["queue"], task["priority"], task["backoff_cap"]) == ("etl", 5, 300)


@pytest.mark.parametrize("queue", ["'42'::char(2)", "'42'::varchar", "'42'::text", "'42'::name", "'42'"])
def test_a_queue_of_any_kind_of_text_is_no_timeout(raw: Any, reports: Any, queue: str) -> None:
    raw.execute(f"SELECT halfstep.enqueue('bash', '{{}}'::jsonb, {queue})")
    task = reports.show(raw.fetchone()[0])
    assert (task["queue"], task["timeout"]) == ("42", None)


@pytest.mark.parametrize("year", ["'1 year'", "interval '1 year'", "interval '12 months'", "31622400"])
def test_a_year_is_a_timeout_and_a_back_off(raw: Any, database: Database, year: str) -> None:
    raw.execute(f"SELECT halfstep.enqueue('bash', '{{}}', timeout => {year}, backoff_cap => {year})")
    assert database.execute("SELECT timeout = backoff_cap AS same FROM halfstep.task")[0]["same"]


@pytest.mark.parametrize("kind", ["jsonb", "json", "text", "varchar", "unknown"])
def test_an_array_of_tasks_may_have_the_type(raw: Any, database: Database, kind: str) -> None:
    raw.execute(f"PREPARE p ({kind}) AS SELECT halfstep.enqueue_many($1)")
    raw.execute("""EXECUTE p ('[{"operator": "bash", "args": {}, "timeout": 300, "backoff_base": 0.5}]')""")
    assert raw.fetchone()[0] == [1]
    assert [*database.execute("SELECT timeout, backoff_base FROM halfstep.task")[0].values()] == [300, 0.5]


SETTINGS = [
    "extra_float_digits = -15", "extra_float_digits = 0", "intervalstyle = 'sql_standard'", "intervalstyle = 'iso_8601'",
    "datestyle = 'SQL, DMY'", "timezone = 'Pacific/Kiritimati'", "lc_numeric = 'C'", "bytea_output = 'escape'",
    "standard_conforming_strings = off", "quote_all_identifiers = on", "search_path = pg_temp", "xmloption = document",
]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_task_is_the_same_whatever_the_caller_has_set(raw: Any, database: Database, setting: str) -> None:
    raw.execute(f"SET {setting}")
    raw.execute(
        "SELECT halfstep.enqueue('bash', '{}', timeout => 1234.56789012345::float8, backoff_base => 0.1::float8,"
        " unique_key => 'k', run_at => '2030-05-01 09:00:00.123456+02'::timestamptz,"
        " unique_for => interval '1 day 2 hours -3 minutes')"
    )
    stored = database.execute("SELECT timeout, backoff_base, run_at = '2030-05-01T07:00:00.123456Z' AS moment FROM halfstep.task")
    assert [*stored[0].values()] == [1234.56789012345, 0.1, True]
    period = "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds FROM halfstep.unique_key"
    assert 93_300 < database.execute(period)[0]["seconds"] <= 93_420
    for timeout in ("'1234.56789'", "interval '1234.56789 s'", "'1234.56789 s'"):
        raw.execute(f"SELECT halfstep.enqueue('bash', '{{}}', timeout => {timeout})")
    others = database.execute("SELECT DISTINCT timeout FROM halfstep.task WHERE id > 1")
    assert [row["timeout"] for row in others] == [1234.56789]
