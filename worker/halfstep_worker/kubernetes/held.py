"""Descriptors of ours in the process of a body, which may close any, or put another file into its place."""

from __future__ import annotations

import contextlib
import fcntl
import os
from os import O_CLOEXEC, O_CREAT, O_WRONLY, fstat, ftruncate, lseek, set_blocking
from os import open as open_file
from os import write as write_some
from pathlib import Path

HIGH = 500
"""Where bodies that tidy up after themselves seldom look. Below the usual limit of 1,024."""


def _high(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)
    except OSError:
        return os.dup(fd)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        found = fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Held:
    """One file by a descriptor of our own, and by others that lead to the same one while the first is not there."""

    def __init__(self, fd: int, *others: int) -> None:
        self._fds = (_high(fd), fd, *others)
        self._identity = _identity(fd)

    def write(self, data: bytes) -> bool:
        """All of it, or False."""
        fd = next((fd for fd in self._fds if _identity(fd) == self._identity is not None), None)
        if fd is None:
            return False
        with contextlib.suppress(OSError):
            while data:
                data = data[self._some(fd, data) :]
        return not data

    def empty(self) -> None:
        """A file that a body has written into, too."""
        for fd in self._fds:
            if _identity(fd) == self._identity:
                with contextlib.suppress(OSError):
                    ftruncate(fd, 0)
                    lseek(fd, 0, os.SEEK_SET)

    @staticmethod
    def _some(fd: int, data: bytes) -> int:
        try:
            return write_some(fd, data)
        except BlockingIOError:  # some programs leave a shared pipe non-blocking
            set_blocking(fd, True)
            return write_some(fd, data)


class TerminationLog:
    """What a kubelet reads when the container has ended. Opened before the body runs, and again where that is of no use."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._held = self._open()

    def write(self, text: str) -> None:
        """In place of what stands there. Raises OSError."""
        data = text.encode("utf-8", errors="replace")
        for held in (self._held, None):
            file = held or self._open(strict=True)
            if file is not None:
                file.empty()
                if file.write(data):
                    return
        raise OSError(f"{self._path} can't be written")

    def _open(self, *, strict: bool = False) -> Held | None:
        try:
            return Held(open_file(self._path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644))
        except OSError:
            if strict:
                raise
            return None
