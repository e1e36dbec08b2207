"""Enqueueing, before the database is asked."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep import NewTask
from halfstep.callers import in_style
from halfstep.errors import InvalidTask
from halfstep.producer import chunks_of

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


def has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(has_nul, value))
    return isinstance(value, str) and "\0" in value


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), plain, max_size=4))
def test_args_go_out_as_they_are_or_are_refused_for_a_nul(args: dict[str, Any]) -> None:
    task = NewTask("bash", args, {})
    if has_nul(args):
        with pytest.raises(InvalidTask, match="NUL"):
            task.as_json()
    else:
        assert json.loads(task.as_json()) == {"operator": "bash", "args": args}


def test_a_backslash_that_only_looks_like_a_nul_is_fine() -> None:
    args = {"x": "\\u0000"}
    assert json.loads(NewTask("bash", args, {}).as_json())["args"] == args


@given(st.lists(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), plain, max_size=2), max_size=5))
def test_a_call_is_the_same_in_ascii_and_in_chunks_of_any_size(args: list[dict[str, Any]]) -> None:
    records = [json.dumps({"args": one}, ensure_ascii=False) for one in args]
    for together in (True, False):
        chunks = list(chunks_of(records, together=together))
        assert [task["args"] for chunk in chunks for task in json.loads(chunk.text)] == args
        assert [json.loads(chunk.in_ascii.text) for chunk in chunks] == [json.loads(chunk.text) for chunk in chunks]
        assert all(chunk.in_ascii.text.isascii() for chunk in chunks)


@pytest.mark.parametrize(
    ("style", "text", "values"),
    [
        ("pyformat", "SELECT %(b)s::jsonb, %(a)s, '%%', %(b)s", {"a": 1, "b": 2}),
        ("format", "SELECT %s::jsonb, %s, '%', %s", (2, 1, 2)),
        ("qmark", "SELECT ?::jsonb, ?, '%', ?", (2, 1, 2)),
        ("numeric", "SELECT :1::jsonb, :2, '%', :3", (2, 1, 2)),
        ("numeric_dollar", "SELECT $1::jsonb, $2, '%', $3", (2, 1, 2)),
        ("named", "SELECT :b::jsonb, :a, '%', :b", {"a": 1, "b": 2}),
    ],
)
def test_a_statement_is_written_in_the_style_of_each_driver(style: str, text: str, values: Any) -> None:
    assert in_style("SELECT %(b)s::jsonb, %(a)s, '%%', %(b)s", {"a": 1, "b": 2}, style) == (text, values)


def test_times_and_periods_are_written_for_postgresql() -> None:
    moment = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    told = json.loads(NewTask("bash", {}, {"run_at": moment, "unique_for": timedelta(minutes=2)}).as_json())
    assert (told["run_at"], told["unique_for"]) == ("2030-01-01T12:00:00+02:00", "120.0 seconds")
    assert json.loads(NewTask("bash", {}, {"unique_for": 5}).as_json())["unique_for"] == "5.0 seconds"


def test_an_option_that_is_none_is_left_to_its_default() -> None:
    assert json.loads(NewTask("bash", {}, {"run_at": None, "timeout": None, "labels": None}).as_json()) == {
        "operator": "bash",
        "args": {},
    }
