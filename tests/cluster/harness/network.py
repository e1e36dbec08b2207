"""The network of the node: a namespace of its own, so that no address can collide with the machine's."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.harness.commands import run

NODE_NAME = "node1"
NODE_ADDRESS = "172.30.0.1"
API_SERVER = f"https://{NODE_ADDRESS}:6443"
PODS = "10.244.0.0/16"
NODE_PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"

SETTINGS = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables", "net/ipv4/conf/all/route_localnet")


def lay() -> None:
    """The node's address is not on loopback (pods must reach it), so it sits on a bridge that leads nowhere."""
    for line in (
        "link set lo up",
        "link add node0 type bridge",
        f"address add {NODE_ADDRESS}/24 dev node0",
        "link set node0 up",
        "route add default dev node0",
    ):
        run(["ip", *line.split()])
    for setting in SETTINGS:
        path = Path("/proc/sys") / setting
        if path.exists():
            path.write_text("1")


def write_plugins(folder: Path, *, state: Path) -> None:
    """How pods get their addresses: the plug-ins bridge, host-local and portmap."""
    folder.mkdir(parents=True, exist_ok=True)
    addresses = {"type": "host-local", "subnet": NODE_PODS, "dataDir": str(state), "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": addresses}
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    (folder / "10-pods.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}))
