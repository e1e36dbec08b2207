"""The child's side of attributing output: a marker after each task that wrote anything.

How much was ever written to a pipe is what the worker has drained plus what still lies in it, so also what a subprocess
or a plain `os.write` wrote is seen, without looking at each write and at the price of one ioctl a stream and task.
"""

from __future__ import annotations

import fcntl
import os
import sys
import termios

from halfstep_worker.children.page import DRAINED, SENSELESS, Page

MOST_LOOKS = 100_000
"""The worker is done with a read in microseconds, or at the next turn of its processor."""


def marker(token: bytes, number: int) -> bytes:
    """What ends the output of a task: a NUL, the token of its child, its number, a newline."""
    return b"\0%b%d\n" % (token, number)


class Marks:
    """The markers of one child on its own copies of the two pipes, which a body can't close by closing 1 and 2."""

    def __init__(self, page: Page, token: bytes, fds: tuple[int, int]) -> None:
        self._words = page.words
        self._token = token
        self._fds = fds
        self._written = [0, 0]
        self._pending = bytearray(4)
        self._files = (sys.stdout, sys.stderr)

    def end(self, number: int) -> int:
        """Flush, and mark the streams that grew since the last task ended. Returns them: 1 stdout, 2 stderr, 3 both."""
        self.flush()
        marked = 0
        for stream in (0, 1):
            total = self._total(stream)
            if total != self._written[stream]:
                self._written[stream] = total + self._write(stream, marker(self._token, number))
                marked |= 1 << stream
        return marked

    def flush(self) -> None:
        """Also what the body put into the place of sys.stdout; a stream that it broke or closed is its own loss."""
        now = (sys.stdout, sys.stderr)
        for file in now if now == self._files else self._files + now:
            try:
                file.flush()
            except Exception:
                continue

    def _total(self, stream: int) -> int:
        """Bytes ever written to the stream; asked again while the worker is just taking some out."""
        for _ in range(MOST_LOOKS):
            word = self._words[DRAINED + stream]
            fcntl.ioctl(self._fds[stream], termios.FIONREAD, self._pending)
            if not word & 1 and word == self._words[DRAINED + stream]:
                return (word >> 1) + int.from_bytes(self._pending, sys.byteorder)
            os.sched_yield()
        raise OSError(SENSELESS)

    def _write(self, stream: int, data: bytes) -> int:
        """Write a marker: below PIPE_BUF, so whole or not at all. Some programs leave a shared pipe non-blocking."""
        while True:
            try:
                return os.write(self._fds[stream], data)
            except BlockingIOError:
                os.set_blocking(self._fds[stream], True)
