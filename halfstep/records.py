"""What a statement is given in one parameter: a JSON array, a record for each thing that it writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from halfstep.errors import RefusedValue

_UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError)


def records(told: Iterable[Mapping[str, Any]]) -> str:
    """Raises RefusedValue for what is no JSON, as the server would: NaN, numbers that can't be written down, foreign types.

    Characters stand for themselves: a database takes them in its own encoding, and not as escapes. The iterable may raise
    what `json.dumps` does.
    """
    try:
        return json.dumps(list(told), ensure_ascii=False, allow_nan=False)
    except _UNWRITABLE as error:
        raise RefusedValue(f"It can't be written as JSON: {error}.") from error


def array(texts: Iterable[str]) -> str:
    """The same of records that are JSON texts already."""
    try:
        return "[" + ",".join(texts) + "]"
    except _UNWRITABLE as error:
        raise RefusedValue(f"It can't be written as JSON: {error}.") from error
