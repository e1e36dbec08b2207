"""`halfstep uninstall` on a real cluster: pods that a launcher left behind go, others' stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kube import TOOLS, Cluster, create, pod
from cluster.launchers import LauncherProcess
from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep_worker.kubernetes.names import FINALIZER, INSTALLATION
from waiting import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def clusters(cluster: Cluster, namespace: str, tmp_path: Path) -> Path:
    """A clusters file for the test's namespace."""
    file = tmp_path / "clusters.yaml"
    file.write_text(json.dumps({"default": {"kubeconfig": str(cluster.kubeconfig), "namespace": namespace}}))
    return file


@pytest.fixture
def launcher(database_url: str, clusters: Path, tmp_path: Path) -> Iterator[LauncherProcess]:
    """A running one."""
    started = LauncherProcess(database_url, clusters, tmp_path / "launcher.log", "leaver")
    yield started
    if started.process.poll() is None:
        started.kill()


@pytest.fixture
def uninstall(database_url: str, clusters: Path) -> Callable[..., tuple[int, str]]:
    """Runs the command; its exit code and all that it said."""

    def run(*words: str) -> tuple[int, str]:
        line = [sys.executable, "-m", "halfstep_cli.main", "uninstall", "--clusters", str(clusters), *words]
        environment = os.environ | {"HALFSTEP_DATABASE_URL": database_url, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


def pods(cluster: Cluster, namespace: str) -> dict[str, Any]:
    items: Any = cluster.core.list_namespaced_pod(namespace).items
    return {found.metadata.name: found for found in items}


def start_pods(database: Database, cluster: Cluster, namespace: str, *, count: int) -> None:
    """Enqueues pods that would run for an hour, and returns when they run."""
    args = {"image": TOOLS, "command": ["sleep", "3600"], "image_pull_policy": "IfNotPresent", "grace_seconds": 1}
    for _ in range(count):
        enqueue(database, "pod", args, placement="pod")

    def run() -> bool:
        return [found.status.phase for found in pods(cluster, namespace).values()] == ["Running"] * count

    wait_until(run, seconds=60, what="the pods to run")


@pytest.mark.alters_schema
def test_what_a_launcher_left_goes_and_what_is_anothers_stays(
    launcher: LauncherProcess, uninstall: Callable[..., tuple[int, str]], database: Database, cluster: Cluster, namespace: str
) -> None:
    start_pods(database, cluster, namespace, count=2)
    another = pod("another", command=["true"])
    another["metadata"] |= {"labels": {INSTALLATION: "00000000-0000-4000-8000-000000000000"}, "finalizers": [FINALIZER]}
    create(cluster, namespace=namespace, pod=another)
    code, said = uninstall("--delete-pods", "--drop-schema", "--yes")
    assert (code, "Still at work: leaver." in said) == (1, True), said
    assert launcher.stop() == 0
    left = sorted(pods(cluster, namespace))
    assert len(left) == 3
    code, said = uninstall("--delete-pods", "--drop-schema")
    assert (code, "- delete 2 pods, of which 2 may still run" in said) == (1, True), said
    assert sorted(pods(cluster, namespace)) == left
    code, said = uninstall("--delete-pods", "--drop-schema", "--yes")
    assert (code, said.splitlines()[-1]) == (0, "Took the finalizer off 2 pods, deleted 2 pods, dropped the schema.")
    wait_until(lambda: sorted(pods(cluster, namespace)) == ["another"], seconds=40, what="the end of the pods")
    assert pods(cluster, namespace)["another"].metadata.finalizers == [FINALIZER]
    assert database.execute("SELECT to_regnamespace('halfstep') AS schema")[0]["schema"] is None


def test_pods_that_were_deleted_and_could_not_go_do(
    launcher: LauncherProcess, uninstall: Callable[..., tuple[int, str]], database: Database, cluster: Cluster, namespace: str
) -> None:
    start_pods(database, cluster, namespace, count=1)
    assert launcher.stop() == 0
    (name,) = pods(cluster, namespace)
    cluster.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
    wait_until(lambda: pods(cluster, namespace)[name].metadata.deletion_timestamp, what="the mark of the deletion")
    code, said = uninstall("--yes")
    assert (code, said.splitlines()[-1]) == (0, "Took the finalizer off 1 pod.")
    wait_until(lambda: not pods(cluster, namespace), seconds=40, what="the end of the pod")


def test_a_pod_without_its_label_goes_and_a_copy_with_it_stays(
    launcher: LauncherProcess, uninstall: Callable[..., tuple[int, str]], database: Database, cluster: Cluster, namespace: str
) -> None:
    start_pods(database, cluster, namespace, count=1)
    assert launcher.stop() == 0
    (name,) = pods(cluster, namespace)
    labels = dict(pods(cluster, namespace)[name].metadata.labels)
    cluster.core.patch_namespaced_pod(name, namespace, {"metadata": {"labels": {INSTALLATION: None}}})
    copy = pod("debug", command=["true"])
    copy["metadata"] |= {"labels": labels}
    create(cluster, namespace=namespace, pod=copy)
    code, said = uninstall("--delete-pods", "--yes")
    assert (code, said.splitlines()[-1]) == (0, "Took the finalizer off 1 pod, deleted 1 pod."), said
    assert "Left alone: default/" in said
    wait_until(lambda: sorted(pods(cluster, namespace)) == ["debug"], seconds=40, what="the end of the pod")
