"""A disk of a few megabytes that a test can fill. Needs root (and the right to mount): it lies in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MISSING = "a small disk has to be mounted, which takes root: run the tests as root, where mounting is allowed"


class SmallDisk:
    """Mounted at `folder`. `fill` leaves no byte, `free` gives all of it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """No write that needs more room succeeds from now on."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while file.write(b"\0" * size):
                        pass

    def free(self) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[SmallDisk | None]:
    """A disk at `folder` (made if need be); None where none can be mounted."""
    folder.mkdir(exist_ok=True)
    options = f"size={megabytes}m,mode=0711"
    mounted = os.geteuid() == 0 and _run("mount", "-t", "tmpfs", "-o", options, "halfstep-test", str(folder))
    try:
        yield SmallDisk(folder) if mounted else None
    finally:
        if mounted:
            _run("umount", "-l", str(folder))


def _run(*command: str) -> bool:
    with suppress(OSError):
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20).returncode == 0
    return False
