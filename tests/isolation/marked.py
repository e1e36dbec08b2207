"""Processes that carry a mark: in their environment, or among their arguments where others may not read that."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from waiting import wait_until


def marked(mark: str) -> set[int]:
    """Pids of all living processes that were started with the mark, whoever is their parent now. Zombies live no more."""
    return {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _carries(pid, mark.encode()) and _lives(pid)}


def sweep(mark: str) -> None:
    """SIGKILL for each of them, until none is left."""

    def swept() -> bool:
        found = marked(mark) - {os.getpid()}
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    wait_until(swept, what="the end of all that tests have started")


def _carries(pid: str, mark: bytes) -> bool:
    return any(mark in _read(f"/proc/{pid}/{file}") for file in ("environ", "cmdline"))


def _lives(pid: str) -> bool:
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"], [b"X"])


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
