"""Whatever anybody sends is refused with a documented code, or stored and read back as it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halfstep.database import Database
from halfstep.reports import Reports

DOCUMENTED = {"HS001", "HS002", "22P02", "22003", "22007", "22008", "22015", "22P05", "54000", "54001"}
"""docs/reference/sql.md."""
NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.builds("{}e{}".format, st.integers(-99, 99), st.integers(-400, 400)),
).map(lambda number: _Raw(str(number)))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=40)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)),
    max_leaves=12,
)
DEEP = st.integers(1, 90).map(lambda levels: _Raw("[" * levels + "]" * levels))
OBJECTS = st.dictionaries(st.text(max_size=10), st.one_of(VALUES, DEEP), max_size=4)
ODD_MOMENTS = ("now", "infinity", "epoch", "4713-01-01 BC", "allballs")
MOMENTS = st.one_of(st.datetimes().map(str), st.text(max_size=20), st.sampled_from(ODD_MOMENTS))
RECORDS = st.fixed_dictionaries(
    {"operator": st.one_of(st.just("bash"), st.text(max_size=20)), "args": st.one_of(OBJECTS, VALUES)},
    optional={
        "queue": st.one_of(st.sampled_from(["default", "a"]), VALUES), "priority": VALUES, "run_at": st.one_of(MOMENTS, VALUES),
        "unique_key": VALUES, "unique_for": st.one_of(st.just("1 day"), VALUES), "placement": st.one_of(st.just("pod"), VALUES),
        "cluster": VALUES, "timeout": VALUES, "max_attempts": VALUES, "backoff_base": VALUES, "backoff_cap": VALUES,
        "at_most_once": VALUES, "labels": st.one_of(OBJECTS, VALUES),
    },
)  # fmt: skip


class _Raw(str):
    """JSON text that stands for itself: Python would write some numbers otherwise."""

    __slots__ = ()


def written(value: Any) -> str:
    """JSON with the raw parts as they are."""
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {written(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


@pytest.fixture
def door(raw_connect: Callable[[], Any]) -> Iterator[Any]:
    with closing(raw_connect()) as connection:
        connection.autocommit = True
        yield connection.cursor()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(record=RECORDS)
def test_a_task_is_refused_with_a_documented_code_or_read_as_it_was_sent(
    door: Any, database: Database, record: dict[str, Any]
) -> None:
    text = written(record)
    before = database.execute("SELECT count(*) AS n FROM halfstep.task")[0]["n"]
    refused, id = _send(door, f"[{text}]")
    if refused is not None:
        assert refused.pgcode in DOCUMENTED, refused
        assert "\n" not in str(refused.diag.message_primary)
        assert database.execute("SELECT count(*) AS n FROM halfstep.task")[0]["n"] == before
        return
    task, sent = Reports(database).show(id), json.loads(text)
    assert same(task["args"], sent["args"])
    assert same(task["labels"], sent.get("labels"))
    json.dumps([task, Reports(database).tasks()], allow_nan=False)


def _send(door: Any, text: str) -> tuple[psycopg2.Error | None, int]:
    try:
        door.execute("SELECT (halfstep.enqueue_many(%s::jsonb))[1]", (text,))
    except psycopg2.Error as error:
        return error, 0
    return None, door.fetchone()[0]


def same(read: Any, sent: Any) -> bool:
    """As any reader of JSON has it: a double that PostgreSQL writes without an exponent is a whole number to Python."""
    if isinstance(sent, bool) or not isinstance(sent, int | float):
        if isinstance(sent, dict):
            return isinstance(read, dict) and read.keys() == sent.keys() and all(same(read[name], sent[name]) for name in sent)
        if isinstance(sent, list):
            return isinstance(read, list) and len(read) == len(sent) and all(map(same, read, sent))
        return bool(read == sent) and type(read) is type(sent)
    return type(read) in (int, float) and (read == sent or float(read) == float(sent))
