"""What only a real cluster shows of pods that wait, are looked into, or are kept."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from cluster.kube import TOOLS, Cluster
from cluster.launchers import Witness
from halfstep.reports import Report, Reports
from waiting import PATIENCE, wait_until

pytestmark = pytest.mark.cluster
SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SLEEPER = {
    "name": "beside",
    "image": TOOLS,
    "imagePullPolicy": "IfNotPresent",
    "command": ["sh", "-c", "trap '' TERM; sleep 600"],
}
GATE = "halfstep.test/queue"


def last(reports: Reports, task: int) -> Report:
    attempts = reports.show(task)["attempts"]
    return dict(attempts[-1]) if attempts else {}


def waits(reports: Reports, task: int) -> str:
    return str((last(reports, task).get("pod") or {}).get("waiting"))


def told(reports: Reports, task: int, words: str) -> None:
    wait_until(lambda: words in waits(reports, task), what=f"{words!r}; it says {waits(reports, task)}")


def only_pod(cluster: Cluster, namespace: str) -> Any:
    (found,) = cluster.core.list_namespaced_pod(namespace).items
    return found


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Tasks may have gates, and volumes of any Secret."""
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps({"fields": ["schedulingGates"], "secrets": ["*"]}))
    return file


def test_a_gated_pod_keeps_its_place_and_runs_when_its_gate_is_opened(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports, cluster: Cluster, namespace: str, policy: Path,
    witness: Witness,
) -> None:  # fmt: skip
    first = start_launcher(policy=policy)
    gated = {"template": {"spec": {"schedulingGates": [{"name": GATE}]}}, "startup_timeout": 4}
    task = run_pod("true", pod=gated, max_attempts=1)
    told(reports, task, GATE)
    first.kill()
    start_launcher("second", policy=policy)
    wait_until(lambda: last(reports, task)["worker"] == "second", what="the adoption")
    adopted = time.monotonic()
    wait_until(lambda: time.monotonic() - adopted > 8, what="twice the startup timeout")
    assert reports.states([task])[task] == "running"
    name = only_pod(cluster, namespace).metadata.name
    gates = [{"op": "remove", "path": "/spec/schedulingGates/0"}]
    cluster.core.patch_namespaced_pod(name, namespace, gates)  # type: ignore[arg-type, unused-ignore]
    assert ended(task)["state"] == "succeeded"
    assert witness.pods_by_attempt() == {1: 1}


def test_a_volume_whose_secret_is_missing_is_named_and_the_pod_starts_once_it_is_there(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports, cluster: Cluster, namespace: str, policy: Path
) -> None:
    start_launcher(policy=policy)
    volume = {"volumes": [{"name": "v", "secret": {"secretName": "late"}}], "volume_mounts": [{"name": "v", "mountPath": "/v"}]}
    task = run_pod("cat /v/word > /dev/termination-log", pod=volume, max_attempts=1)
    told(reports, task, 'secret "late" not found')
    secret = {"metadata": {"name": "late"}, "stringData": {"word": '"here"'}}
    cluster.core.create_namespaced_secret(namespace, secret)  # type: ignore[arg-type, unused-ignore]
    report = ended(task, seconds=PATIENCE)
    assert (report["state"], report["result"]) == ("succeeded", "here")


def test_a_debugger_that_stays_does_not_hold_up_the_verdict(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports, cluster: Cluster, namespace: str
) -> None:
    start_launcher()
    task = run_pod("echo begun; sleep 12; exit 7", max_attempts=1)
    wait_until(lambda: any(line["text"] == "begun" for _, line in reports.log(task)), what="its first line")
    name = only_pod(cluster, namespace).metadata.name
    debugger = SLEEPER | {"name": "debugger", "targetContainerName": "main", "securityContext": SECURITY}
    cluster.core.patch_namespaced_pod_ephemeralcontainers(
        name, namespace, {"spec": {"ephemeralContainers": [debugger]}}  # type: ignore[arg-type, unused-ignore]
    )  # fmt: skip

    def ends() -> tuple[Any, Any]:
        try:
            status = cluster.core.read_namespaced_pod(name, namespace).status
        except ApiException:
            return None, None
        main = next(one for one in status.container_statuses if one.name == "main")
        beside = next(iter(status.ephemeral_container_statuses or []), None)
        return main.state.terminated, beside and beside.state.running

    wait_until(lambda: ends()[1], what="the debugger")
    wait_until(lambda: ends()[0] or reports.states([task])[task] == "failed", what="the end of the main container")
    begun = time.monotonic()
    report = ended(task)
    assert (report["state"], report["reason"]) == ("failed", "exit")
    assert time.monotonic() - begun < 15, "the debugger's grace is 30 s"


def test_a_program_that_could_not_be_started_began_at_no_time(start_launcher: Any, run_pod: Any, ended: Any) -> None:
    start_launcher()
    report = ended(run_pod("true", pod={"command": ["/no/such/program"]}, max_attempts=1))
    assert report["reason"] == "start"
    assert "1970" not in json.dumps(report, default=str)


@pytest.mark.parametrize("script", ["true", "exit 7"])
def test_a_kept_pod_ends_although_something_beside_main_does_not(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports, cluster: Cluster, namespace: str, script: str
) -> None:
    start_launcher()
    task = run_pod(script, pod={"on_finish": "keep", "sidecars": [SLEEPER]}, max_attempts=1)
    state = ended(task)["state"]
    assert state == ("succeeded" if script == "true" else "failed")
    wait_until(lambda: only_pod(cluster, namespace).status.phase == "Failed", what="the end of what ran beside it")
    kept = only_pod(cluster, namespace)
    assert kept.status.reason == "DeadlineExceeded"
    assert not kept.metadata.finalizers
    main = next(one for one in kept.status.container_statuses if one.name == "main")
    assert main.state.terminated.exit_code == (0 if script == "true" else 7)
    assert reports.states([task])[task] == state
