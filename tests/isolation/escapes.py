"""Bodies that try to get away from what bounds them. This file is the module of a worker's source folder.

Each says in a file that it has begun: the monotonic time of its start, then the pids of all that has to end with it. Processes
whose pids change go by the name `escapee`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from halfstep import task

NAME = b"escapee"
RUN_SECONDS = 30.0


@task
def waits(path: str) -> str:
    """An innocent body: over when the file is there."""
    Path(path + ".begun").touch()
    while not os.path.exists(path):
        threading.Event().wait(0.02)
    return "stood"


@task
def answers() -> str:
    return "here"


@task
def just_waits(path: str) -> None:
    _begun(path, time.monotonic())


@task
def ignores_term(path: str) -> None:
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _begun(path, started)


@task
def blocks_every_signal(path: str) -> None:
    started = time.monotonic()
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    _begun(path, started)


@task
def swallows_every_exception(path: str) -> None:
    started = time.monotonic()
    while True:
        with contextlib.suppress(BaseException):
            _begun(path, started)


@task
def freezes_itself(path: str) -> None:
    _begun(path, time.monotonic(), wait=False)
    os.kill(os.getpid(), signal.SIGSTOP)
    _wait()


@task
def freezes_its_zygote(path: str) -> None:
    started = time.monotonic()
    os.kill(os.getppid(), signal.SIGSTOP)
    _begun(path, started)


@task
def freezes_its_zygote_and_itself(path: str) -> None:
    _begun(path, time.monotonic(), wait=False)
    os.kill(os.getppid(), signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)
    _wait()


@task
def keeps_its_zygote_frozen(path: str) -> None:
    """Whoever wakes it up finds it frozen again."""
    started, zygote = time.monotonic(), os.getppid()

    def keep() -> None:
        while time.monotonic() < started + RUN_SECONDS:
            with contextlib.suppress(ProcessLookupError):
                os.kill(zygote, signal.SIGSTOP)
            threading.Event().wait(0.002)

    _begun(path, started, _forked(keep))


@task
def forks(path: str) -> None:
    """Deaf children in its own group."""
    started = time.monotonic()
    _begun(path, started, *[_forked(_deaf) for _ in range(3)])


@task
def forks_twice(path: str) -> None:
    """A grandchild whose parent is gone."""
    started = time.monotonic()
    _begun(path, started, _grandchild(_deaf))


@task
def starts_a_session(path: str) -> None:
    started = time.monotonic()
    _begun(path, started, subprocess.Popen(["sleep", "600"], start_new_session=True).pid)


@task
def becomes_a_daemon(path: str) -> None:
    """Two forks, a session of its own, another folder, nothing open, no longer killed with its parent."""

    def leave() -> None:
        os.setsid()
        os.chdir("/")
        os.closerange(0, 64)
        _deaf()

    started = time.monotonic()
    _begun(path, started, _grandchild(leave))


@task
def leaves_its_group(path: str) -> None:
    """The group of its zygote instead of its own."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(PermissionError):  # that of another session is out of reach
        os.setpgid(0, os.getpgid(os.getppid()))
    _begun(path, started)


@task
def leaves_its_zygote(path: str) -> None:
    """Nothing kills it with its parent any more."""
    started = time.monotonic()
    libc = ctypes.CDLL(None)
    libc.prctl(1, 0, 0, 0, 0)
    libc.prctl(36, 0, 0, 0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _begun(path, started, _grandchild(_deaf))


@task
def runs_away(path: str) -> None:
    """Forks, leaves its place to its child, and so on: no pid lives long."""

    def run() -> None:
        end = time.monotonic() + RUN_SECONDS
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
            with contextlib.suppress(OSError):
                os.setsid()
            threading.Event().wait(0.01)

    started = time.monotonic()
    _grandchild(run)
    _begun(path, started)


@task
def freezes_its_siblings(path: str) -> None:
    started = time.monotonic()
    for pid in _siblings():
        os.kill(pid, signal.SIGSTOP)
    _begun(path, started)


@task
def truncates_what_it_shares(path: str) -> None:
    """Whoever reads memory that lies beyond the end of its file is killed by the kernel."""
    started = time.monotonic()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:"):
                os.ftruncate(int(name), 0)
    _begun(path, started)


@task
def _begun(path: str, started: float, *pids: int, wait: bool = True) -> None:
    if not os.path.exists(path):
        Path(path + ".part").write_text(" ".join(map(str, (started, os.getpid(), *pids))))
        os.rename(path + ".part", path)
    if wait:
        _wait()


def _wait() -> None:
    while True:
        threading.Event().wait(1)


def _deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _wait()


def _forked(then: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            ctypes.CDLL(None).prctl(15, ctypes.create_string_buffer(NAME), 0, 0, 0)
            then()
        finally:
            os._exit(0)
    return pid


def _grandchild(then: Callable[[], None]) -> int:
    out, into = os.pipe()

    def fork() -> None:
        os.write(into, b"%d" % _forked(then))

    os.waitpid(_forked(fork), 0)
    return int(os.read(out, 32))


def _siblings() -> list[int]:
    zygote = os.getppid()
    found = Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()
    return [int(pid) for pid in found if int(pid) != os.getpid()]
