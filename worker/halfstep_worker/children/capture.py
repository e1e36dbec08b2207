"""The worker's side of a child's output: drain the pipe, cut it into lines, and tell which task wrote them by the markers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from halfstep.limits import LOG_LINE_BYTES
from halfstep_worker.children.page import DRAINED, Page

READ_BYTES = 256 * 1024
LAST_READS = 64

Piece = tuple[int, list[str]]


def lines_of(data: bytes) -> list[str]:
    """Text lines of at most LOG_LINE_BYTES; what is not UTF-8 and NULs are replaced. An open last line counts as a line."""
    if not data:
        return []
    *closed, last = data.split(b"\n")
    return [_text(piece) for line in (closed if not last else [*closed, last]) for piece in _pieces(line)]


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", errors="replace").replace("\0", "\ufffd")


def _pieces(line: bytes) -> Iterator[bytes]:
    while len(line) > LOG_LINE_BYTES:
        cut = _boundary(line, LOG_LINE_BYTES)
        yield line[:cut]
        line = line[cut:]
    yield line


def _boundary(data: bytes, cut: int) -> int:
    """The last place up to `cut` where no UTF-8 character is split; `cut` itself where the data is not UTF-8."""
    for back in range(4):
        if data[cut - back] & 0xC0 != 0x80:
            return cut - back
    return cut


class Stream:
    """One pipe of one child.

    `seen` are the numbers of the tasks whose marker came, as far as they are still of interest to the owner.
    """

    def __init__(self, name: str, *, index: int, fd: int, page: Page, token: bytes) -> None:
        self.name = name
        self.fd = fd
        self.index = index
        self.closed = False
        self.seen: set[int] = set()
        self._words = page.words
        self._drained = 0
        self._sign = b"\0" + token
        self._marker = re.compile(re.escape(self._sign) + rb"(\d{1,19})\n")
        self._buffer = b""

    @property
    def waiting(self) -> bool:
        """Whether bytes wait to be cut into lines."""
        return bool(self._buffer)

    def read(self) -> bool:
        """Take what is there, one system call; False if there was nothing."""
        if self.closed:
            return False
        self._words[DRAINED + self.index] = self._drained << 1 | 1
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            data = None
        self._drained += len(data or b"")
        self._words[DRAINED + self.index] = self._drained << 1
        self.closed = data == b""
        self._buffer += data or b""
        return bool(data)

    def read_rest(self) -> None:
        """What a dead child left, without waiting for a writer that outlived it."""
        for _ in range(LAST_READS):
            if not self.read():
                return

    def pieces(self, *, all_of_it: bool = False) -> Iterator[Piece]:
        """(number, lines): lines of the task of that number, whose marker followed; number 0: no marker came yet.

        An open last line waits for its end, or for a marker, unless it is very long or `all_of_it` is asked for.
        """
        while found := self._marker.search(self._buffer):
            number = int(found[1])
            lines = lines_of(self._buffer[: found.start()])
            self._buffer = self._buffer[found.end() :]
            self.seen.add(number)
            yield number, lines
        while end := len(self._buffer) if all_of_it else self._complete():
            head, self._buffer = self._buffer[:end], self._buffer[end:]
            yield 0, lines_of(head)

    def _complete(self) -> int:
        """How much of the buffer can be handed out without tearing a line or a marker."""
        held = self._buffer.rfind(b"\0")
        if held < 0 or not (self._buffer[held:].startswith(self._sign) or self._sign.startswith(self._buffer[held:])):
            held = len(self._buffer)
        end = self._buffer.rfind(b"\n", 0, held) + 1
        if held - end > LOG_LINE_BYTES:
            return _boundary(self._buffer, end + LOG_LINE_BYTES)
        return end

    def close(self) -> None:
        """Close our end of the pipe; twice is fine."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.closed = -1, True
