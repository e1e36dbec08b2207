"""An import that leaves what no fork survives can't be undone: the zygote starts over, and its children do that import."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol, runtime_checkable

from halfstep.events import emit
from halfstep_worker.children import kernel, processes

AGAIN = "HALFSTEP_ZYGOTE_AGAIN"
"""The environment variable by which a zygote that starts over tells itself what it knows: `Start.apart` and `traced`, as JSON."""
ARRIVE_SECONDS = 60
"""A child whose imports take longer is ended, and its tasks come back: no time limit of a task counts before its body."""
END_SECONDS = 3.0
HIGHEST_DESCRIPTOR = 2**31 - 1
_IGNORED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}


class Unforkable(Exception):
    """The loader met an import whose traces no fork survives.

    `subject`: whose it was; `left`: what it left, in words; `owner`: the module among those that it imports, if that is known.
    """

    def __init__(self, subject: str, left: str, *, owner: str | None = None) -> None:
        super().__init__(f"{subject} leaves {left}")
        self.subject = subject
        self.left = left
        self.owner = owner


@runtime_checkable
class Arriving(Protocol):
    """What a loader returned, if there is something that each child has to import by itself."""

    def arrive(self) -> None:
        """Import it. Raises nothing: what fails is told to the tasks that need it."""


def arrive(registry: object) -> None:
    """In a new child, before it is used: the imports that its zygote left to it."""
    if isinstance(registry, Arriving):
        signal.alarm(ARRIVE_SECONDS)
        registry.arrive()
        signal.alarm(0)


@dataclass(frozen=True, slots=True)
class Start:
    """What a zygote began with, taken before anything of the user's was imported.

    `apart`: what its children import. `traced`: the import of which is to be known which module is at fault.
    """

    apart: tuple[str, ...]
    traced: str | None
    environment: dict[str, str]
    folder: str
    mask: int

    @classmethod
    def take(cls) -> Start:
        """Also takes our variable out of the environment."""
        apart, traced = json.loads(os.environ.pop(AGAIN, "[[], null]"))
        mask = os.umask(0o077)
        os.umask(mask)
        return cls(tuple(apart), traced, dict(os.environ), os.getcwd(), mask)

    @property
    def told(self) -> dict[str, object]:
        """What the loader's settings are given of it."""
        return {"apart": self.apart, "traced": self.traced}

    def over(self, found: Unforkable, *, keep: Sequence[int]) -> NoReturn:
        """Become a new zygote: one that finds out whose fault it is, and then one that leaves this import to its children.

        It stays the same process to its worker; memory, threads, descriptors and programs that were started go. `keep`: the
        control socket and the lifeline.
        """
        if found.subject != self.traced:
            self._begin_again(self.apart, found.subject, keep=keep)
        emit("import.apart", subject=found.subject, owner=f"'{found.owner}'" if found.owner else "it", left=found.left)
        self._begin_again([*self.apart, found.subject], None, keep=keep)

    def _begin_again(self, apart: Sequence[str], traced: str | None, *, keep: Sequence[int]) -> NoReturn:
        for file in (sys.stdout, sys.stderr):
            file.flush()
        processes.kill_others(seconds=END_SECONDS)
        _calm_signals()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, 0)  # until the new one knows what to make of it
        os.chdir(self.folder)
        os.umask(self.mask)
        below = 3
        for fd in sorted(keep):
            os.set_inheritable(fd, True)
            os.closerange(below, fd)
            below = fd + 1
        os.closerange(below, HIGHEST_DESCRIPTOR)
        os.execve(sys.executable, sys.orig_argv, self.environment | {AGAIN: json.dumps([apart, traced])})


def _calm_signals() -> None:
    """What is ignored, blocked or on a timer would be so in the new program image too."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in signal.valid_signals() - _IGNORED_BY_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
