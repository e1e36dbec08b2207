"""What this process holds that does not survive a fork: threads are gone in a child, the rest all children would share.

Two children that talk on one socket, read from one pipe or move the place in one file garble each other's work.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from halfstep_worker.children import processes

THREAD_END_SECONDS = 0.1
"""The kernel still shows a thread for a moment when it has been joined."""
TRIAL_MS = 1000
ORDER = ("thread", "program", "descriptor", "memory")
NAMED = 5
"""So many of the things that were left are named."""
MEMORY_DEVICES = 1
"""The major number of /dev/null, zero, random and urandom, which have no state that could be shared."""
SURVIVORS = {"jemalloc_bg_thd"}
"""Names of libraries' threads that stay where they are when their process forks, and are looked after in the child."""


class Held(NamedTuple):
    """One thing: a `descriptor`, `memory`, a `thread` or a `program`; its number (address, thread id, pid) and its name."""

    kind: str
    number: int
    name: str = ""


class Watch:
    """Compares what the process holds with what it held when the watch was made."""

    def __init__(self) -> None:
        self._before = _held()

    def left(self) -> str:
        """In words, what has come and does not survive a fork; nothing that only waits for the garbage collector."""
        if not self._found():
            return ""
        gc.collect()
        found = self._found()
        words = list(dict.fromkeys(_words(one) for one in found))
        more = [f"{len(words) - NAMED} more"] if len(words) > NAMED else []
        return ", ".join(words[:NAMED] + more)

    def _found(self) -> list[Held]:
        """What tells most of where it comes from first."""
        found = sorted(_held() - self._before, key=lambda one: (ORDER.index(one.kind), one.number))
        return [one for one in found if not _is_harmless(one)]


def _held() -> set[Held]:
    return {*_descriptors(), *_shared_memory(), *_threads(), *_programs()}


def _descriptors() -> Iterator[Held]:
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            yield Held("descriptor", int(fd), os.readlink(f"/proc/self/fd/{fd}"))


def _shared_memory() -> Iterator[Held]:
    """Writable mappings that a fork does not copy, as those of the locks of multiprocessing."""
    for line in _maps().splitlines():
        area, access, *rest = line.split(maxsplit=5)
        if access[1] == "w" and access[3] == "s":
            yield Held("memory", int(area.partition("-")[0], 16), rest[3] if len(rest) > 3 else "")


def _maps() -> str:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        return file.read()


def _programs() -> Iterator[Held]:
    below = [pid for thread in os.listdir("/proc/self/task") for pid in _text(f"/proc/self/task/{thread}/children").split()]
    found = processes.snapshot() if below else {}
    for pid in map(int, below):
        if pid in found and not found[pid].ended:
            yield Held("program", pid)


def lent_threads() -> int:
    """How many threads libraries have ended for a fork so far: in a child they start as many again."""
    return sum(_lent)


_lent: list[int] = []


def _threads() -> Iterator[Held]:
    """Python's own, and those of libraries that are still there after a fork.

    Numerical libraries start threads when they are loaded; they end them before each fork, and start them again when needed.
    """
    others = _other_threads()
    if others - _python_threads().keys():
        others = _after_a_moment()
    if others and not _python_threads():
        before = len(others)
        _fork_on_trial()
        others = _after_a_moment()
        _lent.append(before - len(others))
    for thread in others:
        yield Held("thread", thread, _python_threads().get(thread, ""))


def _other_threads() -> set[int]:
    found = {int(name) for name in os.listdir("/proc/self/task")} - {threading.get_native_id()}
    return {thread for thread in found if _text(f"/proc/self/task/{thread}/comm").strip() not in SURVIVORS}


def _python_threads() -> dict[int, str]:
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    return {thread.native_id: thread.name for thread in others if thread.native_id}


def _after_a_moment() -> set[int]:
    deadline = time.monotonic() + THREAD_END_SECONDS
    while (others := _other_threads()) - _python_threads().keys() and time.monotonic() < deadline:
        select.poll().poll(1)
    return others


def _fork_on_trial() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    ended = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(ended, select.POLLIN)
        if not poller.poll(TRIAL_MS):
            processes.kill([pid])
        os.waitpid(pid, 0)
    finally:
        os.close(ended)


def _text(path: str) -> str:
    """Of a file of /proc; nothing if that has gone meanwhile."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _is_harmless(one: Held) -> bool:
    """Whether children may share it: folders, devices without a state, and files that are only written, or mapped to be read."""
    if one.kind != "descriptor":
        return False
    try:
        status = os.fstat(one.number)
    except OSError:  # closed meanwhile
        return True
    if stat.S_ISCHR(status.st_mode):
        return os.major(status.st_rdev) == MEMORY_DEVICES or os.isatty(one.number)
    if stat.S_ISREG(status.st_mode):
        access = _access(one.number)
        return access == os.O_WRONLY or (access == os.O_RDONLY and f" {one.name}\n" in _maps())
    return stat.S_ISDIR(status.st_mode)


def _access(fd: int) -> int:
    flags = next((line for line in _text(f"/proc/self/fdinfo/{fd}").splitlines() if line.startswith("flags:")), "flags: 2")
    return int(flags.split()[1], 8) & os.O_ACCMODE


def _words(one: Held) -> str:
    match one.kind:
        case "thread":
            return f"the thread '{one.name}'" if one.name else "a thread of a library"
        case "program":
            return f"a running program (pid {one.number})"
        case "memory":
            return "memory that processes share"
    return _descriptor_words(one)


def _descriptor_words(one: Held) -> str:
    sort, _, name = one.name.partition(":")
    match sort:
        case "socket":
            return _socket_words(one.number)
        case "pipe":
            return "a pipe"
        case "anon_inode":
            return f"a descriptor of {name.strip('[]')}"
    return f"the open file {one.name}"


def _socket_words(fd: int) -> str:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as end:
        peer = end.getpeername()
        if isinstance(peer, tuple):
            return f"a connection to {peer[0]}, port {peer[1]}"
    return "a socket"
