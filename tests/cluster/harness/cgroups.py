"""The pods' control groups hang under one of ours, which is made before and removed after."""

from __future__ import annotations

import os
from pathlib import Path

from cluster.harness.commands import wait_until
from cluster.harness.paths import CGROUP

ROOT = Path("/sys/fs/cgroup")
V2 = ROOT / "cgroup.controllers"


def _hierarchies() -> list[Path]:
    """Version 2 has one tree for all; version 1 one for each controller."""
    if V2.exists():
        return [ROOT]
    return [path for path in ROOT.iterdir() if (path / "cgroup.procs").exists()]


def create() -> None:
    """The kubelet refuses to start below a group that does not exist."""
    for hierarchy in _hierarchies():
        (hierarchy / CGROUP).mkdir(exist_ok=True)
    if V2.exists():
        controllers = " ".join(f"+{name}" for name in V2.read_text().split())
        (ROOT / CGROUP / "cgroup.subtree_control").write_text(controllers)


def left() -> list[str]:
    """Groups of ours that exist, innermost first."""
    tops = [str(path / CGROUP) for path in _hierarchies() if (path / CGROUP).is_dir()]
    return [folder for top in tops for folder, _, _ in os.walk(top, topdown=False)]


def remove() -> None:
    """Processes in them have been killed; the kernel lets go of each group a moment after its last process."""
    wait_until(_removed, seconds=20, what="The end of the pods' control groups")


def _removed() -> bool:
    for group in left():
        try:
            os.rmdir(group)
        except OSError:
            return False
    return True
