"""The process that holds the node's namespaces: it is recorded before it makes them, and they end with it.

`start` runs this file as a program. It writes down who it is, then becomes `unshare`, whose child is process 1 of the node.
The kernel kills that child with it (parent-death signal), everything in the namespace with the child, and takes mounts and
links away with the last process. So one recorded process is enough to clean up after any crash.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.harness.commands import wait_until
from cluster.harness.paths import HOLDER, LOGS

NAMESPACES = ("--mount", "--net", "--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that can't be mistaken for a later one with the same number."""

    pid: int
    started: int
    """Clock ticks from the machine's start, as in /proc/PID/stat."""
    boot: str

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return _observed(self.pid) == self

    @property
    def node(self) -> int | None:
        """The number outside of the node's first process; None until it is there, and after its end."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            return int(children.read_text().split()[0])
        except (OSError, IndexError):
            return None


def _observed(pid: int) -> Holder | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if fields[0] == "Z" else Holder(pid, int(fields[19]), boot)


def recorded() -> Holder | None:
    """The holder of the last start, alive or not."""
    try:
        return Holder(**json.loads(HOLDER.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def start() -> subprocess.Popen[bytes]:
    """The node's namespaces, with `node.py` running in them; the holder outlives its starter."""
    with (LOGS / "node.log").open("ab") as log:
        command = [sys.executable, "-m", "cluster.harness.holder"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def end(holder: Holder) -> None:
    """Kills the node, and returns when it is gone."""
    node = holder.node
    if holder.alive:
        os.kill(holder.pid, signal.SIGKILL)
    # The first process of a namespace is not gone before all others in there are.
    wait_until(lambda: not holder.alive and (node is None or _observed(node) is None), seconds=30, what="The node's end")


def main() -> None:
    """Becomes the holder."""
    me = _observed(os.getpid())
    assert me is not None
    HOLDER.write_text(json.dumps(asdict(me)))
    os.execvp("unshare", ["unshare", *NAMESPACES, sys.executable, "-m", "cluster.harness.node"])


if __name__ == "__main__":
    main()
