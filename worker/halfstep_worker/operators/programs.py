"""Running a program for an operator: its output passes on live, its last line is kept, and it dies with us."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from halfstep.context import Stopped, running
from halfstep.errors import HalfstepError, InvalidTask
from halfstep_worker.children.kernel import die_with
from halfstep_worker.operators.base import OperatorFailed

_CHUNK = 64 * 1024
_LARGEST_PIPE = 1024 * 1024  # what can be left unread when the program has ended; beyond it, others write


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `name` is what errors call it; `env` is added to our environment."""

    name: str
    argv: Sequence[str]
    folder: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)


class LastLine:
    """The last line that is not blank of a stream of bytes, of which at most `limit` bytes are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = bytearray()
        self._last = b""

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the stream."""
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            self._extend(line)
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

    def _bytes(self) -> bytes:
        return bytes(self._open) if self._open.strip() else self._last

    def _extend(self, piece: bytes) -> None:
        self._open += piece[: self._limit + 1 - len(self._open)]

    def _close(self) -> None:
        if self._open.strip():
            self._last = bytes(self._open)
        self._open.clear()


def run_program(program: Program, *, keep: int) -> LastLine:
    """Run to the end and return the last line of its stdout, of which `keep` bytes are kept.

    OperatorFailed: it ended with another exit code than 0, or by a signal. When our body is told to stop, the program is
    ended too (TERM; whoever stops us sends KILL to the whole process group after the grace).
    """
    sys.stdout.flush()
    last = LastLine(keep)
    child = None
    try:
        with _stop_waits():
            child = _start(program)
        _forward(child, last)
    except Stopped:
        if child is not None and child.returncode is None:
            os.kill(child.pid, signal.SIGTERM)  # not `terminate`, which would reap a program that the group's TERM has ended
            _forward(child, last)
        raise
    finally:
        if child is not None:
            _bury(child)
    _check_exit(program.name, child.wait())
    return last


@contextmanager
def _stop_waits() -> Iterator[None]:
    """A stop (TERM) that comes meanwhile is heard at the end: in the midst of a start, it would leave a program nobody knows.

    Not by a mask: the kernel would hand the signal to another thread, and Python would still hear it in this one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if came:
            signal.raise_signal(signal.SIGTERM)


def _start(program: Program) -> subprocess.Popen[bytes]:
    env = _environment(program.env)
    # Looked up here: with a closed folder in PATH, exec says "permission denied" whatever else is wrong.
    executable = shutil.which(program.argv[0], path=env.get("PATH"))
    if executable is None:
        raise OperatorFailed(f"{program.name} is not installed on this worker ('{program.argv[0]}' was not found).")
    try:
        return subprocess.Popen(
            program.argv,
            executable=executable,
            cwd=program.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            preexec_fn=partial(die_with, os.getpid(), by=signal.SIGKILL),
            bufsize=0,
        )
    except ValueError:
        raise InvalidTask(f"What {program.name} was given holds a NUL or a character that is no text.") from None
    except OSError as error:
        raise _not_started(program, error) from None


def _not_started(program: Program, error: OSError) -> HalfstepError:
    if error.errno == errno.E2BIG:
        return InvalidTask(f"The command line for {program.name} is longer than the system takes; use a file.")
    return OperatorFailed(f"{program.name} could not be started: {error.strerror}.")


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    context = running()
    ours = {"HALFSTEP_TASK_ID": str(context.task_id), "HALFSTEP_ATTEMPT": str(context.attempt)} if context else {}
    return dict(os.environ) | ours | dict(added)


def _forward(child: subprocess.Popen[bytes], last: LastLine) -> None:
    """Pass on what the program writes until it has ended, not until its pipe has: something that it left behind may hold that."""
    assert child.stdout is not None
    output, ended = child.stdout.fileno(), os.pidfd_open(child.pid)
    try:
        while not _readable(ended):
            if _readable(output, ended, wait=True) and not _pass_on(output, last):
                _readable(ended, wait=True)
        rest = _LARGEST_PIPE
        while rest > 0 and _readable(output) and (size := _pass_on(output, last)):
            rest -= size
    finally:
        os.close(ended)


def _readable(*descriptors: int, wait: bool = False) -> bool:
    """Whether the first of them can be read; with `wait`, after waiting until any of them can."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return descriptors[0] in dict(poll.poll(None if wait else 0))


def _pass_on(output: int, last: LastLine) -> int:
    chunk = os.read(output, _CHUNK)
    last.feed(chunk)
    _write(chunk)
    return len(chunk)


def _write(chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(1, view) :]


def _bury(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    child.stdout.close()
    if child.poll() is None:
        child.kill()
        child.wait()


def _check_exit(name: str, code: int) -> None:
    if code > 0:
        raise OperatorFailed(f"{name} exited with code {code}.")
    if code < 0:
        raise OperatorFailed(f"{name} was killed by {_signal_name(-code)}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
