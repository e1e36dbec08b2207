"""What is wrong with a call of ours that matches no function: the server only says that there is none (SQLSTATE 42883)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class TypedArgument(NamedTuple):
    """advice: the type that always fits. taken: all types that some form of the function takes."""

    advice: str
    taken: frozenset[str]


_TEXT = frozenset({"text", "character varying", "character", "name"})
_WHOLE = frozenset({"integer", "smallint", "bigint"})
_NUMBER = _WHOLE | {"double precision", "real", "numeric"}
_MOMENT = frozenset({"timestamp with time zone", "timestamp without time zone", "date"})
_PERIOD = frozenset({"interval", "time without time zone"})

_NAME = TypedArgument("text", _TEXT)
_JSON = TypedArgument("jsonb", _TEXT | {"jsonb", "json"})
_COUNT = TypedArgument("integer", _WHOLE)
_DURATION = TypedArgument("double precision", _NUMBER | _TEXT | {"interval", "halfstep.duration"})

_TASK = {
    "operator": _NAME, "args": _JSON, "queue": _NAME, "priority": _COUNT,
    "run_at": TypedArgument("timestamp with time zone", _MOMENT), "unique_key": _NAME,
    "unique_for": TypedArgument("interval", _PERIOD), "placement": _NAME, "cluster": _NAME, "timeout": _DURATION,
    "max_attempts": _COUNT, "backoff_base": _DURATION, "backoff_cap": _DURATION,
    "at_most_once": TypedArgument("boolean", frozenset({"boolean"})), "labels": _JSON,
}  # fmt: skip
FUNCTIONS: Mapping[str, Mapping[str, TypedArgument]] = {
    "enqueue": _TASK,
    "enqueue_many": {"tasks": _JSON},
}
"""Arguments of the functions for producers, in their order."""

_ALIKE = (("args", "labels"), ("timeout", "backoff_base", "backoff_cap"))
"""Arguments that no form of `enqueue` takes of two types."""
_MISSING = re.compile(r"function (?:halfstep\.)?(\w+)\((.*)\) does not exist")


def mistakes(message: str) -> str | None:
    """What to change in the call that this message is about; None: nothing, so it is the function that is missing.

    message: the server's, in English, such as `function halfstep.enqueue(unknown, json, queue => unknown) does not exist`.
    """
    told = _MISSING.search(message)
    expected = FUNCTIONS.get(told[1]) if told else None
    if told is None or expected is None:
        return None
    given = [part.rpartition(" => ") for part in told[2].split(", ") if part]
    if len(given) > len(expected):
        return f"it takes no more than {', '.join(expected)}"
    types = {name or list(expected)[n]: kind for n, (name, _, kind) in enumerate(given) if kind != "unknown" or name}
    unknown = [name for name in types if name not in expected]
    if unknown:
        return f"it has no argument {', '.join(unknown)}; there are {', '.join(expected)}"
    wrong = [name for name, kind in types.items() if kind not in expected[name].taken | {"unknown"}] or _mixed(types)
    return f"cast {', '.join(f'{name} to {expected[name].advice}' for name in wrong)}" if wrong else None


def _mixed(types: Mapping[str, str]) -> list[str]:
    """Arguments of one kind whose types differ."""
    for names in _ALIKE:
        given = {name: _sort(types[name]) for name in names if types.get(name, "unknown") != "unknown"}
        if len({*given.values()}) > 1:
            return [*given]
    return []


def _sort(kind: str) -> str:
    return "text" if kind in _TEXT else "number" if kind in _NUMBER else kind
