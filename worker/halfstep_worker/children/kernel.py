"""The few Linux calls that Python does not offer: prctl and capset, through the C library."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import Any

from halfstep.shield import PR_SET_DUMPABLE

PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2
PR_GET_DUMPABLE = 3
PR_SET_NAME = 15
PR_GET_NAME = 16
PR_CAPBSET_DROP = 24
PR_SET_TIMERSLACK = 29
PR_GET_TIMERSLACK = 30
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
# What opens another process's memory under /proc: the first by rule, the others on kernels from 6.16 on (perfmon_capable).
TRACING = (19, 21, 38)  # CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON
CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def unshield() -> None:
    """The reverse of `shield`, for as long as a file of our own under /proc has to be written."""
    prctl(PR_SET_DUMPABLE, 1)


def die_with(parent: int, *, by: signal.Signals) -> None:
    """Have the kernel send `by` to this process when the thread of `parent` that started it ends.

    Raises ProcessLookupError if the parent ended before the call could take effect.
    """
    prctl(PR_SET_PDEATHSIG, int(by))
    if os.getppid() != parent:
        raise ProcessLookupError("The parent has ended already.")


def adopt_orphans() -> None:
    """Make this process the new parent of every descendant whose own parent ends, even one in a session of its own."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def ties() -> tuple[object, ...]:
    """What binds a process to others: the signal of its parent's death, whether it adopts orphans, whether others of its user may
    read it; and its name and kind of slack and addresses, as `tie_again` takes them."""
    numbers = (_number(PR_GET_PDEATHSIG), _number(PR_GET_CHILD_SUBREAPER), _libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
    name = ctypes.create_string_buffer(16)
    _libc.prctl(PR_GET_NAME, name, 0, 0, 0)
    return *numbers, _libc.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), name.value, _libc.personality(ctypes.c_ulong(0xFFFFFFFF))


def tie_again(ties: tuple[Any, ...]) -> None:
    """Sets them as they were. Raises OSError."""
    *numbers, name, personality = ties
    for option, value in zip(
        (PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, PR_SET_TIMERSLACK), numbers, strict=True
    ):
        prctl(option, value)
    rename(name.decode())
    _libc.personality(ctypes.c_ulong(personality))


def _number(option: int) -> int:
    found = ctypes.c_int()
    _libc.prctl(option, ctypes.byref(found), 0, 0, 0)
    return found.value


def rename(name: str) -> None:
    """Show `name` (15 bytes at most) in `ps` and `top`."""
    text = ctypes.create_string_buffer(name.encode()[:15])
    _libc.prctl(PR_SET_NAME, text, 0, 0, 0)


def forbid_tracing() -> None:
    """Give up the capabilities by which root could read a shielded worker. For good; a no-op for others than root."""
    for capability in TRACING:
        with contextlib.suppress(OSError):
            prctl(PR_CAPBSET_DROP, capability)
    header, sets = _Header(CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    if _libc.capget(ctypes.byref(header), sets) != 0:
        return
    for capability in TRACING:
        _remove(sets[capability // 32], 1 << capability % 32)
    _libc.capset(ctypes.byref(header), sets)


def _remove(sets: _Sets, bit: int) -> None:
    for name in ("effective", "permitted", "inheritable"):
        setattr(sets, name, getattr(sets, name) & ~bit & 0xFFFFFFFF)


def prctl(option: int, value: int) -> None:
    """prctl(2) with one number. Raises OSError."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
