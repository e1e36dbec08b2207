"""A real launcher process, a real PostgreSQL, a real Kubernetes with real pods."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from cluster.kube import TOOLS, Cluster
from cluster.launchers import Witness
from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.queue import Queue
from halfstep.reports import Reports
from waiting import wait_until

pytestmark = pytest.mark.cluster
OVER = ("succeeded", "failed", "cancelled")


def lines(reports: Reports, task: int) -> list[str]:
    return [line["text"] for _, line in reports.log(task)]


def pod_names(cluster: Cluster, namespace: str) -> list[str]:
    return [pod.metadata.name for pod in cluster.core.list_namespaced_pod(namespace).items]


def test_a_pods_result_and_log_are_kept_and_the_pod_goes(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports, cluster: Cluster, namespace: str, witness: Witness
) -> None:
    start_launcher()
    task = run_pod("echo hello; echo '{\"rows\": 3}' > /dev/termination-log")
    report = ended(task)
    assert (report["state"], report["result"]) == ("succeeded", {"rows": 3})
    assert lines(reports, task) == ["hello"]
    wait_until(lambda: pod_names(cluster, namespace) == [], seconds=30, what="the pod's removal")
    assert witness.pods_by_attempt() == Counter({1: 1})


@pytest.mark.parametrize(
    ("command", "pod", "reason", "words"),
    [
        ("exit 7", {}, "exit", "code 7"),
        ("tail /dev/zero", {"resources": {"limits": {"memory": "20Mi"}}}, "oom", "more memory than its limit"),
        ("true", {"image": "localhost/none:1", "image_pull_policy": "Never", "startup_timeout": 3}, "image", "localhost/none:1"),
        ("true", {"node_selector": {"no": "such"}, "startup_timeout": 3}, "unschedulable", "node"),
        ("true", {"service_account": "admin"}, "policy", "service_accounts"),
    ],
)
def test_a_failure_says_what_it_was(
    start_launcher: Any, run_pod: Any, ended: Any, command: str, pod: dict[str, Any], reason: str, words: str
) -> None:
    start_launcher()
    report = ended(run_pod(command, pod=pod, max_attempts=1))
    assert (report["state"], report["reason"]) == ("failed", reason)
    assert words in report["error"]


def test_a_timeout_and_a_cancel_delete_the_pod(
    start_launcher: Any, run_pod: Any, ended: Any, queue: Queue, reports: Reports, cluster: Cluster, namespace: str
) -> None:
    start_launcher()
    slow, unwanted = run_pod("trap '' TERM; sleep 600", timeout=1, max_attempts=1), run_pod("echo begun; sleep 600")
    wait_until(lambda: lines(reports, unwanted) == ["begun"], seconds=30, what="the second pod's first line")
    queue.cancel(unwanted)
    assert (ended(slow)["state"], ended(slow)["reason"]) == ("failed", "timeout")
    assert ended(unwanted)["state"] == "cancelled"
    wait_until(lambda: pod_names(cluster, namespace) == [], seconds=30, what="the pods' removal")


def test_a_pod_that_somebody_deletes_runs_again_without_using_up_an_attempt(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports, cluster: Cluster, namespace: str, witness: Witness
) -> None:
    start_launcher()
    task = run_pod("echo begun; trap 'exit 0' TERM; while true; do sleep 0.1; done", max_attempts=1)
    wait_until(lambda: lines(reports, task) == ["begun"], seconds=30, what="the pod's first line")
    cluster.core.delete_namespaced_pod(pod_names(cluster, namespace)[0], namespace)
    wait_until(lambda: reports.show(task)["attempt"] == 2, seconds=40, what="the second attempt")
    first = reports.show(task)["attempts"][0]
    assert (first["outcome"], first["reason"]) == ("failed", "deleted")
    wait_until(lambda: lines(reports, task).count("begun") == 2, seconds=30, what="the second pod's first line")
    assert set(witness.pods_by_attempt()) == {1}
    assert reports.show(task)["failures"] == 0


def test_another_launcher_adopts_the_pods_of_a_killed_one_and_none_runs_twice(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports, witness: Witness
) -> None:
    first = start_launcher("first")
    tasks = [run_pod(f"echo begun {n}; sleep 20; echo done {n}; echo {n} > /dev/termination-log") for n in range(3)]
    for n, task in enumerate(tasks):
        wait_until(lambda task=task, n=n: lines(reports, task) == [f"begun {n}"], seconds=40, what="first lines")  # type: ignore[misc]
    first.kill()
    start_launcher("second")
    for n, task in enumerate(tasks):
        report = ended(task, seconds=90)
        assert (report["state"], report["result"], report["attempt"]) == ("succeeded", n, 1)
        assert lines(reports, task) == [f"begun {n}", f"done {n}"]
        assert [a["worker"] for a in report["attempts"]] == ["second"]
    assert witness.pods_by_attempt() == Counter({1: 3})


def test_a_drained_launcher_hands_its_pods_over_at_once(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports, witness: Witness
) -> None:
    first = start_launcher("first")
    task = run_pod("echo begun; sleep 5; echo done")
    wait_until(lambda: lines(reports, task) == ["begun"], seconds=40, what="the first line")
    assert first.stop() == 0
    start_launcher("second")
    report = ended(task)
    assert (report["state"], report["attempt"]) == ("succeeded", 1)
    assert witness.pods_by_attempt() == Counter({1: 1})


def test_any_operator_runs_alone_in_a_pod(start_launcher: Any, database: Database, ended: Any, reports: Reports) -> None:
    start_launcher()
    task = enqueue(database, "bash", {"command": "echo in a pod; id -u"}, placement="pod")
    report = ended(task)
    assert (report["state"], report["result"]) == ("succeeded", {"exit_code": 0, "last_line": "1000"})
    assert lines(reports, task) == ["in a pod", "1000"]


def test_a_sidecar_that_never_exits_does_not_hold_back_the_verdict(
    start_launcher: Any, run_pod: Any, ended: Any, cluster: Cluster, namespace: str
) -> None:
    start_launcher()
    beside = {"name": "beside", "image": TOOLS, "command": ["sleep", "3600"], "imagePullPolicy": "IfNotPresent"}
    assert ended(run_pod("true", pod={"sidecars": [beside]}))["state"] == "succeeded"
    wait_until(lambda: pod_names(cluster, namespace) == [], seconds=40, what="the pod's removal")


def test_a_kept_pod_stays_without_our_finalizer(
    start_launcher: Any, run_pod: Any, ended: Any, cluster: Cluster, namespace: str
) -> None:
    start_launcher()
    ended(run_pod("exit 3", max_attempts=1, pod={"on_finish": "keep_on_failure"}))
    (name,) = pod_names(cluster, namespace)

    def released() -> bool:
        try:
            return not cluster.core.read_namespaced_pod(name, namespace).metadata.finalizers
        except ApiException:
            return False

    wait_until(released, seconds=20, what="the finalizer's removal")
