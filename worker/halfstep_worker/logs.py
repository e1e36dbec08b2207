"""The lines of running bodies on their way to the log store: gathered into chunks, bounded per attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from halfstep.claims import Claim
from halfstep.limits import LOG_BYTES

CHUNK_BYTES = 64 * 1024
FLUSH_SECONDS = 0.25
LINE_OVERHEAD = 40
"""Bytes that a line's time and stream take, so that a million empty lines are bounded too."""


@dataclass(slots=True)
class _Attempt:
    claim: Claim
    lines: list[list[Any]] = field(default_factory=list)
    pending: int = 0
    written: int = 0
    chunks: int = 0
    dropped: int = 0


class LogCollector:
    """Written and read by the worker's loop only. Times are monotonic seconds."""

    def __init__(self, *, limit: int = LOG_BYTES) -> None:
        self._limit = limit
        self._attempts: dict[int, _Attempt] = {}
        self._due: float | None = None

    def add(self, claim: Claim, line: tuple[float, str, str], *, now: float) -> bool:
        """One line: (seconds since 1970, stream, text). Past the limit it is counted and dropped; False then."""
        attempt = self._attempts.setdefault(claim.id, _Attempt(claim))
        size = len(line[2].encode()) + LINE_OVERHEAD
        if attempt.written + size > self._limit:
            attempt.dropped += 1
            return False
        attempt.written += size
        attempt.pending += size
        attempt.lines.append(list(line))
        self._due = min(self._due or now + FLUSH_SECONDS, now if attempt.pending >= CHUNK_BYTES else now + FLUSH_SECONDS)
        return True

    def resume(self, claim: Claim, *, chunk: int, written: int) -> None:
        """Goes on with a log that somebody else began."""
        self._attempts[claim.id] = _Attempt(claim, written=written, chunks=chunk)

    def due_at(self) -> float | None:
        """When `take` has something that should be written."""
        return self._due

    def take(self, *, now: float) -> list[dict[str, Any]]:
        """The chunks to write now; empty when none is due."""
        if self._due is None or now < self._due:
            return []
        self._due = None
        return [self._chunk(attempt) for attempt in self._attempts.values() if attempt.lines]

    def end(self, claim: Claim, *, at: float) -> list[dict[str, Any]]:
        """The last chunk of an attempt that has ended, with the marker of what was dropped. at: seconds since 1970."""
        attempt = self._attempts.pop(claim.id, None)
        if attempt is None:
            return []
        if attempt.dropped:
            note = f"[halfstep: the log reached its limit of {self._limit} bytes; {attempt.dropped} more lines were dropped]"
            attempt.lines.append([at, "log", note])
        return [self._chunk(attempt)] if attempt.lines else []

    def _chunk(self, attempt: _Attempt) -> dict[str, Any]:
        lines, attempt.lines, attempt.pending = attempt.lines, [], 0
        attempt.chunks += 1
        return {"task_id": attempt.claim.id, "attempt": attempt.claim.attempt, "chunk": attempt.chunks - 1, "lines": lines}
