"""What the tests' cluster must be able to do before anything is proven on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes.client.exceptions import ApiException

from cluster.kube import RUNTIME, Cluster, create, ending, log, pod, run_pod

pytestmark = pytest.mark.cluster


def test_a_pod_ends_with_its_exit_code_its_log_and_its_termination_message(cluster: Cluster, namespace: str) -> None:
    script = "echo to be read; echo the result >/dev/termination-log; exit 7"
    ended = run_pod(cluster, namespace=namespace, pod=pod("seven", command=["sh", "-c", script]))
    assert (ended.status.phase, ending(ended).exit_code, ending(ended).message) == ("Failed", 7, "the result\n")
    assert log(cluster, namespace=namespace, name="seven") == "to be read\n"


def test_a_pod_that_exits_with_0_succeeds(cluster: Cluster, namespace: str) -> None:
    assert run_pod(cluster, namespace=namespace, pod=pod("good", command=["true"])).status.phase == "Succeeded"


def test_restricted_namespaces_refuse_privileged_pods(cluster: Cluster, namespace: str) -> None:
    privileged = pod("bad", command=["true"], securityContext={"privileged": True})
    with pytest.raises(ApiException) as refused:
        create(cluster, namespace=namespace, pod=privileged)
    assert refused.value.status == 403
    assert "privileged" in refused.value.body


def test_a_container_over_its_memory_limit_is_seen_as_killed_for_it(cluster: Cluster, namespace: str) -> None:
    limited = {"limits": {"memory": "20Mi"}}
    ended = run_pod(cluster, namespace=namespace, pod=pod("eater", command=["tail", "/dev/zero"], resources=limited))
    assert (ending(ended).exit_code, ending(ended).reason) == (137, "OOMKilled")


def test_pods_resolve_the_names_of_services(cluster: Cluster, namespace: str) -> None:
    lookup = pod("lookup", command=["nslookup", "kubernetes.default.svc.cluster.local"])
    ended = run_pod(cluster, namespace=namespace, pod=lookup)
    assert ending(ended).exit_code == 0, log(cluster, namespace=namespace, name="lookup")


def test_pods_reach_services_at_their_addresses(cluster: Cluster, namespace: str) -> None:
    ended = run_pod(
        cluster, namespace=namespace, pod=pod("caller", command=["nc", "-w", "5", "kubernetes.default", "443", "-e", "true"])
    )
    assert ending(ended).exit_code == 0, log(cluster, namespace=namespace, name="caller")


def test_the_runtime_image_runs_under_restricted_security(cluster: Cluster, namespace: str) -> None:
    ended = run_pod(cluster, namespace=namespace, pod=pod("runtime", image=RUNTIME, args=["version"]))
    printed = log(cluster, namespace=namespace, name="runtime")
    assert ending(ended).exit_code == 0, printed
    version = next(line for line in Path("pyproject.toml").read_text().splitlines() if line.startswith("version"))
    assert version.split('"')[1] in printed
