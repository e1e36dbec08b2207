"""What runs on the node as pods: names, and on request simulated nodes and KEDA."""

from __future__ import annotations

from typing import Any

from cluster.harness.commands import wait_until
from cluster.harness.images import program_image
from cluster.harness.inside import apply, kubectl
from cluster.harness.network import DNS_ADDRESS, NODE_NAME
from cluster.harness.programs import COREDNS

DNS_IMAGE = program_image("coredns", module=COREDNS, programs=("coredns",))

COREFILE = """\
.:5353 {
    errors
    health :8080
    ready :8181
    kubernetes cluster.local in-addr.arpa ip6.arpa
    cache 5
}
"""


def meta(name: str, **more: object) -> dict[str, Any]:
    """Metadata of an object of the cluster itself."""
    return {"name": name, "namespace": "kube-system", **more}


def everything_allowed(name: str) -> list[dict[str, Any]]:
    """A service account that may do everything: good enough for the cluster's own programs on a throw-away cluster."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(name)}
    return [account, {**binding, "roleRef": role, "subjects": [subject]}]


def deployment(name: str, *, container: dict[str, Any], volumes: list[dict[str, Any]], stamp: str = "") -> dict[str, Any]:
    """One pod of one container of a local image, put on the real node; another `stamp` starts another pod."""
    container = {"name": name, "imagePullPolicy": "Never", **container}
    pod = {"serviceAccountName": name, "nodeName": NODE_NAME, "containers": [container], "volumes": volumes}
    template = {"metadata": {"labels": {"app": name}, "annotations": {"halfstep.test/stamp": stamp}}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(name), "spec": spec}


def config_map(name: str, *, file: str, text: str) -> dict[str, Any]:
    """One file of settings."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name), "data": {file: text}}


def start_dns() -> None:
    """CoreDNS, behind the address that every pod's resolv.conf names. Its image is there already."""
    container = {
        "image": DNS_IMAGE.tag,
        "command": ["/coredns", "-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    volumes = [{"name": "config", "configMap": {"name": "coredns"}}]
    ports = [{"name": name, "port": 53, "targetPort": 5353, "protocol": name.upper()} for name in ("udp", "tcp")]
    service = {"clusterIP": DNS_ADDRESS, "selector": {"app": "coredns"}, "ports": ports}
    apply(
        *everything_allowed("coredns"),
        config_map("coredns", file="Corefile", text=COREFILE),
        {"apiVersion": "v1", "kind": "Service", "metadata": meta("kube-dns"), "spec": service},
        deployment("coredns", container=container, volumes=volumes),
    )


def wait_for_node() -> None:
    """Until the kubelet has registered it and reports it Ready."""
    wait_until(lambda: NODE_NAME in kubectl("get", "nodes", "--output=name"), seconds=60, what="The node")
    kubectl("wait", "--for=condition=Ready", f"node/{NODE_NAME}", "--timeout=60s", seconds=70)


def wait_for(deployment: str, *, namespace: str = "kube-system", seconds: int = 60) -> None:
    """Until its pods are ready."""
    words = ("rollout", "status", f"deployment/{deployment}", f"--namespace={namespace}", f"--timeout={seconds}s")
    kubectl(*words, seconds=seconds + 10)
