"""Where things lie, and what they are called."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parents[1]

FOLDER = Path(os.environ.get("HALFSTEP_CLUSTER_FOLDER") or CHECKOUT / ".cluster").resolve()
"""Everything about one cluster: kubeconfig, logs, keys, data. Ignored by git. Another folder is another cluster."""

KUBECONFIG = FOLDER / "kubeconfig"
ENTER = FOLDER / "enter"
"""A script that runs a command beside the cluster, where its addresses are reachable."""

INSIDE = FOLDER / "inside"
"""A script that runs a command on the node itself, with its processes and mounts."""

LOGS = FOLDER / "logs"
KEYS = FOLDER / "keys"
STATE = FOLDER / "state"
HOLDER = FOLDER / "holder.json"
"""The process that the whole cluster lives and dies with."""


def group_of(folder: Path) -> str:
    """Name of the control group of the cluster in `folder`."""
    return "halfstep-" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]


CGROUP = group_of(FOLDER)
"""Parent of the pods' control groups: the one thing that the kernel does not remove with a namespace."""


def cache() -> Path:
    """Built programs and images, shared by all checkouts: `$XDG_CACHE_HOME/halfstep/cluster`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "halfstep" / "cluster"


def digest(*parts: bytes) -> str:
    """Names what was built from `parts`."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:16]
