"""A child and what it started, as the receiver of the worker's signals."""

from __future__ import annotations

import contextlib
import os
import signal

from halfstep_worker.children import processes


class ProcessGroup:
    """Led by a child. Signals wait until its pid is known. Used by the supervising loop only."""

    def __init__(self) -> None:
        self.pid = 0
        self._pidfd = -1
        self._early: list[int] = []

    def be(self, pid: int) -> None:
        """The zygote has forked the child."""
        self.pid = pid
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(pid)
        early, self._early = self._early, []
        for number in early:
            self.send(number)

    def send(self, number: int) -> None:
        """To the group, or to the child itself where it has not made one yet.

        Nobody else has its pid: the zygote takes it from the dead child only after all of its group were killed, and the
        kernel gives a pid again only when all others had their turn.
        """
        if self._pidfd < 0:
            self._early.append(number)
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, 0)
            if not processes.kill_group(self.pid, number):
                signal.pidfd_send_signal(self._pidfd, number)

    def thaw(self) -> None:
        """Let the child go on if somebody has stopped it, as a neighbour of the same user can."""
        if self.pid and processes.is_stopped(self.pid):
            self.send(signal.SIGCONT)

    def close(self) -> None:
        """Give back the descriptor; twice is fine."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
