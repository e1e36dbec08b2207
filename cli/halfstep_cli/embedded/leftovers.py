"""Servers that outlived their supervisor: found by what they are, never by a number in a file.

Every process of a PostgreSQL server has the server's data folder as its working folder. That, and the name of the executable, is
what counts here; `postmaster.pid` may name anybody after a crash.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from halfstep.errors import DatabaseUnavailable

Pause = Callable[[float], object]

# What a lone server gets, and how many seconds until the next: a clean stop, a stop without a checkpoint, the end.
STAGES = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 3.0))


def processes_in(data: Path) -> list[int]:
    """The PIDs of all PostgreSQL processes that work in `data`."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _works_in(pid, data)]


def end_leftovers(data: Path, *, pause: Pause) -> None:
    """Return when no PostgreSQL process works in `data` any more; DatabaseUnavailable if one can't be ended."""
    for sign, patience in STAGES:
        for pid in _leaders(processes_in(data)) if sign == signal.SIGINT else processes_in(data):
            _signal(pid, sign, data=data)
        for _ in range(int(patience / 0.02)):
            if not processes_in(data):
                return
            pause(0.02)
    raise DatabaseUnavailable(f"Processes {processes_in(data)} still use {data} and cannot be ended; end them and start again.")


def disown_pid_file(data: Path) -> None:
    """Make `postmaster.pid` of a dead server harmless. Call only when nobody works in `data`.

    PostgreSQL refuses to start while the PID in it lives, whoever that is by now, but takes its own parent's for stale, and then
    still recycles the shared memory that the file names. So we put our own there; a file that is no such file is removed.
    """
    path = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        lines = path.read_bytes().splitlines(keepends=True)
        if not lines or not lines[0].strip().isdigit():
            path.unlink()
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        with open(descriptor, "wb") as file:
            file.writelines([b"%d\n" % os.getpid(), *lines[1:]])


def _works_in(pid: int, data: Path) -> bool:
    try:
        if not os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("postgres"):
            return False
        return os.path.samefile(f"/proc/{pid}/cwd", data)
    except OSError:  # gone, or not ours to look at
        return False


def _leaders(pids: list[int]) -> list[int]:
    """Those whose parent is none of them: the postmaster, or orphans of one."""
    return [pid for pid in pids if _parent(pid) not in pids]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _signal(pid: int, sign: signal.Signals, *, data: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            # Looked at again through a descriptor that cannot come to mean another process.
            if _works_in(pid, data):
                signal.pidfd_send_signal(descriptor, sign)
        finally:
            os.close(descriptor)
