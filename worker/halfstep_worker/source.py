"""Notices when the source folder changes."""

from __future__ import annotations

import os
from pathlib import Path

LOOK_SECONDS = 1.0
SKIPPED = {"__pycache__", ".git", ".venv", "node_modules"}


class SourceWatch:
    """Compares names, sizes and times of the folder's files, at most once a second. Times are monotonic seconds."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen = fingerprint(folder) if folder else 0
        self._next_look = 0.0

    def changed(self, now: float) -> bool:
        """Whether the folder's modules are others than at the last call that said so."""
        if self._folder is None or now < self._next_look:
            return False
        self._next_look = now + LOOK_SECONDS
        seen, self._seen = self._seen, fingerprint(self._folder)
        return seen != self._seen


def fingerprint(folder: Path) -> int:
    """A number that changes when a Python file below the folder does. Scripts of other kinds are read afresh anyway."""
    facts = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - SKIPPED)
        facts += [_facts(os.path.join(root, name)) for name in sorted(names) if name.endswith(".py")]
    return hash(tuple(facts))


def _facts(path: str) -> tuple[str, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, status.st_size, status.st_mtime_ns
