"""What no workload of the manifests may do, read from the files themselves."""

from __future__ import annotations

from typing import Any

import pytest

from kustomize import containers_of, environment, objects, one, pods_of

ALL = objects()
PODS = dict(pods_of(ALL))
CONTAINERS = [(name, container) for name, pod in PODS.items() for container in containers_of(pod)]
WITH_TOKEN = {"halfstep-launcher"}
LEAVING_SECONDS = 10
"""What a worker needs after its grace to hand back what it still has (docs/reference/settings.md)."""


def ids(given: Any) -> str | None:
    return given if isinstance(given, str) else None


def test_there_are_workloads_to_look_at() -> None:
    assert {"halfstep-scaler", "halfstep-worker", "halfstep-launcher", "halfstep-migrate", "halfstep-exporter"} <= set(PODS)


@pytest.mark.parametrize(("name", "pod"), PODS.items(), ids=ids)
def test_a_pod_passes_the_restricted_standard(name: str, pod: dict[str, Any]) -> None:
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all({"emptyDir", "configMap", "secret"} & set(volume) for volume in pod.get("volumes", ()))


@pytest.mark.parametrize(("name", "container"), CONTAINERS, ids=ids)
def test_a_container_can_gain_nothing_and_write_nothing(name: str, container: dict[str, Any]) -> None:
    security = container["securityContext"]
    assert security == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize(("name", "container"), CONTAINERS, ids=ids)
def test_a_container_says_what_it_needs_and_cannot_take_all_memory(name: str, container: dict[str, Any]) -> None:
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize(("name", "pod"), PODS.items(), ids=ids)
def test_only_the_launcher_has_a_token(name: str, pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is (name in WITH_TOKEN)
    assert pod["enableServiceLinks"] is False


def test_no_account_mounts_its_token_by_itself() -> None:
    accounts = [each for each in ALL if each["kind"] == "ServiceAccount"]
    assert accounts
    assert all(each["automountServiceAccountToken"] is False for each in accounts)


@pytest.mark.parametrize("name", [name for name in PODS if name not in ("halfstep-migrate",)])
def test_what_runs_on_has_probes(name: str) -> None:
    for container in PODS[name]["containers"]:
        assert {"livenessProbe", "readinessProbe"} <= set(container)


@pytest.mark.parametrize("name", ["halfstep-scaler", "halfstep-worker", "halfstep-launcher", "halfstep-exporter"])
def test_our_programs_show_their_metrics_and_probes_on_one_port(name: str) -> None:
    (container,) = PODS[name]["containers"]
    assert {"name": "metrics", "containerPort": 9090} in container["ports"]
    assert environment(container)["HALFSTEP_METRICS"] == "0.0.0.0:9090"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "metrics"


def test_both_namespaces_enforce_restricted_pod_security() -> None:
    namespaces = [each for each in ALL if each["kind"] == "Namespace"]
    assert {each["metadata"]["name"] for each in namespaces} == {"halfstep", "halfstep-tasks"}
    for each in namespaces:
        assert each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_worker_has_time_to_hand_its_tasks_back_before_the_kubelet_kills_it() -> None:
    pod = PODS["halfstep-worker"]
    grace = float(environment(pod["containers"][0])["HALFSTEP_GRACE"])
    assert pod["terminationGracePeriodSeconds"] >= grace + LEAVING_SECONDS


@pytest.mark.parametrize("name", ["halfstep-worker", "halfstep-launcher"])
def test_an_apply_does_not_set_the_number_back_that_keda_owns(name: str) -> None:
    assert "replicas" not in one(ALL, "Deployment", name)["spec"]


@pytest.mark.parametrize("namespace", ["halfstep", "halfstep-tasks"])
def test_the_network_is_closed_but_for_what_is_named(namespace: str) -> None:
    policies = [each for each in ALL if each["kind"] == "NetworkPolicy" and each["metadata"]["namespace"] == namespace]
    closed = one(policies, "NetworkPolicy", "default-deny")
    assert closed["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_only_kedas_namespace_reaches_the_scaler() -> None:
    policy = one(ALL, "NetworkPolicy", "scaler-from-keda")["spec"]
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]
    assert rule["ports"] == [{"port": "grpc", "protocol": "TCP"}]


def test_every_object_stands_in_a_namespace_of_ours_or_in_none() -> None:
    of_the_cluster = ("Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    for each in ALL:
        expected = (None,) if each["kind"] in of_the_cluster else ("halfstep", "halfstep-tasks")
        assert each["metadata"].get("namespace") in expected, each["metadata"]["name"]
