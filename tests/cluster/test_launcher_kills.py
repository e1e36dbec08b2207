"""A launcher is killed at every point between a claim and the pod's removal. Real processes, PostgreSQL, Kubernetes and pods."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kube import RUNTIME, TOOLS, Cluster
from cluster.launchers import Witness
from halfstep.database import Database
from halfstep.pods import Doubt, PodBook
from halfstep.producer import NewTask, enqueue_many
from halfstep.reports import Reports
from waiting import wait_until

pytestmark = pytest.mark.cluster
POINTS = (
    "pod.intend", "pod.intended", "pod.create", "pod.created", "pod.acknowledged", "pod.verdict", "pod.settled", "pod.delete",
    "pod.deleted",
)  # fmt: skip
PROGRAMS = 2
"""Tasks of operator `pod`; one more task brings a ConfigMap along."""


@pytest.fixture
def launch(
    database_url: str, cluster: Cluster, namespace: str, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a launcher with a lease of 3 s and failpoints of its own."""
    clusters = tmp_path / "clusters.yaml"
    image = f"  pods:\n    image: {RUNTIME}\n    image_pull_policy: IfNotPresent\n"
    clusters.write_text(f"default:\n  kubeconfig: {cluster.kubeconfig}\n  namespace: {namespace}\n{image}")
    settings = {"database_url": database_url, "slots": 100, "lease_seconds": 3.0, "renew_seconds": 0.5, "clusters": str(clusters)}
    started: list[subprocess.Popen[bytes]] = []

    def start(failpoints: str = "") -> subprocess.Popen[bytes]:
        name = {"name": f"launcher-{len(started)}"}
        environment = {"HALFSTEP_TEST_SETTINGS": json.dumps(settings | name), "HALFSTEP_FAILPOINTS": failpoints}
        command = [sys.executable, str(Path(__file__).parents[1] / "run_launcher.py")]
        with (tmp_path / "launchers.log").open("ab") as out:
            started.append(
                subprocess.Popen(
                    command, env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)}, stdout=out, stderr=out
                )
            )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def only_taken_names_are_left(cluster: Cluster, namespace: str, database: Database) -> bool:
    """A pod whose create was not acknowledged before its launcher died stays a while, ended: a late create must meet it."""
    left = cluster.core.list_namespaced_pod(namespace).items
    doubts = [
        Doubt(pod.metadata.labels["halfstep.io/attempt"], pod.metadata.uid, namespace, marked=True, older=False, twin=False)
        for pod in left
    ]
    ended = all(pod.status.phase in ("Succeeded", "Failed") for pod in left)
    return ended and set(PodBook(database).doubted(doubts).values()) <= {"live"}


@pytest.mark.parametrize("point", POINTS)
def test_a_launcher_killed_there_leaves_one_pod_an_attempt_and_loses_nothing(
    point: str, launch: Any, database: Database, reports: Reports, cluster: Cluster, namespace: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    witness = Witness(cluster, namespace)
    args = {"image": TOOLS, "image_pull_policy": "IfNotPresent", "grace_seconds": 1}
    commands = [["sh", "-c", f"sleep 0.{seed % 10}; echo line {n}; echo {n} > /dev/termination-log"] for n in range(PROGRAMS)]
    tasks = [NewTask("pod", args | {"command": c}, {"placement": "pod"}) for c in commands]
    ids = enqueue_many(database, [*tasks, NewTask("bash", {"command": "echo in a pod"}, {"placement": "pod"})])
    assert launch(f"{point}=kill").wait(timeout=60) == -9
    survivor = launch()
    wait_until(lambda: Counter(reports.states(ids).values()) == {"succeeded": len(ids)}, seconds=60, what="the end of all tasks")
    expected = [(n, f"line {n}") for n in range(PROGRAMS)] + [({"exit_code": 0, "last_line": "in a pod"}, "in a pod")]
    for task, (result, line) in zip(ids, expected, strict=True):
        report = reports.show(task)
        assert (report["result"], report["attempt"]) == (result, 1)
        assert [said["text"] for _, said in reports.log(task)] == [line]
    wait_until(lambda: only_taken_names_are_left(cluster, namespace, database), seconds=60, what="the removal of every other pod")
    assert witness.pods_by_attempt() == Counter({1: len(ids)})
    survivor.terminate()
    assert survivor.wait(timeout=30) == 0
    witness.stop()
