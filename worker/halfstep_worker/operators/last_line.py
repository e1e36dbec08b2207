"""The last line of what a program writes: of stdout for results, of stderr for the error of a program that failed."""

from __future__ import annotations

import re

_TAIL_BYTES = 16 * 1024
_LINES_AFTER = 20  # a traceback with more lines after it was not what ended the program
_WORDS = 400
_TRACEBACK = "Traceback (most recent call last):"
_WORD = re.compile(r"\w")
_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class LastLine:
    """The last line that is not blank of a stream of bytes, of which at most `limit` bytes are kept.

    A carriage return ends a line too, as in progress bars.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = bytearray()
        self._last = b""

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the stream."""
        ended, newline, rest = chunk.replace(b"\r", b"\n").rpartition(b"\n")
        if newline:
            first, _, others = ended.partition(b"\n")
            self._extend(first)
            self._close()
            self._extend(others.rstrip().rpartition(b"\n")[2])
            self._close()
        self._extend(rest)

    @property
    def is_cut(self) -> bool:
        """Whether the line was longer than the limit."""
        return len(self._bytes()) > self._limit

    @property
    def text(self) -> str:
        """The line, at most `limit` bytes of it; bytes that are not UTF-8 are replaced."""
        return self._bytes()[: self._limit].decode("utf-8", errors="replace").strip()

    @property
    def words(self) -> str:
        """The line as it can stand in an error."""
        return readable(self.text)

    def _bytes(self) -> bytes:
        return bytes(self._open) if self._open.strip() else self._last

    def _extend(self, piece: bytes) -> None:
        self._open += piece[: self._limit + 1 - len(self._open)]

    def _close(self) -> None:
        if self._open.strip():
            self._last = bytes(self._open)
        self._open.clear()


class LastWords:
    """The end of a stream of bytes, and what of it says best why its program failed."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the stream."""
        self._tail = (self._tail + chunk)[-_TAIL_BYTES:]

    @property
    def words(self) -> str:
        """The last line that is not blank; after a traceback also the line that names its exception. Empty: there is none."""
        lines = [line for line in re.split(r"[\r\n]+", self._tail.decode("utf-8", errors="replace")) if _WORD.search(line)]
        if not lines:
            return ""
        named = _exception(lines)
        return readable(lines[-1] if named in (None, lines[-1]) else f"{named} … {lines[-1]}")


def _exception(lines: list[str]) -> str | None:
    """The line with which the last traceback ends; others may follow, as of a long message."""
    begun = next((at for at in reversed(range(len(lines))) if lines[at].startswith(_TRACEBACK)), len(lines))
    named = next((at for at in range(begun + 1, len(lines)) if not lines[at][0].isspace()), None)
    return lines[named] if named is not None and len(lines) - named <= _LINES_AFTER else None


def readable(text: str) -> str:
    """Some words for people: no colours, no control characters, and of what is long only the beginning."""
    plain = _CONTROL.sub(" ", _COLOUR.sub("", text)).strip()
    return plain if len(plain) <= _WORDS else f"{plain[: _WORDS - 1]}…"
