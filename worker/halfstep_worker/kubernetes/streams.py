"""Answers that come line by line for as long as they last: watches and logs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import urllib3

from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.connection import pieces

EVENT_BYTES = 16 * 1024 * 1024
LINE_BYTES = 1024 * 1024


def split_lines(data: Iterable[bytes], *, longest: int) -> Generator[bytes, None, bytes]:
    """Lines without their line end, cut to `longest` bytes. Its return value is the last line, if that is not ended."""
    rest, skipping = b"", False
    for piece in data:
        first, *more = piece.split(b"\n")
        rest = rest if skipping else rest + first
        if more:
            yield rest[:longest]
            yield from (line[:longest] for line in more[:-1])
            rest, skipping = more[-1], False
        if len(rest) > longest:
            rest, skipping = rest[:longest], True
    return rest


class Stream:
    """One open answer. Read by one thread; `close` may be called by any and ends the reading at once."""

    def __init__(self, response: urllib3.BaseHTTPResponse, *, ends: float | None = None) -> None:
        self._response = response
        self._ends = ends
        self.closed = False
        self.rest = b""
        """After the end: the last line, if it was not ended."""

    def lines(self, *, longest: int = LINE_BYTES) -> Iterator[bytes]:
        """Raises ApiError if the stream breaks before its end, unless it was closed on purpose."""
        try:
            self.rest = yield from split_lines(pieces(self._response, ends=self._ends), longest=longest)
        except ApiError:
            if not self.closed:
                raise

    def events(self) -> Iterator[dict[str, Any]]:
        """The watch events, as the API's JSON has them. A line cut off by the stream's end is dropped."""
        for line in self.lines(longest=EVENT_BYTES):
            try:
                event = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ApiError("The watch gave a line that is no JSON") from error
            yield event

    def close(self) -> None:
        """The reader hears the end at once. Twice is fine."""
        self.closed = True
        with contextlib.suppress(ValueError, RuntimeError, OSError):  # it has ended already
            self._response.shutdown()

    def release(self) -> None:
        """By the reader, when it wants no more."""
        self.closed = True
        self._response.close()
