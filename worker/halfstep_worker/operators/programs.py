"""Running a program for an operator: its output passes on live, its last words are kept, and it dies with us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from halfstep.context import Stopped
from halfstep_worker.operators.base import OperatorFailed
from halfstep_worker.operators.last_line import LastLine, LastWords
from halfstep_worker.operators.relay import Stream, relay
from halfstep_worker.operators.starting import Program, start


def run_program(program: Program, *, keep: int) -> LastLine:
    """Run to the end and return the last line of its stdout, of which `keep` bytes are kept.

    OperatorFailed: it ended with another exit code than 0, by a signal, or nobody knows how. When our body is told to stop,
    the program is ended too (TERM; whoever stops us sends KILL to the whole process group after the grace).
    """
    _flush()
    last, words = LastLine(keep), LastWords()
    with _answering(signal.SIGCHLD, signal.SIG_DFL):  # ignored, exit codes are lost; and a body's handler may collect them
        code = _run(program, last, words)
    if code != 0:
        raise OperatorFailed(_failure(program.name, code, _said(last, words)))
    return last


def _run(program: Program, last: LastLine, words: LastWords) -> int | None:
    running = None
    try:
        with _stop_waits():
            running = Running(start(program))
        running.relay(last, words)
    except Stopped:
        if running is not None:
            running.stop()
            running.relay(last, words)
        raise
    finally:
        if running is not None:
            running.bury()
    return running.code


class Running:
    """A program that has been started. `code`: how it ended, negative for a signal; None: not yet, or nobody knows."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.code: int | None = None
        self._child = child
        # By pid, a signal might meet a stranger: a thread of a body's may have collected the program.
        self._pidfd: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(child.pid)

    def relay(self, last: LastLine, words: LastWords) -> None:
        """Pass its output on until it has ended."""
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        if self._pidfd is not None:
            out, err = self._child.stdout.fileno(), self._child.stderr.fileno()
            relay(self._pidfd, [Stream(out, 1, last.feed), Stream(err, 2, words.feed)])

    def stop(self) -> None:
        """TERM; nothing if it has ended."""
        self._signal(signal.SIGTERM)

    def bury(self) -> None:
        """Leave nothing of it: not its streams, and not itself, running or dead."""
        for file in (self._child.stdout, self._child.stderr):
            assert file is not None
            file.close()
        self._signal(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            self.code = os.waitstatus_to_exitcode(os.waitpid(self._child.pid, 0)[1])
        self._child.returncode = self.code or 0  # it is not asked again: Popen takes a lost exit code for 0
        if self._pidfd is not None:
            os.close(self._pidfd)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)


@contextmanager
def _stop_waits() -> Iterator[None]:
    """A stop (TERM) that comes meanwhile is heard at the end: in the midst of a start, it would leave a program nobody knows.

    Not by a mask: the kernel would hand the signal to another thread, and Python would still hear it in this one.
    """
    came: list[int] = []
    try:
        with _answering(signal.SIGTERM, lambda number, _: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(signal.SIGTERM)


@contextmanager
def _answering(number: signal.Signals, handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> Iterator[None]:
    """Another answer to a signal for a while. A no-op in other threads than the main one, which alone may change it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL if before is None else before)


def _flush() -> None:
    """What the body printed comes first. A stream that an earlier body broke or closed is no matter of the program's."""
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            file.flush()


def _failure(name: str, code: int | None, said: str) -> str:
    """The sentence of the error."""
    if code is None:
        return f"{name} has ended, but how it ended is not known: other code in its process collected its exit code{said}"
    return f"{name} exited with code {code}{said}" if code > 0 else f"{name} was killed by {_signal_name(-code)}{said}"


def _said(last: LastLine, words: LastWords) -> str:
    """How the sentence ends."""
    for stream, text in (("stderr", words.words), ("stdout", last.words)):
        if text:
            return f"; its last line on {stream}: {text}"
    return "."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
