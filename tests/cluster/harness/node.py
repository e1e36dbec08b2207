"""Process 1 of the node: makes its surroundings, starts its programs in their order, and restarts the ones that die.

Runs in the namespaces that `holder.py` made; whatever it mounts or starts ends with them.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from cluster.harness import cgroups, components, keys, network
from cluster.harness.commands import run, say, wait_until, works
from cluster.harness.components import KUBECONFIGS, PLUGINS, Component
from cluster.harness.paths import KUBECONFIG, LOGS, STATE
from cluster.harness.programs import ETCD, KUBERNETES_MODULE, built
from cluster.harness.requirements import cni_folder

BOUND = {
    "/var/lib/kubelet": STATE / "kubelet",
    "/var/lib/containerd": STATE / "containerd",
    "/var/lib/cni": STATE / "addresses",
    "/var/log": LOGS / "machine",
}
"""Folders whose names are fixed in the programs, or too long elsewhere for the name of a socket. Only the node sees them so."""


class Node:
    """The programs that run, by their process number."""

    def __init__(self) -> None:
        self.running: dict[int, Component] = {}

    def start(self, component: Component) -> None:
        """Its output goes to a log of its own."""
        with (LOGS / f"{component.name}.log").open("ab") as log:
            child = subprocess.Popen(component.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running[child.pid] = component

    def watch(self) -> None:
        """Process 1 buries everybody's dead. Programs of ours start again, a second later: tests may kill them."""
        while True:
            pid, status = os.wait()
            if component := self.running.pop(pid, None):
                say(f"{component.name} ended ({os.waitstatus_to_exitcode(status)}) and is started again")
                threading.Event().wait(1)
                self.start(component)


def surround() -> None:
    """Mounts that only the node sees, and its network."""
    run(["mount", "--make-rshared", "/"])
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])
    for place, folder in BOUND.items():
        folder.mkdir(parents=True, exist_ok=True)
        Path(place).mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", folder, place])
    network.lay()
    network.write_plugins(PLUGINS, state=STATE / "addresses" / "networks")
    cgroups.create()


def write_keys() -> None:
    """Certificates, and a kubeconfig for each party."""
    keys.make()
    KUBECONFIGS.mkdir(parents=True)
    for party in ("admin", "kubelet"):
        keys.write_kubeconfig(KUBECONFIGS / party, party=party)
    keys.write_kubeconfig(KUBECONFIG, party="admin")


def start(node: Node) -> None:
    """Each program when what it needs is there."""
    programs = built(KUBERNETES_MODULE)
    plugin_programs = cni_folder()
    assert plugin_programs is not None
    node.start(components.etcd(built(ETCD)))
    node.start(components.containerd(plugin_programs))
    node.start(components.api_server(programs))
    ready: list[str | Path] = [programs / "kubectl", f"--kubeconfig={KUBECONFIG}", "get", "--raw", "/readyz"]
    wait_until(lambda: works(ready), seconds=60, what="The API server")
    for component in (components.controller_manager, components.scheduler, components.proxy, components.kubelet):
        node.start(component(programs))


def main() -> None:
    """Never returns; when something fails early it ends, and everything with it."""
    node = Node()
    surround()
    write_keys()
    start(node)
    node.watch()


if __name__ == "__main__":
    main()
