"""The worker's side of a child's output: drain the pipe, cut it into lines, and tell which task wrote them by the markers."""

from __future__ import annotations

import fcntl
import os
import re
import termios
import time
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from halfstep.limits import LOG_LINE_BYTES
from halfstep_worker.children.page import BEGUN, DRAINED, Page

READ_BYTES = 64 * 1024
"""What a pipe holds, unless somebody has made it larger."""
LAST_READS = 64
OPEN_SECONDS = 0.5
"""How long what there is of a line waits for the rest."""
NUMBER_DIGITS = 19
_SHORT = LOG_LINE_BYTES // 4
"""Characters that are certainly no more than a line may have bytes."""


class Piece(NamedTuple):
    """Lines of the task of that number, whose marker followed; number 0: no marker came yet. goes_on: the last line does."""

    number: int
    lines: list[str]
    goes_on: bool = False


def lines_of(data: bytes) -> list[str]:
    """Text lines of at most LOG_LINE_BYTES; what is not UTF-8 and NULs are replaced. An open last line counts as a line.

    Of a line that `\\r` has begun anew, as progress bars do, only the last state that is not blank remains.
    """
    lines = _text(data).split("\n")
    if b"\r" in data or (len(data) > _SHORT and len(max(lines, key=len)) > _SHORT):
        lines = [_text(piece) for line in data.split(b"\n") for piece in _pieces(_latest(line))]
    if not lines[-1]:
        lines.pop()
    return lines


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").replace("\0", "\ufffd")


def _latest(line: bytes) -> bytes:
    line = line.removesuffix(b"\r")
    if b"\r" in line:
        line = line.rstrip(b"\r \t")
        line = line[line.rfind(b"\r") + 1 :]
    return line


def _last_state(line: bytes) -> bytes:
    """Of a line that is drawn again and again what it shows now, and what tells that it is such a line."""
    return line[max(0, line.rstrip(b"\r \t").rfind(b"\r")) :]


def _rest_of(line: bytes) -> tuple[list[str], bytes]:
    """Of a line that was shown in part the rest, up to where it is drawn anew; and what comes then."""
    rest, drawn, then = line.partition(b"\r")
    return lines_of(rest) or [""], drawn + then


def _redrawn(before: bytes, now: bytes) -> list[str]:
    """The state of a bar, if it is another one than before and not blank: then the bar has only been wiped out."""
    state = _latest(now)
    return lines_of(state) if state.strip() and state != _latest(before) else []


def _pieces(line: bytes) -> Iterator[bytes]:
    begin = 0
    while len(line) - begin > LOG_LINE_BYTES:
        cut = _boundary(line, begin + LOG_LINE_BYTES)
        yield line[begin:cut]
        begin = cut
    yield line[begin:] if begin else line


def _boundary(data: bytes, cut: int) -> int:
    """The last place up to `cut` where no UTF-8 character is split; `cut` itself where the data is not UTF-8."""
    for back in range(4):
        if data[cut - back] & 0xC0 != 0x80:
            return cut - back
    return cut


def _whole(data: bytes) -> int:
    """How much of the data there is without the beginning of a UTF-8 character that has not come whole."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            width = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if width <= back else len(data) - back
    return len(data)


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
        self.read_at = 0.0
        """When something was read last, monotonic seconds."""
        self.begun = 0
        """The number of the last task that the child had begun by then."""
        self.due = inf
        """When what there is of the last line is to be shown, monotonic seconds."""
        self._words = page.words
        self._drained = 0
        self._sign = b"\0" + token
        self._marker = re.compile(re.escape(self._sign) + rb"(\d{1,%d})\n" % NUMBER_DIGITS)
        self._buffer = b""
        self._goes_on = False  # the last line was shown in part, and said to go on
        self._drawn = b""  # of the last line, a progress bar: the state that was shown

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
        if data:
            self._buffer += data
            self.read_at = time.monotonic()
            self.begun = self._words[BEGUN]
        return bool(data)

    def read_rest(self) -> None:
        """What a dead child left, without waiting for a writer that outlived it."""
        for _ in range(LAST_READS):
            if not self.read():
                return

    def pieces(self, now: float, *, all_of_it: bool = False) -> Iterator[Piece]:
        """What can be told by now: what stands before a marker, whole lines, and at `due` what there is of the last one.

        With `all_of_it` nothing is waited for.
        """
        start = 0
        for found in self._marker.finditer(self._buffer):
            yield Piece(int(found[1]), self._ended(self._buffer[start : found.start()]))
            start = found.end()
        if start == len(self._buffer):
            self._buffer, self.due = b"", inf
            return
        held = len(self._buffer) if all_of_it else self._held()
        end = held if all_of_it else max(self._buffer.rfind(b"\n", start, held) + 1, start)
        if end > start:
            yield Piece(0, self._ended(self._buffer[start:end]))
        if end:
            self.due = inf
        tail, rest = self._buffer[end:held], self._buffer[held:]
        if len(tail) > LOG_LINE_BYTES or b"\r" in tail:
            lines, tail = self._shortened(tail)
            yield Piece(0, lines)
        if tail and now >= self.due:
            lines, tail, goes_on = self._so_far(tail)
            yield Piece(0, lines, goes_on)
            self.due = inf
        elif tail and self.due == inf:
            self.due = self.read_at + OPEN_SECONDS
        self._buffer = tail + rest

    def drop(self) -> list[str]:
        """Take out what there is of the last line, as nobody is there who can have written it."""
        held, self.due = self._held(), inf
        lines, self._buffer = self._ended(self._buffer[:held]), self._buffer[held:]
        return lines

    def _held(self) -> int:
        """Where a marker begins that has not come whole."""
        held = self._buffer.rfind(b"\0")
        found = self._buffer[held:] if held >= 0 else b""
        if found and (self._sign.startswith(found) or (found.startswith(self._sign) and self._may_be_a_marker(found))):
            return held
        return len(self._buffer)

    def _may_be_a_marker(self, found: bytes) -> bool:
        digits = found[len(self._sign) :]
        return len(digits) <= NUMBER_DIGITS and (digits.isdigit() or not digits)

    def _shortened(self, tail: bytes) -> tuple[list[str], bytes]:
        """Of an open line what is overwritten goes; what is too long for one line becomes several."""
        *whole, tail = _pieces(_last_state(tail))
        return [line for piece in whole for line in self._ended(piece)], tail

    def _so_far(self, tail: bytes) -> tuple[list[str], bytes, bool]:
        """What is shown of an open line now, what is kept of it, and whether the line goes on: a bar's state is a line."""
        if not self._drawn and b"\r" not in tail:
            end = _whole(tail)
            self._goes_on = self._goes_on or end > 0
            return [_text(tail[:end])] if end else [], tail[end:], end > 0
        lines, tail = _rest_of(tail) if self._goes_on else ([], tail)
        shown, self._drawn, self._goes_on = self._drawn, _last_state(self._drawn + tail)[:LOG_LINE_BYTES], False
        return lines + _redrawn(shown, self._drawn), b"", False

    def _ended(self, data: bytes) -> list[str]:
        """The lines of data that ends with a line, of which the first may have been shown in part."""
        if not self._goes_on and not self._drawn:
            return lines_of(data)
        first, newline, rest = data.partition(b"\n")
        lines, first = _rest_of(first) if self._goes_on and (first or newline) else ([], first)
        drawn, self._drawn, self._goes_on = self._drawn, b"", False
        return lines + _redrawn(drawn, drawn + first) + lines_of(rest)

    def holds_more(self) -> bool:
        """Whether something lies in the pipe that was not read yet."""
        if self.closed:
            return False
        pending = bytearray(4)
        fcntl.ioctl(self.fd, termios.FIONREAD, pending)
        return any(pending)

    def close(self) -> None:
        """Close our end of the pipe; twice is fine."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.closed = -1, True
