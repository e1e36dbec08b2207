"""What a cluster can leave on a machine: processes, namespaces, mounts, links, control groups.

`python -m cluster.traces` lists what the machine has of all but processes and namespaces, to be compared before and after.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cluster.harness.paths import CGROUP

GROUPS = Path("/sys/fs/cgroup")
KINDS = ("net", "mnt", "pid")


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it."""

    number: int
    parent: int
    started: int
    spaces: frozenset[str]
    """Its network, mount and process namespaces."""


def processes() -> dict[int, Process]:
    """All of the machine, by number."""
    found = (_process(Path(folder)) for folder in Path("/proc").glob("[0-9]*"))
    return {process.number: process for process in found if process}


def _process(folder: Path) -> Process | None:
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        spaces = frozenset(os.readlink(folder / "ns" / kind) for kind in KINDS)
    except OSError:  # it has just ended
        return None
    return Process(int(folder.name), int(fields[1]), int(fields[19]), spaces)


def family(holder: int) -> set[Process]:
    """The process `holder` and all that descend from it: the whole of a running cluster, its pods too."""
    everybody = processes()
    members = {holder}
    while grown := {one.number for one in everybody.values() if one.parent in members} - members:
        members |= grown
    return {everybody[number] for number in members if number in everybody}


def left_of(members: set[Process]) -> set[str]:
    """Which of these processes, and of the namespaces that they did not share with this one, are still there."""
    everybody = set(processes().values())
    spaces = frozenset().union(*(member.spaces for member in members)) - {os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}
    alive = {f"process {one.number}" for one in everybody & members}
    return alive | {f"namespace {space}" for one in everybody for space in one.spaces & spaces}


def furniture(group: str = CGROUP) -> set[str]:
    """Mounts, links and the control groups of that name, as this process sees them."""
    mounts = {f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    links = {f"link {link.name}" for link in Path("/sys/class/net").iterdir()}
    tops = [path for path in (GROUPS, *GROUPS.iterdir()) if path.is_dir()]
    return mounts | links | {f"control group {found}" for top in tops for found in top.glob(group)}


if __name__ == "__main__":
    print(*sorted(furniture()), sep="\n")
