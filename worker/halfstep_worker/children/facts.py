"""What one body must not change for the next: facts of a process, read when its child is new and after each body.

Whatever is used here was taken hold of when this module was imported, so before user code could put something else in its place.
"""

from __future__ import annotations

import contextlib
import ctypes
import locale
import operator
import os
import resource
import signal
import time
from _signal import (
    SIG_BLOCK,
    SIG_IGN,
    SIG_SETMASK,
    getsignal,
    pthread_sigmask,
    sigpending,
)  # signal's own make enums, at twenty times the price
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from halfstep_worker.children import kernel

SIGNALS = tuple(int(number) for number in signal.valid_signals())
CATCHABLE = tuple(number for number in SIGNALS if number not in (signal.SIGKILL, signal.SIGSTOP))
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = tuple(range(resource.RLIM_NLIMITS)) if hasattr(resource, "RLIM_NLIMITS") else tuple(range(16))
_OF_THE_C_LIBRARY = 0b11 << 31
"""Signals 32 and 33: it begins to handle them when the first thread is made."""
_C_ENVIRON = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Fact:
    """One of them. `name` is for people: what an attempt's log calls it when it can't be put right.

    restore: puts it right, given what is remembered; None: that can't be done.
    keep: makes of what was read what is remembered, where the same object would change with it.
    unharmed: whether what is remembered and what is read now are alike.
    setup: whether what an import makes of it stays, for all bodies of the process.
    """

    name: str
    read: Callable[[], object]
    restore: Callable[[Any], object] | None = None
    keep: Callable[[Any], object] = _same
    unharmed: Callable[[Any, Any], bool] = operator.eq
    setup: bool = False


def facts_of_the_process(own: Mapping[int, int]) -> list[Fact]:
    """What the kernel and the C library hold. own: by descriptor 0, 1 and 2, a copy of what belongs there."""
    status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    score = os.open("/proc/self/oom_score_adj", os.O_RDONLY | os.O_CLOEXEC)
    return [
        Fact("the timers of signals", _timers, _stop_timers),
        Fact("the user and groups", _ids, _become),
        Fact("the root folder", lambda: _place("/")),
        Fact("the standard streams", lambda: tuple(_file(fd) for fd in own), lambda _: _put_back(own)),
        Fact("the mode of the standard streams", lambda: tuple(map(_flags, own)), lambda old: _set_flags(own, old)),
        Fact("os.environ", lambda: (os.environ, os.environb), _set_environ_objects),
        Fact("the environment", lambda: _DATA, _set_environment, dict),
        Fact("the environment of the C library", _c_environment, _set_c_environment),
        Fact("the time zone", lambda: (time.tzname, time.timezone, time.daylight), lambda _: _tzset()),
        Fact("the working folder", _folder, _chdir),
        Fact("the umask", _umask, _os_umask),
        Fact("the limits", _limits, _set_limits),
        Fact("the priority", _priority, lambda old: _setpriority(os.PRIO_PROCESS, 0, old[0])),
        Fact("the processors it may use", lambda: _sched_getaffinity(0), lambda old: _sched_setaffinity(0, old)),
        Fact("the handlers of signals", _handlers, _set_handlers),
        Fact("the blocked signals", lambda: pthread_sigmask(SIG_BLOCK, ()), _unblock),
        Fact("the locale", lambda: _setlocale(locale.LC_ALL), lambda old: _setlocale(locale.LC_ALL, old)),
        Fact("the ties to its parent", kernel.ties, kernel.tie_again),
        *_optional(),
        Fact("how readily it is killed for memory", partial(_pread, score, 16, 0)),
        Fact("the state of signals or rights", partial(_status, status)),
    ]


def _optional() -> list[Fact]:
    """What not every kernel or C library tells."""
    facts = []
    with contextlib.suppress(OSError):
        timers = os.open("/proc/self/timers", os.O_RDONLY | os.O_CLOEXEC)
        facts.append(Fact("timers of the C library", partial(_pread, timers, 4096, 0)))
    with contextlib.suppress(AttributeError, OSError):
        maths = ctypes.CDLL("libm.so.6")
        facts.append(Fact("the rounding of numbers", maths.fegetround, maths.fesetround))
    return facts


# Taken hold of: a body that patches `os` or `signal` reaches none of these.
_DATA: dict[bytes, bytes] = cast(Any, os.environ)._data
_signal = signal.signal
_getitimer, _setitimer, _setlocale = signal.getitimer, signal.setitimer, locale.setlocale
_getrlimit, _setrlimit = resource.getrlimit, resource.setrlimit
_fstat, _stat, _dup2, _pread = os.fstat, os.stat, os.dup2, os.pread
_getcwd, _os_chdir, _os_umask, _getpriority, _setpriority = os.getcwd, os.chdir, os.umask, os.getpriority, os.setpriority
_sched_getaffinity, _sched_setaffinity = os.sched_getaffinity, os.sched_setaffinity
_getresuid, _getresgid, _getgroups = os.getresuid, os.getresgid, os.getgroups
_setresuid, _setresgid, _setgroups = os.setresuid, os.setresgid, os.setgroups
_sched_getscheduler, _tzset = os.sched_getscheduler, time.tzset
_putenv, _unsetenv = os.putenv, os.unsetenv
_get_blocking, _set_blocking = os.get_blocking, os.set_blocking
_get_inheritable, _set_inheritable = os.get_inheritable, os.set_inheritable


def _timers() -> object:
    return [_getitimer(timer) == (0.0, 0.0) for timer in TIMERS]


def _stop_timers(_: object) -> None:
    for timer in TIMERS:
        _setitimer(timer, 0)


def _ids() -> object:
    return _getresuid(), _getresgid(), _getgroups()


def _become(old: Any) -> None:
    """The user first: only who is root again may be of other groups."""
    _setresuid(*old[0])
    _setresgid(*old[1])
    _setgroups(old[2])


def _place(path: str) -> tuple[int, int]:
    found = _stat(path)
    return found.st_dev, found.st_ino


def _file(fd: int) -> tuple[int, int] | None:
    try:
        found = _fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _put_back(own: Mapping[int, int]) -> None:
    for fd, copy in own.items():
        _dup2(copy, fd)


def _flags(fd: int) -> object:
    try:
        return _get_blocking(fd), _get_inheritable(fd)
    except OSError:
        return None


def _set_flags(own: Mapping[int, int], old: Any) -> None:
    for fd, (blocking, inheritable) in zip(own, old, strict=True):
        _set_blocking(fd, blocking)
        _set_inheritable(fd, inheritable)


def _set_environ_objects(old: Any) -> None:
    os.environ, os.environb = old


def _set_environment(old: dict[bytes, bytes]) -> None:
    """Through the C library too, which is what a program and libpq read."""
    for name in set(_DATA) - set(old):
        _unsetenv(name)
    for name, value in old.items():
        _putenv(name, value)
    _DATA.clear()
    _DATA.update(old)


def _c_environment() -> object:
    found, at = set(), 0
    while (entry := _C_ENVIRON[at]) is not None:
        found.add(entry)
        at += 1
    return found


def _set_c_environment(old: set[bytes]) -> None:
    kept = dict(entry.split(b"=", 1) for entry in old if b"=" in entry)
    for entry in cast(set[bytes], _c_environment()) - old:
        if (name := entry.split(b"=", 1)[0]) not in kept:
            _unsetenv(name)
    for name, value in kept.items():
        _putenv(name, value)


def _folder() -> object:
    try:
        return _getcwd()
    except OSError:
        return None


def _chdir(old: str | None) -> None:
    if old is not None:
        _os_chdir(old)


def _umask() -> int:
    old = _os_umask(0o077)
    _os_umask(old)
    return old


def _limits() -> object:
    return [_getrlimit(limit) for limit in _LIMITS]


def _set_limits(old: Any) -> None:
    for limit, kept in zip(_LIMITS, old, strict=True):
        if _getrlimit(limit) != kept:
            _setrlimit(limit, kept)


def _priority() -> object:
    return _getpriority(os.PRIO_PROCESS, 0), _sched_getscheduler(0)


def _handlers() -> list[object]:
    return [getsignal(number) for number in CATCHABLE]


def _set_handlers(old: list[Any]) -> None:
    for number, handler in zip(CATCHABLE, old, strict=True):
        if handler is not None and getsignal(number) is not handler:
            _signal(number, handler)


def _unblock(old: Any) -> None:
    """Without those that wait behind the mask: they were meant for the body that blocked them."""
    for number in sigpending():
        handler = getsignal(number)
        if handler is not None:
            _signal(number, SIG_IGN)
            _signal(number, handler)
    pthread_sigmask(SIG_SETMASK, old)


def _status(fd: int) -> object:
    """Masks, dispositions, capabilities and the like, as the kernel has them: what C code has changed is seen too."""
    text = _pread(fd, 8192, 0)
    start, caught = text.find(b"SigBlk:"), text.find(b"SigCgt:")
    end = text.find(b"\n", caught)
    ours = int(text[caught + 7 : end], 16) & ~_OF_THE_C_LIBRARY
    return text[start:caught], ours, text[end : text.find(b"Cpus_allowed:", end)]
