"""The lines of running bodies on their way to the log store: gathered into chunks, bounded per attempt.

Of a log that grows beyond its limit the beginning is written as it comes, and the end when the attempt ends; until then the
last lines are held here, and what lies between is left out, with a marker that says how much.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from halfstep.claims import Claim
from halfstep.limits import LOG_BYTES

CHUNK_BYTES = 64 * 1024
FLUSH_SECONDS = 0.25
LINE_OVERHEAD = 40
"""Bytes that a line's time and stream take, so that a million empty lines are bounded too."""
TAIL_PART = 4
"""One part in so many of a log's limit is kept for its end."""
TAILS_BYTES = 32 * 1024 * 1024
"""What the ends of all attempts may take together; beyond it the longest gives way."""
BLOCKS = 256
"""A tail lets go of its oldest lines in so many steps."""

LogLine = tuple[float, str, str] | tuple[float, str, str, bool]
"""Seconds since 1970, stream, text; and True if the line goes on in the next one of its stream."""


@dataclass(slots=True)
class _Block:
    lines: list[LogLine] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class Tail:
    """The last lines of a long log, and how many were left out before them. size, lost_bytes: as the limit counts them."""

    blocks: deque[_Block] = field(default_factory=lambda: deque([_Block()]))
    size: int = 0
    lost_lines: int = 0
    lost_bytes: int = 0

    def add(self, line: LogLine, size: int, *, block: int) -> bool:
        """A line; whether it began a new block, as is done after so many bytes."""
        begins = self.blocks[-1].size >= block
        if begins:
            self.blocks.append(_Block())
        last = self.blocks[-1]
        last.lines.append(line)
        last.size += size
        self.size += size
        return begins

    def drop(self) -> int:
        """Leave out the oldest block; its size."""
        block = self.blocks.popleft()
        self.size -= block.size
        self.lost_lines += len(block.lines)
        self.lost_bytes += block.size - LINE_OVERHEAD * len(block.lines)
        return block.size

    def lines(self) -> list[LogLine]:
        """What is kept, with a marker in the place of what is not."""
        lines = [line for block in self.blocks for line in block.lines]
        if self.lost_lines:
            note = f"[halfstep: {self.lost_lines} lines ({self.lost_bytes} bytes) were left out here]"
            lines.insert(0, (lines[0][0], "log", note))
        return lines


@dataclass(slots=True)
class _Attempt:
    claim: Claim
    lines: list[LogLine] = field(default_factory=list)
    pending: int = 0
    written: int = 0
    chunks: int = 0
    tail: Tail | None = None


class LogCollector:
    """Written and read by the worker's loop only. Times are monotonic seconds."""

    def __init__(self, *, limit: int = LOG_BYTES, tails: int = TAILS_BYTES) -> None:
        self._tail = limit // TAIL_PART
        self._head = limit - self._tail
        self._tails = tails
        self._held = 0
        self._attempts: dict[int, _Attempt] = {}
        self._due: float | None = None

    @property
    def held(self) -> int:
        """Bytes of all tails together."""
        return self._held

    def add(self, claim: Claim, line: LogLine, *, now: float) -> bool:
        """One line. False: the beginning of the log is full, the line is kept for its end."""
        attempt = self._attempts.get(claim.id)
        if attempt is None:
            attempt = self._attempts[claim.id] = _Attempt(claim)
        text = line[2]
        size = (len(text) if text.isascii() else len(text.encode())) + LINE_OVERHEAD
        if attempt.tail is None and attempt.written + size > self._head:
            attempt.tail = Tail()
            self._write(attempt, (line[0], "log", self._farewell()), 0, now)
        if attempt.tail is not None:
            self._keep(attempt.tail, line, size)
            return False
        self._write(attempt, line, size, now)
        return True

    def _write(self, attempt: _Attempt, line: LogLine, size: int, now: float) -> None:
        attempt.written += size
        attempt.pending += size
        attempt.lines.append(line)
        if attempt.pending >= CHUNK_BYTES:
            self._due = min(self._due or now, now)
        elif self._due is None:
            self._due = now + FLUSH_SECONDS

    def _farewell(self) -> str:
        return (
            f"[halfstep: the log has reached {self._head} bytes; what follows is held back, and its last {self._tail} bytes "
            "are written when the attempt ends]"
        )

    def _keep(self, tail: Tail, line: LogLine, size: int) -> None:
        self._held += size
        if tail.add(line, size, block=self._tail // BLOCKS):
            self._make_room(tail)

    def _make_room(self, tail: Tail) -> None:
        """The tail keeps to its limit, and the longest of all gives way for it. None loses its newest block."""
        while tail.size > self._tail and len(tail.blocks) > 1:
            self._held -= tail.drop()
        if self._held > self._tails:
            tails = (attempt.tail for attempt in self._attempts.values() if attempt.tail and len(attempt.tail.blocks) > 1)
            longest = max(tails, key=lambda one: one.size, default=None)
            self._held -= longest.drop() if longest else 0

    def resume(self, claim: Claim, *, chunk: int, written: int) -> None:
        """Goes on with a log that somebody else began. What of it was held back and not written is to be read again."""
        tail = Tail() if written >= self._head else None
        self._attempts[claim.id] = _Attempt(claim, written=written, chunks=chunk, tail=tail)

    def due_at(self) -> float | None:
        """When `take` has something that should be written."""
        return self._due

    def take(self, *, now: float) -> list[dict[str, Any]]:
        """The chunks to write now; empty when none is due."""
        if self._due is None or now < self._due:
            return []
        self._due = None
        return [self._chunk(attempt) for attempt in self._attempts.values() if attempt.lines]

    def end(self, claim: Claim) -> list[dict[str, Any]]:
        """The last chunk of an attempt that has ended, with the end of a long log."""
        attempt = self._attempts.pop(claim.id, None)
        if attempt is None:
            return []
        if attempt.tail is not None:
            self._held -= attempt.tail.size
            attempt.lines += attempt.tail.lines()
        return [self._chunk(attempt)] if attempt.lines else []

    def _chunk(self, attempt: _Attempt) -> dict[str, Any]:
        lines, attempt.lines, attempt.pending = [list(line) for line in attempt.lines], [], 0
        attempt.chunks += 1
        return {"task_id": attempt.claim.id, "attempt": attempt.claim.attempt, "chunk": attempt.chunks - 1, "lines": lines}
