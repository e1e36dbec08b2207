"""What is wrong with a call of ours that matches no function: the server only says that there is none (SQLSTATE 42883)."""

from __future__ import annotations

import re

_TASK = {
    "operator": "text", "args": "jsonb", "queue": "text", "priority": "integer", "run_at": "timestamp with time zone",
    "unique_key": "text", "unique_for": "interval", "placement": "text", "cluster": "text", "timeout": "double precision",
    "max_attempts": "integer", "backoff_base": "double precision", "backoff_cap": "double precision", "at_most_once": "boolean",
    "labels": "jsonb",
}  # fmt: skip
FUNCTIONS = {"enqueue": _TASK, "enqueue_many": {"tasks": "jsonb"}}
"""Arguments and types of the functions for producers, in their order."""

_ALIKE = {
    "text": {"character varying", "character", "name"},
    "integer": {"smallint"},
    "double precision": {"real", "numeric", "bigint", "integer", "smallint"},
    "timestamp with time zone": {"timestamp without time zone", "date"},
    "interval": {"time without time zone"},
}
"""What PostgreSQL casts by itself."""
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
        return f"it takes at most {len(expected)} arguments"
    named = [(name or list(expected)[n], kind) for n, (name, _, kind) in enumerate(given)]
    unknown = [name for name, _ in named if name not in expected]
    if unknown:
        return f"it has no argument {', '.join(unknown)}; there are {', '.join(expected)}"
    casts = [
        f"{name} to {expected[name]}"
        for name, kind in named
        if kind not in {"unknown", expected[name], *_ALIKE.get(expected[name], ())}
    ]
    return f"cast {', '.join(casts)}" if casts else None
