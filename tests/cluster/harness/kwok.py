"""Simulated nodes, whose pods come and go without running: thousands fit. Their lives are in `simulated/stages.yaml`."""

from __future__ import annotations

from cluster.harness.images import program_image
from cluster.harness.inside import apply
from cluster.harness.paths import HERE, digest
from cluster.harness.programs import KWOK
from cluster.harness.workloads import config_map, deployment, everything_allowed, wait_for

IMAGE = program_image("kwok", module=KWOK, programs=("kwok",))
STAGES = HERE / "simulated" / "stages.yaml"

SIMULATED = {"kwok.x-k8s.io/node": "fake"}
"""Annotation of the nodes that it plays; `cluster.kube.simulated_node` makes one."""


def start() -> None:
    """Returns when it is ready for nodes."""
    flags = (
        "--config=/etc/kwok/stages.yaml",
        "--server-address=0.0.0.0:10247",
        "--cidr=10.250.0.0/16",
        "--node-lease-duration-seconds=40",
    )
    selector = ",".join(f"{key}={value}" for key, value in SIMULATED.items())
    container = {
        "image": IMAGE.tag,
        "command": ["/kwok", *flags, f"--manage-nodes-with-annotation-selector={selector}"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 10247}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/kwok"}],
    }
    volumes = [{"name": "config", "configMap": {"name": "kwok"}}]
    apply(
        *everything_allowed("kwok"),
        config_map("kwok", file="stages.yaml", text=STAGES.read_text()),
        deployment("kwok", container=container, volumes=volumes, stamp=digest(STAGES.read_bytes())),
    )
    wait_for("kwok")
