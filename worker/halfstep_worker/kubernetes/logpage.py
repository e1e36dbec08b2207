"""The new lines of one read of one container's log, and what is said in place of lines that are not there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from halfstep_worker.children.capture import lines_of
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.api import LogQuery
from halfstep_worker.kubernetes.logplan import Reader
from halfstep_worker.kubernetes.logposition import Reading, Stamps
from halfstep_worker.kubernetes.names import MAIN

MAIN_STREAM = "stdout"
MARKER_STREAM = "log"
BATCH_LINES = 500


def stream_of(container: str) -> str:
    """What a container's stream is called in the log store."""
    return MAIN_STREAM if container == MAIN else container


Line = tuple[float, str, str]
"""Seconds since 1970, stream, text."""
Deliver = Callable[[str, list[Line]], bool | None]


@dataclass(slots=True)
class LogPage:
    """Used by the thread that reads."""

    reader: Reader
    reading: Reading
    deliver: Deliver
    complaint: str | None = None
    """What the kubelet said in place of the log: such a line has no time."""
    _stamps: Stamps = field(default_factory=Stamps)
    _lines: list[Line] = field(default_factory=list)
    _gap_told: bool = False

    @property
    def wanted(self) -> bool:
        """Somebody still wants to have, or to see, what is in this log: of a full one its end, when the pod has ended."""
        attempt = self.reader.attempt
        return not attempt.forgotten and (not attempt.full or attempt.done is not None or self._hook is not None)

    @property
    def _hook(self) -> Callable[[str], str | None] | None:
        return self.reader.attempt.source.hook if self.reader.container == MAIN else None

    def query(self) -> LogQuery:
        """What to ask for."""
        source = self.reader.attempt.source
        since = self.reader.position.start(whole=self._hook is not None)
        return LogQuery(source.namespace, source.pod, self.reader.container, since)

    def take(self, line: bytes) -> None:
        """One line as the API server sent it."""
        found = self._stamps.split(line)
        if found is None:
            if self.reading.is_empty:
                self.complaint = line[:1000].decode(errors="replace")
            return
        at, text = found
        if self.reading.is_new(at, size=len(line)):
            self._tell_gap(at / 1e9)
            self._keep(at, text)

    def take_rest(self, line: bytes, *, final: bool) -> None:
        """The last line, which is not ended: of a container that still writes it comes again when it is."""
        if line and (final or self._stamps.split(line) is None):
            self.take(line)

    def flush(self, *, now: float) -> None:
        """Hands over what is gathered. now: monotonic."""
        attempt, lines, self._lines = self.reader.attempt, self._lines, []
        if self.reading.found:
            self.reader.position.moved_at = now
        if lines and not attempt.forgotten:
            attempt.full = self.deliver(attempt.source.key, lines) is False

    def close(self, *, final: bool) -> ApiError | None:
        """The answer was complete. What is wrong with it, None: nothing. final: of a container that writes no more."""
        if self.complaint is not None and self.reading.is_empty:
            return ApiError(self.complaint, status=404 if final else 0)
        self.reading.end()
        self._tell_gap(self.reader.position.newest / 1e9)
        self.flush(now=time.monotonic())
        return None

    def mark_missing(self, error: ApiError) -> None:
        """Says why the log, or the rest of it, is not there."""
        newest = self.reader.position.newest / 1e9
        part = "the rest of the log" if newest else "the log"
        which = "" if self.reader.container == MAIN else f" of container {self.reader.container!r}"
        self._mark(newest or time.time(), f"{part}{which} was not available: {error}")
        self.flush(now=time.monotonic())

    def _tell_gap(self, at: float) -> None:
        if self.reading.gap and not self._gap_told:
            self._gap_told = True
            self._mark(at, "the node has rotated or removed this log since it was last read; lines may be missing here")

    def _mark(self, at: float, text: str) -> None:
        self._lines.append((at, MARKER_STREAM, plain(f"[halfstep: {text}]")))  # a node's words, too

    def _keep(self, at: int, text: bytes) -> None:
        hook = self._hook
        if hook is not None:
            kept = hook(text.decode(errors="replace"))
            if kept is None:
                return
            text = kept.encode(errors="replace")
        self._gather(at, lines_of(text) or [""])

    def _gather(self, at: int, pieces: list[str]) -> None:
        position, stream = self.reader.position, stream_of(self.reader.container)
        if position.misses(at):
            self.reading.gap = True
            self._tell_gap(at / 1e9)
        self._lines += [(at / 1e9, stream, piece) for piece in pieces[position.stored(at, len(pieces)) :]]
        if len(self._lines) >= BATCH_LINES:
            self.flush(now=time.monotonic())
