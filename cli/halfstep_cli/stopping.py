"""Signals as two flags: the first asks to stop in order, the second to stop at once. Handlers only count; the loop acts."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """Use with `with`, in the main thread. Signals that were ignored before (nohup, background jobs) stay ignored."""

    def __init__(self) -> None:
        self._count = 0
        self._before: dict[signal.Signals, Any] = {}
        self._read = self._write = self._old_wakeup = -1

    @property
    def asked(self) -> bool:
        """Whether a signal to stop came."""
        return self._count > 0

    @property
    def at_once(self) -> bool:
        """Whether a second one came."""
        return self._count > 1

    def wait(self, seconds: float) -> None:
        """Returns after `seconds`, or as soon as a signal comes."""
        with contextlib.suppress(BlockingIOError):
            if select.select([self._read], [], [], max(0.0, seconds))[0]:
                os.read(self._read, 1024)

    def __enter__(self) -> StopSignals:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._old_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._read)
        os.close(self._write)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
