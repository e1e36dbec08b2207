"""From fork to first task: how a copy of the zygote becomes a child."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import resource
import signal
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from halfstep.shield import shield
from halfstep_worker.children import home, kernel
from halfstep_worker.children.channel import Channel
from halfstep_worker.children.imports import arrive
from halfstep_worker.children.marks import Marks
from halfstep_worker.children.page import Page
from halfstep_worker.children.pristine import Memory
from halfstep_worker.children.runner import Registry, Runner, Wires

OOM_STEP = 200
OOM_HIGHEST = 1000


F_SETSIG = 10  # fcntl(2); Python does not name it
HIGH = 960
"""Our descriptors lie from here on where the limit lets them: not where a body's are, and where few loops close them."""


@dataclass(frozen=True, slots=True)
class Birth:
    """What a child is born with: its parent's pid, the settings, the loaded user code, its token, its four descriptors.

    code: what the zygote remembers of it. handlers: what signals do in a child; the zygote itself hears few of them.
    """

    zygote: int
    settings: dict[str, Any]
    registry: Registry
    code: Sequence[Memory]
    handlers: Mapping[int, Any]
    token: bytes
    tasks: int
    out: int
    err: int
    page: int

    def close(self) -> None:
        """The zygote keeps none of the descriptors."""
        for fd in (self.tasks, self.out, self.err, self.page):
            os.close(fd)


def become_child(birth: Birth, *, inherited: Iterable[int]) -> NoReturn:
    """Serve tasks until there are no more. Never returns into the zygote's frames.

    `inherited`: the zygote's own descriptors. Files that user code opened while it was imported stay open: it may use them.
    """
    code = 1
    try:
        _detach(birth, inherited)
        _runner(birth).serve()
        code = 0
    except BaseException as error:
        with contextlib.suppress(BaseException):
            os.write(2, f"[halfstep: this process can't go on: {type(error).__name__}: {error}]\n".encode(errors="replace"))
    finally:
        os._exit(code)


def _detach(birth: Birth, inherited: Iterable[int]) -> None:
    _hang_on(birth.settings["lifeline"])
    os.setsid()  # its leader for good: a body can neither leave its group nor reach the worker's terminal
    _limit(birth.settings.get("memory_bytes"))
    become(birth.settings.get("run_as"))
    home.remember_limits()
    shield()
    kernel.die_with(birth.zygote, by=signal.SIGKILL)  # after the user, with which the kernel forgets it
    kernel.adopt_orphans()
    kernel.rename("halfstep-child")
    signal.set_wakeup_fd(-1)
    for number, handler in birth.handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for fd in inherited:
        os.close(fd)


def _hang_on(lifeline: int) -> None:
    """Have the kernel kill this child's group when the worker is gone: by F_SETSIG, the signal that a pipe sends as it closes.

    On a description of the pipe of its own, since whom to signal is kept there. While we may still open it, so before the user
    changes. The zygote kills more, but a body can keep it from that.
    """
    fd = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(fd, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    _high(fd)
    os.close(fd)


def become(account: Mapping[str, Any] | None) -> None:
    """Be another user from now on, for good; None: stay who we are. Raises OSError."""
    if account is None:
        return
    os.setgroups(account["groups"])
    os.setresgid(*[account["group"]] * 3)
    os.setresuid(*[account["user"]] * 3)


def _limit(memory_bytes: int | None) -> None:
    """RLIMIT_DATA lets Python raise MemoryError where the worker, which only looks now and then, would have to kill."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        with contextlib.suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, hard))
    kernel.unshield()  # else the next file is root's
    with contextlib.suppress(OSError):
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(min(OOM_HIGHEST, int(score.read_text()) + OOM_STEP)))


def _runner(birth: Birth) -> Runner:
    _redirect(birth)
    streams = {fd: _high(fd) for fd in (0, 1, 2)}
    page = Page(birth.page)
    channel = Channel(socket.socket(fileno=_high(birth.tasks)))
    birth.close()
    gc.enable()
    arrive(birth.registry)
    return Runner(
        birth.registry,
        Wires(channel, page, Marks(page, birth.token, (streams[1], streams[2])), streams),
        birth.code,
        result_bytes=birth.settings["result_bytes"],
        growth_bytes=birth.settings["growth_bytes"],
    )


def _high(fd: int) -> int:
    """A copy of a descriptor, out of the way."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = HIGH if soft == resource.RLIM_INFINITY else max(3, min(HIGH, soft - 32))
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)


def _redirect(birth: Birth) -> None:
    """stdin is empty, stdout and stderr are the pipes. The file objects stay: user code may hold them, as logging does."""
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for fd, place in ((nothing, 0), (birth.out, 1), (birth.err, 2)):
        os.dup2(fd, place)
    os.close(nothing)
