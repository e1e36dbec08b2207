"""Commands that run where the node's addresses, sockets and mounts are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.harness.commands import ClusterError, run
from cluster.harness.components import SOCKET
from cluster.harness.holder import recorded
from cluster.harness.paths import ENTER, INSIDE, KUBECONFIG
from cluster.harness.programs import KUBERNETES_MODULE, built


def node() -> int:
    """Process 1 of the node, as its number is outside. Raises `ClusterError` when there is none."""
    holder = recorded()
    number = holder.node if holder and holder.alive else None
    if number is None:
        raise ClusterError("No test cluster runs here; start one with `make cluster-up`.")
    return number


def write_scripts() -> None:
    """For people and tests: the machine as it is, but with the node's network; and all of the node."""
    path = f"PATH='{built(KUBERNETES_MODULE)}':\"$PATH\""
    _script(
        ENTER,
        "Runs a command with the test cluster's network and kubeconfig: .cluster/enter kubectl get pods",
        f"export KUBECONFIG='{KUBECONFIG}' {path}",
        f'exec nsenter --net=/proc/{node()}/ns/net -- "$@"',
    )
    _script(
        INSIDE,
        "Runs a command on the test cluster's node: .cluster/inside ctr containers list",
        f"export CONTAINERD_ADDRESS={SOCKET} CONTAINERD_NAMESPACE=k8s.io {path}",
        f'exec nsenter --target {node()} --mount --net --pid -- "$@"',
    )


def _script(place: Path, purpose: str, *lines: str) -> None:
    place.write_text("\n".join(("#!/bin/sh", f"# {purpose}", *lines)) + "\n")
    place.chmod(0o755)


def kubectl(*words: str, given: str | None = None, seconds: float = 30) -> str:
    """What kubectl prints, as the cluster's administrator."""
    prefix = ["nsenter", f"--net=/proc/{node()}/ns/net", "--"]
    program = built(KUBERNETES_MODULE) / "kubectl"
    return run([*prefix, program, f"--kubeconfig={KUBECONFIG}", *words], given=given, seconds=seconds)


def apply(*manifests: dict[str, Any], seconds: float = 30) -> None:
    """Creates or changes objects."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    kubectl("apply", "--server-side", "-f", "-", given=json.dumps(items), seconds=seconds)


def ctr(*words: str | Path, seconds: float = 60) -> str:
    """What containerd's client prints; it sees the whole file system of the machine."""
    prefix: Sequence[str] = ("nsenter", "--target", str(node()), "--mount", "--net", "--pid", "--")
    return run([*prefix, "ctr", "--address", SOCKET, "--namespace", "k8s.io", *words], seconds=seconds)
