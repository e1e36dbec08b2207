"""Enqueueing, in the caller's own transaction or on a connection of our own. One door: SQL's `halfstep.enqueue_many`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, TypedDict, Unpack

from halfstep.callers import Caller, in_our_words, lacks_a_character, opened
from halfstep.errors import InvalidTask, RefusedValue

CHUNK = 5_000
LONGEST_KEY_SECONDS = 366 * 86_400
# As text first: some connections write and read jsonb as their users like it.
ENQUEUE = "SELECT halfstep.enqueue_many(CAST(CAST(%(tasks)s AS text) AS jsonb))"
_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
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
    unique_for: timedelta | float | str | None
    placement: str
    cluster: str
    timeout: timedelta | float | None
    max_attempts: int
    backoff_base: timedelta | float
    backoff_cap: timedelta | float
    at_most_once: bool
    labels: Mapping[str, Any] | None


_KNOWN = frozenset(Options.__annotations__)
_TEXTS = frozenset({"queue", "run_at", "unique_key", "unique_for", "placement", "cluster"})


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be: an operator, its args (a JSON object) and the options that differ from the defaults."""

    operator: str
    args: Mapping[str, Any]
    options: Options

    def as_json(self) -> str:
        """The record that `halfstep.enqueue_many` reads. Raises InvalidTask for what JSON or PostgreSQL can't hold."""
        if not isinstance(self.operator, str):
            raise InvalidTask(f"The operator must be a name (a str), not {_kind(self.operator)}.")
        if not _is_object(self.options):
            raise InvalidTask(f"The options must be a dict, not {_kind(self.options)}.")
        if not self.options.keys() <= _KNOWN:
            unknown = ", ".join(sorted(map(str, self.options.keys() - _KNOWN)))
            raise InvalidTask(f"There is no task option {unknown}; known: {', '.join(Options.__annotations__)}.")
        if not _is_object(self.args):
            raise InvalidTask(f"The args must be a JSON object (a dict), not {_kind(self.args)}.")
        options = {name: _plain(name, value) for name, value in self.options.items() if value is not None}
        return _storable({"operator": self.operator, "args": dict(self.args), **options})


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some tasks of a call, as one statement takes them. before: how many tasks came before it. alone: the call's only task."""

    text: str
    before: int
    alone: bool

    @property
    def parameters(self) -> dict[str, str]:
        """Of `ENQUEUE`."""
        return {"tasks": self.text}

    @property
    def in_ascii(self) -> Chunk:
        """The same for a connection whose encoding lacks a character of it."""
        return replace(self, text=_BEYOND_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], self.text))

    @contextmanager
    def telling_the_place(self) -> Iterator[None]:
        """Turns a refusal of the chunk into one that numbers the task in its call. Raises InvalidTask."""
        try:
            yield
        except InvalidTask as error:
            number, message = _PLACE.match(str(error)).groups()  # type: ignore[union-attr]  # it matches everything
            raise type(error)(message if self.alone else f"Task {self.before + int(number or 1)}: {message}") from error
        except RefusedValue as error:
            raise InvalidTask(f"The database can't store this: {error}.") from error


def chunks_of(records: Sequence[str], *, together: bool) -> Iterator[Chunk]:
    """The statements that a call's records need. together: one, since each would be committed by itself."""
    size = max(len(records), 1) if together else CHUNK
    for start in range(0, len(records), size):
        yield Chunk(f"[{','.join(records[start : start + size])}]", before=start, alone=len(records) == 1)


def records_of(tasks: Iterable[NewTask]) -> list[str]:
    """All tasks of a call, written down before any is sent: all or none. Raises InvalidTask with the first bad one's number."""
    if isinstance(tasks, str | NewTask | Mapping) or not isinstance(tasks, Iterable):
        raise InvalidTask(f"The tasks are several NewTask(operator, args, options), such as a list of them, not {_kind(tasks)}.")
    given = list(tasks)
    return [_record(task, number=n if len(given) > 1 else None) for n, task in enumerate(given, start=1)]


def enqueue(connection: Any, operator: str, args: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> int:
    """Enqueues one task in the caller's transaction and returns its id. For asyncio: `halfstep.aio.enqueue`.

    connection: a SQLAlchemy Connection, Session or scoped_session; a connection or cursor of psycopg2, psycopg or pg8000,
    whatever its row factory; Django's connection. A SQLAlchemy Engine, a pool of psycopg, or None for HALFSTEP_DATABASE_URL: in
    a transaction of its own. A held unique key gives the id of the task that holds it.

    Raises InvalidTask, NotPermitted, DatabaseUnavailable, SchemaMismatch; UnusableConnection for anything else than these; of the
    caller's transaction AbortedTransaction, ReadOnlyTransaction, SerializationFailure. It is never ended here.
    """
    return enqueue_many(connection, [NewTask(operator, {} if args is None else args, options)])[0]


def enqueue_many(connection: Any, tasks: Iterable[NewTask]) -> list[int]:
    """Enqueues many tasks like `enqueue` and returns their ids in order. All or none, also where each statement is committed."""
    records = records_of(tasks)
    ids: list[int] = []
    with in_our_words(), opened(connection) as caller:
        for chunk in chunks_of(records, together=caller.commits):
            with chunk.telling_the_place(), in_our_words():
                ids += ids_in(_answer(caller, chunk))
    return ids


def ids_in(row: Sequence[Any]) -> list[int]:
    """The ids that `ENQUEUE` returns, whatever type the caller's connection reads bigint as."""
    return [int(id) for id in row[0]]


def _answer(caller: Caller, chunk: Chunk) -> Sequence[Any]:
    try:
        return caller.ask(ENQUEUE, chunk.parameters)
    except Exception as error:
        if not lacks_a_character(error):
            raise
    return caller.ask(ENQUEUE, chunk.in_ascii.parameters)


def _record(task: NewTask, *, number: int | None) -> str:
    try:
        if not isinstance(task, NewTask):
            raise InvalidTask(f"It is no NewTask(operator, args, options) but {_kind(task)}.")
        return task.as_json()
    except InvalidTask as error:
        raise InvalidTask(f"Task {number}: {error}" if number else str(error)) from None


def _is_object(value: object) -> bool:
    """What JSON calls an object. (Asking an abstract class costs a tenth of an enqueue.)"""
    return type(value) is dict or isinstance(value, Mapping)


def _kind(value: object) -> str:
    return type(value).__name__


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidTask(f"{name} has no time zone; give one, such as datetime.now(timezone.utc).")
        return _after_a_gap(value).isoformat()
    if isinstance(value, timedelta) and name == "run_at":
        raise InvalidTask("run_at must be a moment, not a timedelta; add it to datetime.now(timezone.utc).")
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidTask(f"{name} must be a finite number, not {value}.")
    if name == "unique_for" and isinstance(value, int | float):
        if not 0 < value <= LONGEST_KEY_SECONDS:
            raise InvalidTask("unique_for must be more than 0 seconds and at most a year.")
        return f"{float(value)} seconds"
    if name in _TEXTS and not isinstance(value, str):
        raise InvalidTask(f"{name} must be text (a str), not {_kind(value)}.")
    return value


def _after_a_gap(moment: datetime) -> datetime:
    """A time that the clocks leave out is as long after the gap as it is behind its beginning, never before the gap."""
    try:
        shown = moment.astimezone(timezone.utc).astimezone(moment.tzinfo)  # noqa: UP017
    except OverflowError:
        raise InvalidTask("run_at must be a point in time of the years 1 to 9999.") from None
    return moment if shown.replace(tzinfo=None) == moment.replace(tzinfo=None) else moment.replace(fold=0)


def _storable(record: Mapping[str, Any]) -> str:
    try:
        text = _as_json(record)
        if not text.isascii():
            text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise InvalidTask(f"The task is not plain JSON: {error}.") from None
    except RecursionError:
        raise InvalidTask("The task is not plain JSON: it is nested too deeply.") from None
    if "\\u0000" in text and "\0" in _strings(record):
        raise InvalidTask("The task has a NUL character in a string; PostgreSQL can't store it.")
    return text


def _strings(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "".join(_strings(key) + _strings(item) for key, item in value.items())
    return "".join(map(_strings, value)) if isinstance(value, list | tuple) else ""
