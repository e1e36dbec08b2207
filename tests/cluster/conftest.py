"""What tests on a real Kubernetes may ask for: the cluster, and a namespace of their own in it.

`make cluster` runs them: with KUBECONFIG on that cluster, else on one of our own (`harness/`), whose network pytest then runs in.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import V1Namespace, V1ObjectMeta
from kubernetes.client.exceptions import ApiException

from cluster.harness.commands import ClusterError
from cluster.kube import RESTRICTED, RUNTIME, Cluster, connect, has_kwok, simulated_node
from cluster.launchers import LauncherProcess, Witness
from cluster.manifest_ground import DEFINITIONS, kubectl, there
from cluster.placements import write_clusters
from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.reports import Report, Reports
from waiting import wait_until

OVER = ("succeeded", "failed", "cancelled")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips from here, not from a fixture: so the report has one line for all."""
    if item.get_closest_marker("cluster") and not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set; `make cluster` sets it, and as root starts a cluster if there is none.")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of KUBECONFIG. One that was named and does not answer is a failure, not a reason to skip."""
    kubeconfig = os.environ["KUBECONFIG"]
    try:
        found = connect(kubeconfig)
        found.core.get_api_resources(_request_timeout=5)
    except Exception as error:  # whatever it is, it is the one line that the reader needs
        pytest.fail(
            f"The cluster of KUBECONFIG={kubeconfig} does not answer: {type(error).__name__}. Try `make cluster`.", pytrace=False
        )
    return found


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace under the restricted Pod Security Standard; what is left in it at the end goes, finalizers or not."""
    name = f"halfstep-test-{secrets.token_hex(4)}"
    cluster.core.create_namespace(V1Namespace(metadata=V1ObjectMeta(name=name, labels=RESTRICTED)))
    # Admission refuses pods before their service account exists.
    wait_until(lambda: _has_default_account(cluster, name), seconds=30, what="the default service account")
    yield name
    cluster.core.delete_namespace(name)
    for pod in cluster.core.list_namespaced_pod(name).items:
        if pod.metadata.finalizers:
            with suppress(ApiException):
                cluster.core.patch_namespaced_pod(pod.metadata.name, name, {"metadata": {"finalizers": None}})


def _has_default_account(cluster: Cluster, namespace: str) -> bool:
    try:
        return bool(cluster.core.read_namespaced_service_account("default", namespace))
    except ApiException as error:
        if error.status == 404:
            return False
        raise


@pytest.fixture
def simulated_nodes(cluster: Cluster) -> Iterator[list[str]]:
    """Two nodes that KWOK plays; skipped where it does not run (`make cluster-up KWOK=1`)."""
    if not has_kwok(cluster):
        pytest.skip("KWOK does not run in this cluster; `make cluster-up KWOK=1` adds it.")
    names = [f"simulated-{secrets.token_hex(4)}" for _ in range(2)]
    for name in names:
        cluster.core.create_node(simulated_node(name))
    yield names
    for name in names:
        cluster.core.delete_node(name)


@pytest.fixture(scope="session")
def keda(cluster: Cluster) -> None:
    """KEDA itself; skipped where it does not run."""
    if kubectl("--namespace", "keda", "get", "deployment", "keda-operator").code != 0:
        pytest.skip("KEDA does not run in this cluster; `make cluster-up KEDA=1` adds it.")


@pytest.fixture(scope="module")
def definitions(cluster: Cluster) -> Iterator[None]:
    """The kinds of KEDA, cert-manager and the Prometheus operator; skipped where they can't be had."""
    try:
        wanted = [found for each in DEFINITIONS for found in each.found()]
    except ClusterError as error:
        pytest.skip(f"Definitions of foreign kinds are missing; `make cluster` fetches them: {error}")
    with there("definitions", wanted):
        names = [f"crd/{each['metadata']['name']}" for each in wanted]
        assert kubectl("wait", "--for=condition=Established", "--timeout=30s", *names).code == 0
        yield


@pytest.fixture
def witness(cluster: Cluster, namespace: str) -> Iterator[Witness]:
    """Counts pods."""
    seen = Witness(cluster, namespace)
    yield seen
    seen.stop()


@pytest.fixture
def start_launcher(
    database_url: str, cluster: Cluster, namespace: str, tmp_path: Path
) -> Iterator[Callable[..., LauncherProcess]]:
    """Starts launchers for the test's namespace, or for those of another clusters file; the test's end kills them.

    `environment`: variables for that launcher.
    """
    pods = {"image": RUNTIME, "image_pull_policy": "IfNotPresent"}
    default = {"kubeconfig": str(cluster.kubeconfig), "namespace": namespace, "pods": pods}
    usual = write_clusters(tmp_path / "clusters.yaml", default=default)
    started: list[LauncherProcess] = []

    def start(
        name: str = "first", *, clusters: Path = usual, environment: Mapping[str, str] | None = None, **options: Any
    ) -> LauncherProcess:
        with pytest.MonkeyPatch.context() as patch:
            for key, value in (environment or {}).items():
                patch.setenv(key, value)
            started.append(LauncherProcess(database_url, clusters, tmp_path / f"{name}.log", name, **options))
        return started[-1]

    yield start
    for launcher in started:
        if launcher.process.poll() is None:
            launcher.kill()


@pytest.fixture
def run_pod(database: Database) -> Callable[..., int]:
    """Enqueues a pod that runs a shell command."""

    def enqueue_pod(command: str, *, pod: dict[str, Any] | None = None, **options: Any) -> int:
        args = {
            "image": "localhost/tools:1",
            "command": ["sh", "-c", command],
            "image_pull_policy": "IfNotPresent",
            "grace_seconds": 1,
        }
        return enqueue(database, "pod", args | (pod or {}), placement="pod", **options)

    return enqueue_pod


@pytest.fixture
def ended(reports: Reports) -> Callable[..., Report]:
    """Waits for a task's end."""

    def wait(task: int, *, seconds: float = 60) -> Report:
        wait_until(lambda: reports.states([task]).get(task) in OVER, seconds=seconds, what=f"the end of task {task}")
        return reports.show(task)

    return wait
