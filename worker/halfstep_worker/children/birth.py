"""From fork to first task: how a copy of the zygote becomes a child."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from halfstep_worker.children import home, kernel
from halfstep_worker.children.channel import Channel
from halfstep_worker.children.marks import Marks
from halfstep_worker.children.page import Page
from halfstep_worker.children.runner import Registry, Runner

OOM_STEP = 200
OOM_HIGHEST = 1000


@dataclass(frozen=True, slots=True)
class Birth:
    """What a child is born with: its parent's pid, the settings, the loaded user code, its token, its four descriptors."""

    zygote: int
    settings: dict[str, Any]
    registry: Registry
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
        _detach(birth.zygote, inherited)
        _limit(birth.settings.get("memory_bytes"))
        home.remember_limits()
        _runner(birth).serve()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _detach(zygote: int, inherited: Iterable[int]) -> None:
    os.setpgid(0, 0)
    kernel.die_with(zygote, by=signal.SIGKILL)
    kernel.adopt_orphans()
    kernel.rename("halfstep-child")
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for fd in inherited:
        os.close(fd)


def _limit(memory_bytes: int | None) -> None:
    """RLIMIT_DATA lets Python raise MemoryError where the worker, which only looks now and then, would have to kill."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        with contextlib.suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, hard))
    with contextlib.suppress(OSError):
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(min(OOM_HIGHEST, int(score.read_text()) + OOM_STEP)))


def _runner(birth: Birth) -> Runner:
    marks_on = (os.dup(birth.out), os.dup(birth.err))
    _redirect(birth)
    page = Page(birth.page)
    channel = Channel(socket.socket(fileno=os.dup(birth.tasks)))
    birth.close()
    gc.enable()
    return Runner(
        birth.registry,
        channel=channel,
        page=page,
        marks=Marks(page, birth.token, marks_on),
        result_bytes=birth.settings["result_bytes"],
    )


def _redirect(birth: Birth) -> None:
    """stdin is empty, stdout and stderr are the pipes. The file objects stay: user code may hold them, as logging does."""
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for fd, place in ((nothing, 0), (birth.out, 1), (birth.err, 2)):
        os.dup2(fd, place)
    os.close(nothing)
