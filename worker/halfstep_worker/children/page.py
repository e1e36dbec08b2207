"""A page of memory that the worker and one child share: facts that must be known without asking the other side.

Every word has one writer. An aligned word is written in one store (memoryview of native unsigned long long), so a reader
never sees half of it.
"""

from __future__ import annotations

import fcntl
import mmap
import os

SIZE = 4096
SENSELESS = "The page that is shared with the worker makes no sense any more."
"""A body has written on it."""
REASONS = ("", "timeout", "cancelled", "drain", "lease")

# Written by the worker. DRAINED + 0 is stdout, + 1 stderr: bytes taken from the pipe so far, times two, plus one while a
# read is under way.
DRAINED = 0
STOP_NUMBER = 2
STOP_REASON = 3
WARNING = 4
# Written by the child: the number of the last task begun and of the last one ended, and when (monotonic ns) it began;
# whether it is ready for the first.
BEGUN = 8
ENDED = 9
STARTED = 10
READY = 11


def create() -> int:
    """The descriptor of a fresh page, all zero. Nobody can make it shorter: whoever read what is gone then would get SIGBUS."""
    fd = os.memfd_create("halfstep-page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SIZE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


class Page:
    """The mapped page. `words` is the memory itself."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        self.words = memoryview(self._map).cast("Q")

    def close(self) -> None:
        """Unmap; the descriptor is the caller's."""
        self.words.release()
        self._map.close()

    # The worker's side

    def ask_to_stop(self, number: int, reason: str) -> None:
        """Say that the task of this number is to stop. Written before any signal is sent."""
        self.words[STOP_REASON] = REASONS.index(reason)
        self.words[STOP_NUMBER] = number

    def warn(self, reason: str) -> None:
        """Let every body see the reason; no one is stopped by it."""
        self.words[WARNING] = REASONS.index(reason)

    def running(self) -> tuple[int, float] | None:
        """(number, monotonic seconds of its start) of the body that runs now."""
        begun = self.words[BEGUN]
        started = self.words[STARTED]
        if not begun or self.words[ENDED] == begun or self.words[BEGUN] != begun:
            return None
        return begun, started / 1e9

    # The child's side

    def be_ready(self) -> None:
        """All that is to be imported is."""
        self.words[READY] = 1

    def begin(self, number: int, now: int) -> None:
        """The body of this number starts at `now` (monotonic ns)."""
        self.words[STARTED] = now
        self.words[BEGUN] = number

    def end(self, number: int) -> None:
        """The body of this number has ended; a signal meant for it may no longer be sent.

        OSError: somebody has written on the page. The next start would cover that up, and the worker might by then have read
        what was on it.
        """
        if not self.runs(number):
            raise OSError(SENSELESS)
        self.words[ENDED] = number

    def runs(self, number: int) -> bool:
        """Whether the body of this number runs."""
        return self.words[BEGUN] == number and self.words[ENDED] != number

    def stops(self, number: int) -> bool:
        """Whether the worker asked this very task to stop."""
        return self.words[STOP_NUMBER] == number

    def reason(self, number: int) -> str | None:
        """Why this task is to stop, or what the worker warns of."""
        code = self.words[STOP_REASON] if self.stops(number) else self.words[WARNING]
        return REASONS[code] or None
