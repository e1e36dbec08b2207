"""Talking to the cluster of the tests: connecting, pods under restricted security, waiting for what becomes of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.config import new_client_from_config
from kubernetes.watch import Watch

TOOLS = os.environ.get("HALFSTEP_TEST_TOOLS_IMAGE", "localhost/tools:1")
"""A static busybox. Another cluster than our own can't have it, and is given one that it can pull: `busybox:stable`."""

RUNTIME = os.environ.get("HALFSTEP_TEST_IMAGE", "localhost/halfstep:test")
"""The runtime's image, built from the Dockerfile."""

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that answers."""

    kubeconfig: Path
    api: ApiClient
    core: CoreV1Api


def connect(kubeconfig: str) -> Cluster:
    """Its current context. Raises the client's ConfigException for a file that is none."""
    api: Any = new_client_from_config(config_file=kubeconfig)  # type: ignore[no-untyped-call, unused-ignore]
    return Cluster(Path(kubeconfig), api, CoreV1Api(api))


def pod(name: str, *, command: Sequence[str] = (), image: str = TOOLS, **container: Any) -> dict[str, Any]:
    """A pod of one container, `main`, that passes the restricted standard; further fields are the container's."""
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    main: dict[str, Any] = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "securityContext": security}
    if command:
        main["command"] = list(command)
    user = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": user, "containers": [main | container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def create(cluster: Cluster, *, namespace: str, pod: dict[str, Any]) -> Any:
    """Raises the client's ApiException where the API server refuses it."""
    return cluster.core.create_namespaced_pod(namespace, pod)


def wait_for_pod(cluster: Cluster, *, namespace: str, name: str, until: Callable[[Any], object], seconds: int = 30) -> Any:
    """The pod as it is when `until(pod)` first holds. AssertionError after `seconds`."""
    found = cluster.core.list_namespaced_pod
    stream = Watch().stream(found, namespace, field_selector=f"metadata.name={name}", timeout_seconds=seconds)
    last = None
    for event in stream:
        last = event["object"]
        if until(last):
            return last
    raise AssertionError(f"pod {name} did not come so far within {seconds} s: {last and last.status}")


def has_ended(pod: Any) -> bool:
    """Whether its phase is a last one."""
    return pod.status.phase in ("Succeeded", "Failed")


def run_pod(cluster: Cluster, *, namespace: str, pod: dict[str, Any], seconds: int = 60) -> Any:
    """Creates it and waits for its end."""
    create(cluster, namespace=namespace, pod=pod)
    return wait_for_pod(cluster, namespace=namespace, name=pod["metadata"]["name"], until=has_ended, seconds=seconds)


def log(cluster: Cluster, *, namespace: str, name: str) -> str:
    """What its container printed."""
    return str(cluster.core.read_namespaced_pod_log(name, namespace))


def ending(pod: Any) -> Any:
    """How its first container ended: exit_code, reason, message."""
    return pod.status.container_statuses[0].state.terminated


def has_kwok(cluster: Cluster) -> bool:
    """Whether its deployment is there."""
    pods = cluster.core.list_namespaced_pod("kube-system", label_selector="app=kwok")
    return any(pod.status.phase == "Running" for pod in pods.items)


def simulated_node(name: str) -> dict[str, Any]:
    """A node that KWOK plays. Only pods that tolerate its taint are put there: see `on_simulated_nodes`."""
    taint = {"key": "halfstep.test/simulated", "value": "true", "effect": "NoSchedule"}
    labels = {"halfstep.test/simulated": "true", "kubernetes.io/hostname": name}
    metadata = {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": labels}
    room = {"cpu": "100k", "memory": "100Ti", "pods": "100k"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": {"taints": [taint]},
        "status": {"allocatable": room, "capacity": room},
    }


def on_simulated_nodes(pod: dict[str, Any], *, runs_for: str | None = None, exit_code: int = 0) -> dict[str, Any]:
    """The pod, for a simulated node. `runs_for`: such as "2s", after which it ends; None: it runs until it is deleted."""
    toleration = {"key": "halfstep.test/simulated", "operator": "Exists"}
    spec = pod["spec"] | {"nodeSelector": {"halfstep.test/simulated": "true"}, "tolerations": [toleration]}
    ends = {"halfstep.test/runs-for": runs_for, "halfstep.test/exit-code": str(exit_code)} if runs_for else {}
    metadata = pod["metadata"] | {"annotations": pod["metadata"].get("annotations", {}) | ends}
    return pod | {"metadata": metadata, "spec": spec}
