"""Storable by construction: ASCII text without NUL, finite and bounded numbers, plain JSON of little depth.

Each kind of thing that a worker writes has such a form, which any PostgreSQL of any encoding takes. What names a row (ids,
tokens, names of pods) is never bent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from halfstep.claims import LONGEST_RUN, Claim, Ending
from halfstep.limits import ERROR_BYTES, LOG_LINE_BYTES, LONGEST_SECONDS
from halfstep.outcomes import Cancelled, Failed, Retry, Succeeded
from halfstep.pods import PodRow
from halfstep_worker.desk import Release

T = TypeVar("T")

DEPTH = 20
WORD_LENGTH = 40
"""A reason, or the name of a stream: it stands in labels and keys of indexes."""
LINE_LENGTH = 10 * LOG_LINE_BYTES
"""An escape takes up to ten characters."""
LATEST = 253_402_300_799.0
"""The end of the year 9999, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """mend: the form that is always taken; it is told why the other was not. attempt: task and number of whose it is."""

    name: str
    mend: Callable[[T, str], T]
    attempt: Callable[[T], tuple[int, int]]


def ascii_text(value: object, limit: int = ERROR_BYTES) -> str:
    """The text with escapes for whatever is not ASCII, at most `limit` characters of it."""
    try:
        text = str(value)
    except Exception:  # such as an int of more digits than Python writes down
        text = f"({type(value).__name__})"
    return text[:limit].replace("\0", "\\x00").encode("ascii", errors="backslashreplace").decode("ascii")[:limit]


def bounded(value: object, *, otherwise: float, most: float = LONGEST_SECONDS) -> float:
    """The number if it is one from 0 to `most`."""
    number = otherwise
    if isinstance(value, int | float) and 0 <= value <= most:  # false of NaN, and no int is too large to be compared
        number = float(value)
    return number


def plain_json(value: Any, depth: int = DEPTH) -> Any:
    """The same as plain values; where there is no such thing, a text about it."""
    match value:
        case None | bool():
            return value
        case str():
            return ascii_text(value)
        case int():
            return value if abs(value) < 2**63 else f"a number of {value.bit_length()} bits"
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping() if depth:
            return {ascii_text(key): plain_json(item, depth - 1) for key, item in value.items()}
        case list() | tuple() if depth:
            return [plain_json(item, depth - 1) for item in value]
        case _:
            return f"a {ascii_text(type(value).__name__)} that can't be stored"


def _ending(ending: Ending, why: str) -> Ending:
    outcome: Failed | Cancelled
    match ending.outcome:
        case Succeeded():
            sentence = f"The result could not be stored: {why}; return values that the database can hold."
            outcome = Failed(ascii_text(sentence), "result", final=True)
        case Failed(error=error, reason=reason, final=final):
            outcome = Failed(ascii_text(error), ascii_text(reason, WORD_LENGTH), bool(final))
        case Cancelled(error=error):
            outcome = Cancelled(ascii_text(error))
    return Ending(ending.claim, outcome, bounded(ending.seconds, otherwise=0.0, most=LONGEST_RUN))


def _retry(item: tuple[Claim, Retry], _: str) -> tuple[Claim, Retry]:
    claim, retry = item
    delay, error = bounded(retry.delay, otherwise=-1.0), ascii_text(retry.error)
    if delay < 0:
        delay = bounded(claim.backoff_cap, otherwise=LONGEST_SECONDS)
        note = f" [halfstep: a delay is a number of 0 to {LONGEST_SECONDS:.0f} seconds; this one is the longest back-off.]"
        error = ascii_text(error, ERROR_BYTES - len(note)) + note
    return claim, Retry(error, delay, ascii_text(retry.reason, WORD_LENGTH), bool(retry.counts))


def _release(release: Release, _: str) -> Release:
    return replace(release, reason=ascii_text(release.reason, WORD_LENGTH), started=bool(release.started))


def _progress(item: tuple[Claim, str], _: str) -> tuple[Claim, str]:
    claim, text = item
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        value = text
    return claim, json.dumps(plain_json(value))


def _chunk(chunk: dict[str, Any], _: str) -> dict[str, Any]:
    """Lines that were plain already stay what they are, pieces too; a line without a time has that of the line before."""
    lines, last = [], 0.0
    for at, stream, text, *piece in chunk["lines"]:
        last = bounded(at, otherwise=last, most=LATEST)
        lines.append([last, ascii_text(stream, WORD_LENGTH), ascii_text(text, LINE_LENGTH), *map(bool, piece[:1])])
    return chunk | {"lines": lines}


def _pod(row: PodRow, _: str) -> PodRow:
    keep = row.keep_seconds
    return replace(
        row,
        facts=None if row.facts is None else plain_json(row.facts),
        keep_seconds=None if keep is None else bounded(keep, otherwise=LONGEST_SECONDS),
        parked_at=_moment(row.parked_at),
        queued_since=_moment(row.queued_since),
        running_since=_moment(row.running_since),
    )


def _moment(at: float | None) -> float | None:
    return at if isinstance(at, int | float) and math.isfinite(at) else None


def _of(claim: Claim) -> tuple[int, int]:
    return claim.id, claim.attempt


END: Kind[Ending] = Kind("end", _ending, lambda ending: _of(ending.claim))
RETRY: Kind[tuple[Claim, Retry]] = Kind("retry", _retry, lambda item: _of(item[0]))
RELEASE: Kind[Release] = Kind("release", _release, lambda release: _of(release.claim))
PROGRESS: Kind[tuple[Claim, str]] = Kind("progress", _progress, lambda item: _of(item[0]))
CHUNK: Kind[dict[str, Any]] = Kind("log", _chunk, lambda chunk: (chunk["task_id"], chunk["attempt"]))
POD: Kind[PodRow] = Kind("pod", _pod, lambda row: (row.task_id, row.attempt))
