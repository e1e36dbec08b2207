"""Rows of a database as JSON, read no further than the limit of a result."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from halfstep_worker.operators.base import OperatorFailed, OperatorSettings


def rows_as_json(columns: Sequence[str], rows: Iterable[Sequence[Any]], settings: OperatorSettings) -> list[dict[str, Any]]:
    """One object a row. OperatorFailed: over the limit, two columns of one name, or a value that JSON doesn't have."""
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise OperatorFailed(f"Two columns are named '{twice[0]}'; name them apart with AS.", reason="result")
    kept: list[dict[str, Any]] = []
    size = len('{"rows":[]}')
    for row in rows:
        kept.append({column: as_json(column, value) for column, value in zip(columns, row, strict=True)})
        size += len(json.dumps(kept[-1], ensure_ascii=False, separators=(",", ":")).encode()) + 1
        if size > settings.result_bytes:
            raise settings.too_large("select less, or write it to a table")
    return kept


def as_json(column: str, value: object) -> object:
    """A value as JSON: dates in ISO 8601, numerics and UUIDs as strings, intervals in seconds."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _finite(column, value)
        case Decimal() | UUID():
            return str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {str(key): as_json(column, item) for key, item in value.items()}
        case list() | tuple():
            return [as_json(column, item) for item in value]
        case bytes() | bytearray() | memoryview():
            raise OperatorFailed(f"Column '{column}' is binary; encode it, say by encode({column}, 'base64').", reason="result")
        case _:
            kind = type(value).__name__
            raise OperatorFailed(f"Column '{column}' is a {kind}, which JSON doesn't have; cast it to text.", reason="result")


def _finite(column: str, value: float) -> float:
    if not math.isfinite(value):
        raise OperatorFailed(f"Column '{column}' holds {value}, which JSON doesn't have; cast it to text.", reason="result")
    return value
