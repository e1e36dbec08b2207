"""How a process ended, in words for people."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from halfstep_worker.children import processes

SEEN_DEAD_MS = 1000


def cause_of(code: int, *, peak: int | None = None) -> str:
    """How a process ended: its exit code (negative: a signal), and if known the most memory it ever used, in bytes."""
    return _end_of(code) if peak is None else f"{_end_of(code)} Its peak memory was {size_text(peak)}."


def _end_of(code: int) -> str:
    if code >= 0:
        return f"The body's process exited with code {code} before the body returned."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"The body's process ended with signal {-code} ({name})."


def size_text(size: int) -> str:
    """Bytes for people, in MiB."""
    return f"{size / 2**20:.0f} MiB"


def see_dead(pid: int) -> None:
    """Kill a child whose zygote is gone, with its group, and wait until it is dead, a second at most. 0 is nobody."""
    if not pid:
        return
    processes.kill_group(pid)
    with contextlib.suppress(OSError):
        fd = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            poller.poll(SEEN_DEAD_MS)
        finally:
            os.close(fd)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
