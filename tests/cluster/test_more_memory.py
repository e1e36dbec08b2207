"""What only a real cluster shows of memory, defaults and labels: a kernel that kills, a LimitRange, selectors, dollar signs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.kube import RUNTIME, TOOLS, Cluster
from cluster.launchers import LauncherProcess
from cluster.placements import write_clusters
from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.reports import Reports

pytestmark = pytest.mark.cluster
HUNGRY = "exec dd if=/dev/zero of=/dev/null bs=48M count=1"
"""It needs 48 MiB and little more."""
DOUBLE = {"memory": "x2", "max": "256Mi"}


@pytest.fixture
def start_with(
    start_launcher: Callable[..., LauncherProcess], cluster: Cluster, namespace: str, tmp_path: Path
) -> Callable[..., LauncherProcess]:
    """Starts a launcher whose clusters file has these keys under `pods`, besides the runtime's image."""

    def start(**pods: Any) -> LauncherProcess:
        image = {"image": RUNTIME, "image_pull_policy": "IfNotPresent"}
        default = {"kubeconfig": str(cluster.kubeconfig), "namespace": namespace, "pods": image | pods}
        return start_launcher(clusters=write_clusters(tmp_path / "of-this.yaml", default=default))

    return start


def lend(cluster: Cluster, namespace: str, limit: str) -> None:
    """A LimitRange: containers without a limit of memory get this one."""
    core: Any = cluster.core
    limits = [{"type": "Container", "default": {"memory": limit}}]
    core.create_namespaced_limit_range(namespace, {"metadata": {"name": "lender"}, "spec": {"limits": limits}})


def memory_of(report: Any) -> list[Any]:
    return [attempt["pod"]["memory"] for attempt in report["attempts"]]


def test_an_attempt_after_oom_has_twice_the_memory_and_ends_well(start_with: Any, run_pod: Any, ended: Any) -> None:
    start_with()
    resources = {"requests": {"memory": "16Mi"}, "limits": {"memory": "32Mi"}}
    report = ended(run_pod(HUNGRY, pod={"resources": resources, "on_oom": DOUBLE}, backoff_base=0))
    assert (report["state"], [attempt["reason"] for attempt in report["attempts"]]) == ("succeeded", ["oom", None])
    assert memory_of(report) == [{"request": "16Mi", "limit": "32Mi"}, {"request": "32Mi", "limit": "64Mi"}]


def test_a_limit_that_the_namespace_lends_grows_too(
    start_with: Any, run_pod: Any, ended: Any, cluster: Cluster, namespace: str
) -> None:
    lend(cluster, namespace, "32Mi")
    start_with()
    report = ended(run_pod(HUNGRY, pod={"resources": {"requests": {"memory": "16Mi"}}, "on_oom": DOUBLE}, backoff_base=0))
    assert report["state"] == "succeeded"
    assert memory_of(report) == [{"request": "16Mi", "limit": "32Mi"}, {"request": "32Mi", "limit": "64Mi"}]


def test_memory_grows_by_the_launchers_default_from_the_launchers_default(start_with: Any, run_pod: Any, ended: Any) -> None:
    start_with(defaults={"on_oom": {"memory": "+64Mi", "max": "1Gi"}, "resources": {"limits": {"memory": "32Mi"}}})
    report = ended(run_pod(HUNGRY, backoff_base=0))
    assert report["state"] == "succeeded"
    assert [told["limit"] for told in memory_of(report)] == ["32Mi", "96Mi"]


def test_a_request_above_the_namespaces_limit_is_refused_with_what_to_do(
    start_with: Any, run_pod: Any, ended: Any, cluster: Cluster, namespace: str
) -> None:
    lend(cluster, namespace, "32Mi")
    start_with()
    report = ended(run_pod("true", pod={"resources": {"requests": {"memory": "64Mi"}}}))
    assert (report["state"], report["reason"]) == ("failed", "refused")
    assert "give a limit, too, under 'limits' in 'resources'" in report["error"]


def test_a_default_limit_makes_it_fit(start_with: Any, run_pod: Any, ended: Any, cluster: Cluster, namespace: str) -> None:
    lend(cluster, namespace, "32Mi")
    start_with(defaults={"resources": {"limits": {"memory": "32Mi"}}})
    report = ended(run_pod("true", pod={"resources": {"requests": {"memory": "64Mi"}}}))
    assert (report["state"], memory_of(report)) == ("succeeded", [{"request": "64Mi", "limit": "64Mi"}])


def test_pods_are_found_by_labels_of_task_and_launcher(
    start_with: Any, run_pod: Any, database: Database, ended: Any, cluster: Cluster, namespace: str
) -> None:
    start_with(
        task_labels=["team"],
        defaults={
            "labels": {"cost": "batch"}, "annotations": {"example.com/note": "Grüße, $(A)"}, "env": {"GREETING": "hello"},
            "tolerations": [{"key": "tasks", "operator": "Exists", "effect": "NoSchedule"}],
            "node_selector": {"kubernetes.io/os": "linux"},
        },
    )  # fmt: skip
    queue = "a queue " + "whose name no label holds " * 3
    keep = {"on_finish": "keep"}
    task = run_pod("echo $GREETING", pod=keep, queue="q" * 63, labels={"team": queue})
    report = ended(task)
    assert report["state"] == "succeeded"
    core: Any = cluster.core
    selector = f"halfstep.io/queue={'q' * 63},halfstep.io/operator=pod,cost=batch,task.halfstep.io/team"
    (pod,) = core.list_namespaced_pod(namespace, label_selector=selector).items
    assert pod.metadata.annotations["task.halfstep.io/team"] == queue
    assert pod.metadata.annotations["example.com/note"] == "Grüße, $(A)"
    assert any(item.key == "tasks" for item in pod.spec.tolerations)
    args = {"command": "echo $GREETING", "pod": keep}
    assert ended(enqueue(database, "bash", args, placement="pod"))["result"]["last_line"] == "hello"


WRITTEN = [
    ("$$", "$"),
    ("$$$$", "$$"),
    ("$(NAME)", "value"),
    ("$$(NAME)", "$(NAME)"),
    ("$(MISSING)", "$(MISSING)"),
    ("$NAME", "$NAME"),
    ("${NAME}", "${NAME}"),
    ("100$", "100$"),
    ("a$$b", "a$b"),
]


def test_kubernetes_reads_dollar_signs_as_the_manual_says(start_with: Any, run_pod: Any, ended: Any, reports: Reports) -> None:
    """The table of docs/reference/pod.md, in arguments and in variables."""
    start_with()
    pod = {
        "image": TOOLS,
        "command": [
            "sh",
            "-c",
            'printf "%s\\n" "$@"; i=0; while [ $i -lt 9 ]; do eval "echo \\"\\$V$i\\""; i=$((i + 1)); done',
            "x",
        ],
        "arguments": [text for text, _ in WRITTEN],
        "env": {"NAME": "value"} | {f"V{number}": text for number, (text, _) in enumerate(WRITTEN)},
    }
    task = run_pod("", pod=pod)
    assert ended(task)["state"] == "succeeded"
    read = [line["text"] for _, line in reports.log(task)]
    assert read == [result for _, result in WRITTEN] * 2
