"""Enqueueing, before the database is asked."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep import NewTask
from halfstep.errors import InvalidTask

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
