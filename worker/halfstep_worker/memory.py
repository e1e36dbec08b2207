"""How much memory one body may use: the container's limit, kept away from, shared by the slots."""

from __future__ import annotations

from pathlib import Path

SHARE = 0.8
"""What the bodies may use of the container's memory. On cgroup v2 the kernel kills the whole container at its limit."""
CGROUP = Path("/sys/fs/cgroup")


def slot_limit(slots: int, *, cgroup: Path = CGROUP) -> int | None:
    """Bytes for one slot; None where the container has no limit of its own."""
    limit = _container_limit(cgroup)
    return None if limit is None else int(limit * SHARE / slots)


def _container_limit(cgroup: Path) -> int | None:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (cgroup / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 2**60:
            return int(text)
    return None
