"""What Prometheus' own discovery of pods would tell it: Debian's package is built without that of Kubernetes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from cluster.kube import Cluster

Target = dict[str, Any]

POD = "__meta_kubernetes_pod"
NAMESPACE = "__meta_kubernetes_namespace"
PAUSE_SECONDS = 1.0


def plain(label: str) -> str:
    """A Kubernetes label as Prometheus spells it."""
    return re.sub(r"\W", "_", label)


def targets(pods: Any) -> list[Target]:
    """One for each port of each container, with the labels that the role `pod` gives it."""
    return [
        {"targets": [f"{pod.status.pod_ip}:{port.container_port}"], "labels": labels(pod, container.name, port.name)}
        for pod in pods
        if pod.status.pod_ip
        for container in pod.spec.containers
        for port in container.ports or ()
    ]


def labels(pod: Any, container: str, port: str) -> dict[str, str]:
    """Those that the PodMonitor can ask for."""
    own = {f"{POD}_label_{plain(label)}": value for label, value in (pod.metadata.labels or {}).items()}
    found = {f"{POD}_name": pod.metadata.name, f"{POD}_phase": pod.status.phase, NAMESPACE: pod.metadata.namespace}
    return own | found | {f"{POD}_container_name": container, f"{POD}_container_port_name": port or ""}


@contextmanager
def told_of_pods(cluster: Cluster, namespace: str, file: Path) -> Iterator[None]:
    """Keeps the file up to date, which Prometheus reads as soon as it is changed."""
    stopped = threading.Event()
    thread = threading.Thread(target=_tell, args=(cluster, namespace, file, stopped), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(timeout=10)


def _tell(cluster: Cluster, namespace: str, file: Path, stopped: threading.Event) -> None:
    last = None
    while not stopped.is_set():
        with suppress(ApiException, HTTPError):
            found = targets(cluster.core.list_namespaced_pod(namespace).items)
            if found != last:
                _replace(file, json.dumps(found))
                last = found
        stopped.wait(PAUSE_SECONDS)


def _replace(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)
