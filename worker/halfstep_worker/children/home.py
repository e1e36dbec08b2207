"""What a process of bodies was when no body had run in it: every program is started from that, whatever bodies made of it.

`remember` is called before user code is imported, `remember_limits` in a child when its own limits are set.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

_OURS = "HALFSTEP_"
_libc = ctypes.CDLL(None)
_PUT_RIGHT = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
_OF_THE_C_LIBRARY = 0b11 << 31  # signals 32 and 33, which nobody else can set
_SIGNALS = re.compile(rb"^Sig(?:Blk|Ign):\t([0-9a-f]+)$", re.MULTILINE)


class Trait(NamedTuple):
    """A property of this process that what it starts inherits."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


# In this order: the right to set the others comes with the first.
_USER = (
    Trait(os.getresuid, lambda ids: os.setresuid(*ids)),
    Trait(os.getresgid, lambda ids: os.setresgid(*ids)),
    Trait(os.getgroups, os.setgroups),
)


def _scheduling() -> tuple[int, int] | None:
    try:
        return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    except OSError:  # not every C library has it
        return None


_PACE = (
    Trait(_scheduling, lambda wanted: os.sched_setscheduler(0, wanted[0], os.sched_param(wanted[1]))),
    Trait(lambda: os.getpriority(os.PRIO_PROCESS, 0), lambda nice: os.setpriority(os.PRIO_PROCESS, 0, nice)),
    Trait(lambda: os.sched_getaffinity(0), lambda processors: os.sched_setaffinity(0, processors)),
)
_RESOURCES = sorted({number for name, number in vars(resource).items() if name.startswith("RLIMIT_")})

Limits = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Home:
    """What a program starts from. `leader`: the process that leads a group of its own, to which stops are sent; else None.

    tended: a zygote kills all that is left of this process when it ends.
    """

    environment: Mapping[str, str]
    folder: str | None
    umask: int
    user: tuple[Any, ...]
    pace: tuple[Any, ...]
    limits: Limits
    leader: int | None
    tended: bool = False

    @classmethod
    def here(cls) -> Home:
        """This process as it is now. HALFSTEP_* is for us: no program gets the worker's URLs and settings."""
        return cls(
            environment={name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
            folder=_folder(),
            umask=_umask(),
            user=tuple(trait.read() for trait in _USER),
            pace=tuple(trait.read() for trait in _PACE),
            limits=_limits(),
            leader=_leader(),
        )

    def return_to(self) -> None:
        """In the body's process, before it forks: it is the worker's user, and leads its own group, which is what stops reach.

        OSError: it has given its user up for good.
        """
        for trait, wanted in zip(_USER, self.user, strict=True):
            if trait.read() != wanted:
                trait.write(wanted)
        if self.leader == os.getpid() != os.getpgid(0):
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)

    def repairs(self) -> list[Callable[[], object]]:
        """What the program's process has yet to do, before it is the program, to have limits, pace and signals as in a new child.

        Found out before the fork, as all that is done after it costs more: mostly nothing. Folder, umask and environment are left
        to whoever starts the program.
        """
        wrong: list[Callable[[], object]] = []
        for number, limit in zip(_RESOURCES, self.limits, strict=True):
            if resource.getrlimit(number) != limit:
                wrong.append(partial(_set_limit, number, limit))
        for trait, wanted in zip(_PACE, self.pace, strict=True):
            if trait.read() != wanted:
                wrong.append(partial(_set_pace, trait, wanted))
        return wrong + _signal_repairs()


_home: Home | None = None


def remember() -> None:
    """This is what programs start from, here and in the processes that are forked from this one."""
    global _home
    _home = Home.here()


def remember_limits() -> None:
    """A zygote's child has got limits, a process group and perhaps a user of its own. A no-op where nothing was remembered."""
    global _home
    if _home is not None:
        _home = replace(_home, limits=_limits(), leader=_leader(), user=tuple(trait.read() for trait in _USER), tended=True)


def home() -> Home:
    """What was remembered, or else this process as it is now."""
    return _home or Home.here()


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _leader() -> int | None:
    return os.getpid() if os.getpgid(0) == os.getpid() else None


def _limits() -> Limits:
    return tuple(resource.getrlimit(number) for number in _RESOURCES)


def _set_limit(number: int, wanted: tuple[int, int]) -> None:
    """As near as is allowed: only root may raise a hard limit again."""
    try:
        resource.setrlimit(number, wanted)
    except (ValueError, OSError):
        soft, (_, hard) = wanted[0], resource.getrlimit(number)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(number, (hard if _is_over(soft, hard) else soft, hard))


def _is_over(soft: int, hard: int) -> bool:
    return hard != resource.RLIM_INFINITY and (soft > hard or soft == resource.RLIM_INFINITY)


def _set_pace(trait: Trait, wanted: Any) -> None:
    with contextlib.suppress(OSError):  # only root may hurry again
        trait.write(wanted)


def _signal_repairs() -> list[Callable[[], object]]:
    """Handlers end by themselves; what is ignored or blocked stays. C code may have done that, so the kernel is asked.

    Python ignores SIGPIPE and SIGXFSZ itself, and its Popen puts them right.
    """
    blocked, ignored = (int(mask, 16) for mask in _SIGNALS.findall(_status()))
    wrong: list[Callable[[], object]] = [partial(_libc.signal, number, None) for number in _members(ignored)]  # None: SIG_DFL
    return [*wrong, partial(signal.pthread_sigmask, signal.SIG_SETMASK, ())] if blocked else wrong


def _members(mask: int) -> list[int]:
    mask &= ~(_PUT_RIGHT | _OF_THE_C_LIBRARY)
    return [number for number in range(1, signal.NSIG) if mask >> number - 1 & 1] if mask else []


def _status() -> bytes:
    file = os.open("/proc/thread-self/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 16 * 1024)
    finally:
        os.close(file)
