"""What the machine must have, and how it gets it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from cluster.harness.commands import ClusterError, run, say

GO = (1, 26)

PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "busybox": "busybox-static",
    "debootstrap": "debootstrap",
    "openssl": "openssl",
    "unshare": "util-linux",
}
"""Program -> the Debian package that brings it."""

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


def cni_folder() -> Path | None:
    """Where the network plug-ins are installed."""
    return next((folder for folder in CNI_FOLDERS if (folder / "bridge").exists()), None)


def unfit() -> str | None:
    """Why a cluster can't run here whatever is installed; None when it can."""
    if sys.platform != "linux":
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root (or KUBECONFIG, naming a cluster to use)"
    if _go_version() < GO:
        return f"it needs Go {GO[0]}.{GO[1]} or newer to build Kubernetes"
    return None


def missing_packages() -> list[str]:
    """Debian packages that are not installed."""
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    return packages if cni_folder() else [*packages, "containernetworking-plugins"]


def prepare() -> None:
    """Installs what is missing, by apt-get. Raises `ClusterError` where that can't be."""
    if reason := unfit():
        raise ClusterError(f"No test cluster on this machine: {reason}.")
    if packages := missing_packages():
        if not shutil.which("apt-get"):
            raise ClusterError(f"No test cluster on this machine: install what Debian calls {', '.join(packages)}.")
        _install(packages)


def _install(packages: list[str]) -> None:
    say(f"Installing {', '.join(packages)} ...")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], seconds=300, env=environment)
    run(["apt-get", "install", "--yes", "--no-install-recommends", *packages], seconds=600, env=environment)


def _go_version() -> tuple[int, int]:
    try:
        found = re.search(r"go(\d+)\.(\d+)", run(["go", "env", "GOVERSION"]))
    except ClusterError:
        return (0, 0)
    return (int(found[1]), int(found[2])) if found else (0, 0)
