"""Locks on files that the kernel gives back when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

# NOFOLLOW: as root we may be pointed at a folder that somebody else can write.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def exclusive(path: Path) -> int | None:
    """A descriptor that holds the only lock on `path`, or None while anybody else holds one. Never waits."""
    return _lock(path, fcntl.LOCK_EX)


def shared(path: Path) -> int | None:
    """A descriptor that holds one of many locks on `path`, or None while somebody holds it alone. Never waits."""
    return _lock(path, fcntl.LOCK_SH)


def release(lock: int) -> None:
    """Give the lock back, also when a forked child still has a copy of the descriptor."""
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def is_free(path: Path) -> bool:
    """Whether nobody holds `path` alone at this moment."""
    lock = shared(path)
    if lock is None:
        return False
    release(lock)
    return True


def _lock(path: Path, kind: int) -> int | None:
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
