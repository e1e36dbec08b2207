"""Who runs below whom, read from /proc: for sweeping descendants and for measuring the memory of a body."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Set
from dataclasses import dataclass

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/<pid>/stat. `resident`: bytes of memory, shared pages included."""

    pid: int
    parent: int
    group: int
    resident: int
    ended: bool


def snapshot() -> dict[int, Process]:
    """Every process of this pid namespace, by pid. Not atomic: what starts or ends meanwhile may be missing."""
    found = (_read(name) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process}


def _read(pid: str) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The command's name stands in parentheses and may itself hold spaces and parentheses.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(int(pid), int(fields[1]), int(fields[2]), int(fields[21]) * PAGE_BYTES, fields[0] in b"ZX")


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read().rpartition(b")")[2].split()[0] == b"T"
    except OSError:
        return False


def descendants(root: int, processes: dict[int, Process]) -> set[int]:
    """Pids of all that live below `root`."""
    below: dict[int, list[int]] = {}
    for process in processes.values():
        below.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    open_ = [root]
    while open_:
        fresh = [pid for pid in below.get(open_.pop(), ()) if pid not in found]
        found.update(fresh)
        open_ += fresh
    return found


def resident(leader: int, processes: dict[int, Process]) -> int:
    """Bytes of memory of `leader`, of its process group, and of all below it."""
    members = descendants(leader, processes) | {leader}
    members |= {process.pid for process in processes.values() if process.group == leader}
    return sum(processes[pid].resident for pid in members if pid in processes)


def used_below(root: int) -> int:
    """Bytes of memory of `root` and of all below it, shared pages counted for each. Reads only their own lines of /proc."""
    used, open_ = 0, [str(root)]
    while open_:
        pid = open_.pop()
        with contextlib.suppress(OSError):  # it has ended meanwhile
            used += int(_text(f"/proc/{pid}/statm").split()[1]) * PAGE_BYTES
            for thread in os.listdir(f"/proc/{pid}/task"):
                open_ += _text(f"/proc/{pid}/task/{thread}/children").split()
    return used


def _text(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode()


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to each; those already gone are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_others(known: Set[int] = frozenset(), *, seconds: float = 1.0) -> None:
    """Kill and bury our own children, with all below them, that are not `known`: so also orphans that we have adopted.

    Again and again, as some are born meanwhile; no longer than this, as what changed its user may be out of reach.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = snapshot()
        others = {one.pid for one in found.values() if one.parent == os.getpid() and one.pid not in known}
        if not others:
            return
        kill(others.union(*(descendants(pid, found) for pid in others)))
        for pid in others:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        select.poll().poll(2)


def kill_group(group: int, number: int = signal.SIGKILL) -> bool:
    """A signal to a whole process group; whether there was one that we may signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
