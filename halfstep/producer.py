"""Enqueueing, in the caller's own transaction or on a connection of our own. One door: SQL's `halfstep.enqueue_many`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypedDict, Unpack

from halfstep.errors import InvalidTask, RefusedValue

CHUNK = 5_000
_ENQUEUE = "SELECT halfstep.enqueue_many(%(tasks)s::jsonb)"
_PLACE = re.compile(r"(?:Task (\d+) of \d+: )?(.*)", re.DOTALL)  # in the chunk, as the SQL function tells it


class Options(TypedDict, total=False):
    """Everything about a task but its operator and args. Times are seconds unless they are datetime or timedelta.

    queue ("default"); priority (0; higher first); run_at (now); unique_key with unique_for (while the task lives);
    placement ("worker" or "pod"); cluster; timeout (none); max_attempts (3); at_most_once (False); labels;
    backoff_base (1) and backoff_cap (300).
    """

    queue: str
    priority: int
    run_at: datetime | str | None
    unique_key: str | None
    unique_for: timedelta | float | None
    placement: str
    cluster: str
    timeout: float | None
    max_attempts: int
    backoff_base: float
    backoff_cap: float
    at_most_once: bool
    labels: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be: an operator, its args (a JSON object) and the options that differ from the defaults."""

    operator: str
    args: Mapping[str, Any]
    options: Options

    def as_json(self) -> str:
        """The record that `halfstep.enqueue_many` reads. Raises InvalidTask for what JSON or PostgreSQL can't hold."""
        unknown = set(self.options) - set(Options.__annotations__)
        if unknown:
            raise InvalidTask(
                f"There is no task option {', '.join(sorted(unknown))}; known: {', '.join(Options.__annotations__)}."
            )
        if not isinstance(self.args, Mapping):
            raise InvalidTask(f"The args must be a JSON object (a dict), not {type(self.args).__name__}.")
        options = {name: _plain(name, value) for name, value in self.options.items() if value is not None}
        return _storable({"operator": self.operator, "args": dict(self.args)} | options)


def enqueue(connection: Any, operator: str, args: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> int:
    """Enqueues one task in the caller's transaction and returns its id.

    connection: a SQLAlchemy Connection or Session, a psycopg connection, or None for one of our own (HALFSTEP_DATABASE_URL).
    Raises InvalidTask, NotPermitted, DatabaseUnavailable. A held unique key gives the id of the task that holds it.
    """
    return enqueue_many(connection, [NewTask(operator, {} if args is None else args, options)])[0]


def enqueue_many(connection: Any, tasks: Iterable[NewTask]) -> list[int]:
    """Enqueues many tasks in the caller's transaction (or in one of our own) and returns their ids in order. All or none."""
    from halfstep.database import owned_connection  # the driver takes a while to import: only who enqueues waits for it

    if connection is not None:
        return _enqueue_chunks(connection, tasks)
    with owned_connection(None) as database, database.transaction():
        return _enqueue_chunks(database, tasks)


def _enqueue_chunks(connection: Any, tasks: Iterable[NewTask]) -> list[int]:
    ids: list[int] = []
    remaining = iter(tasks)
    while chunk := list(islice(remaining, CHUNK)):
        many = len(ids) + len(chunk) > 1
        text = ",".join(_as_json(task, number=len(ids) + n if many else None) for n, task in enumerate(chunk, start=1))
        ids += _enqueue_chunk(connection, f"[{text}]", before=len(ids))
    return ids


def _enqueue_chunk(connection: Any, text: str, *, before: int) -> list[int]:
    from halfstep.database import execute_on

    try:
        return list(execute_on(connection, _ENQUEUE, {"tasks": text})[0])
    except InvalidTask as error:
        number, message = _PLACE.match(str(error)).groups()  # type: ignore[union-attr]  # it matches everything
        named = number or before
        raise InvalidTask(f"Task {before + int(number or 1)}: {message}" if named else message) from error
    except RefusedValue as error:
        raise InvalidTask(f"The database can't store this: {error}.") from error


def _as_json(task: NewTask, *, number: int | None) -> str:
    try:
        return task.as_json()
    except InvalidTask as error:
        raise InvalidTask(f"Task {number}: {error}" if number else str(error)) from None


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidTask(f"{name} has no time zone; give one, such as datetime.now(timezone.utc).")
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds()} seconds"
    if name == "unique_for":
        return f"{float(value)} seconds"
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidTask(f"{name} must be a finite number, not {value}.")
    return value


def _storable(record: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise InvalidTask(f"The task is not plain JSON: {error}.") from None
    if "\\u0000" in text and "\0" in _strings(record):
        raise InvalidTask("The task has a NUL character in a string; PostgreSQL can't store it.")
    return text


def _strings(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "".join(_strings(key) + _strings(item) for key, item in value.items())
    return "".join(map(_strings, value)) if isinstance(value, list | tuple) else ""
