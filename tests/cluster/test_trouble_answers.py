"""What a real API server says when it does nothing for a launcher, and what it says of a task's own pod: told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import RbacAuthorizationV1Api, V1Namespace, V1ObjectMeta, V1ServiceAccount
from kubernetes.client.exceptions import ApiException

from cluster.kube import RESTRICTED, Cluster, pod
from cluster.manifest_ground import kubectl
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.api import ClusterApi, LogQuery
from halfstep_worker.kubernetes.names import ATTEMPT
from halfstep_worker.kubernetes.values import Created, Refused, TryLater, Unavailable
from kustomize import MANIFESTS
from waiting import wait_until

pytestmark = pytest.mark.cluster
LAUNCHER = "halfstep-launcher"
NAME = "hs-0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"


@pytest.fixture
def rbac(cluster: Cluster) -> Any:
    return RbacAuthorizationV1Api(cluster.api)


@pytest.fixture
def granted(cluster: Cluster, namespace: str, rbac: Any) -> None:
    """The rights that the manifests give a launcher, for an account here."""
    account = V1ServiceAccount(metadata=V1ObjectMeta(name=LAUNCHER))
    cluster.core.create_namespaced_service_account(namespace, account)
    for each in yaml.safe_load_all((MANIFESTS / "base" / "accounts.yaml").read_text()):
        if each["metadata"]["name"] == LAUNCHER and each["kind"] in ("Role", "RoleBinding"):
            each["metadata"]["namespace"] = namespace
            for subject in each.get("subjects", []):
                subject["namespace"] = namespace
            kind = "role" if each["kind"] == "Role" else "role_binding"
            getattr(rbac, f"create_namespaced_{kind}")(namespace, each)


@pytest.fixture
def connect(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Callable[[str | None], ClusterApi]]:
    """The launcher's way to the cluster with that token; None: anonymous."""
    with ExitStack() as stack:

        def to(token: str | None) -> ClusterApi:
            config = yaml.safe_load(cluster.kubeconfig.read_text())
            config["users"] = [{"name": "launcher", "user": {} if token is None else {"token": token}}]
            for context in config["contexts"]:
                context["context"]["user"] = "launcher"
            file = tmp_path / "kubeconfig"
            file.write_text(yaml.safe_dump(config))
            return stack.enter_context(closing(ClusterApi("here", kubeconfig=str(file))))

        yield to


@pytest.fixture
def launcher(granted: None, namespace: str, connect: Callable[[str | None], ClusterApi]) -> ClusterApi:
    made = connect(kubectl(f"--namespace={namespace}", "create", "token", LAUNCHER).out.strip())
    wait_until(lambda: isinstance(create(made, namespace, dry="hs-first"), Created), what="the rights")
    return made


def create(api: ClusterApi, namespace: str, *, dry: str = NAME, **spec: Any) -> Any:
    made = pod(dry, command=["true"])
    made["metadata"]["labels"] = {ATTEMPT: "a1"}
    made["spec"] |= spec
    return api.create_pod(namespace, made, seconds=10)


def test_the_rights_of_the_manifests_are_enough_also_for_asking(launcher: ClusterApi, namespace: str, cluster: Cluster) -> None:
    before = len(cluster.core.list_namespaced_pod(namespace).items)
    for kind in ("pods", "configmaps"):
        launcher.probe(namespace, kind)
    assert launcher.troubles.standing() == []
    assert len(cluster.core.list_namespaced_pod(namespace).items) == before, "nothing stays of a dry run"


def test_a_role_binding_that_is_away_and_comes_back(launcher: ClusterApi, namespace: str, rbac: Any) -> None:
    binding = rbac.read_namespaced_role_binding(LAUNCHER, namespace)
    rbac.delete_namespaced_role_binding(LAUNCHER, namespace)
    wait_until(lambda: isinstance(create(launcher, namespace), Unavailable), what="the refusal")
    assert "Role and RoleBinding" in (launcher.troubles.blocked(namespace) or "")
    for call in (
        lambda: launcher.list_pods(namespace, selector="a=b"),
        lambda: launcher.get_pod(namespace, NAME),
        lambda: launcher.delete_pod(namespace, NAME, uid="x"),
        lambda: launcher.release_pod(namespace, NAME, keep=False),
        lambda: launcher.read_log(LogQuery(namespace, NAME, "main"), seconds=5),
    ):
        with pytest.raises(ApiError) as caught:
            call()  # type: ignore[no-untyped-call]
        assert caught.value.access
    binding.metadata = V1ObjectMeta(name=LAUNCHER, namespace=namespace)
    rbac.create_namespaced_role_binding(namespace, binding)

    def over() -> bool:
        launcher.probe(namespace, "pods")
        return not any(one.part == "create pods" for one in launcher.troubles.standing())

    wait_until(over, what="a dry run that succeeds")
    parts = ["get pods", "get pods/log", "delete pods", "patch pods"]
    assert {one.part for one in launcher.troubles.standing()} >= set(parts)

    def all_over() -> bool:
        for part in parts:
            launcher.touch(namespace, part)
        return not {one.part for one in launcher.troubles.standing()} & set(parts)

    wait_until(all_over, what="the same of a pod that does not exist")


@pytest.mark.parametrize("token", [None, "not-a-token"], ids=["anonymous", "an unknown token"])
def test_credentials_that_are_none(granted: None, namespace: str, connect: Any, token: str | None) -> None:
    made = create(connect(token), namespace)
    assert isinstance(made, Unavailable), made


def test_a_namespace_that_is_missing(connect: Any, cluster: Cluster) -> None:
    with closing(ClusterApi("here", kubeconfig=str(cluster.kubeconfig))) as api:
        made = create(api, "halfstep-no-such-namespace")
        assert isinstance(made, Unavailable), made
        assert "Make the namespace" in made.message
        assert api.get_pod("halfstep-no-such-namespace", NAME) is None


def test_a_namespace_that_is_being_terminated(cluster: Cluster, namespace: str) -> None:
    name = f"{namespace}-ends"
    core = cluster.core
    core.create_namespace(V1Namespace(metadata=V1ObjectMeta(name=name, labels=RESTRICTED)))
    held = {"metadata": {"name": "holds", "finalizers": ["halfstep.io/verdict"]}}
    core.create_namespaced_config_map(name, held)
    core.delete_namespace(name)
    try:
        with closing(ClusterApi("here", kubeconfig=str(cluster.kubeconfig))) as api:
            made = wait_until(lambda: _unavailable(create(api, name)), what="the refusal")
            assert "being terminated" in made.message or "Make the namespace" in made.message
    finally:
        with suppress(ApiException):
            core.patch_namespaced_config_map("holds", name, {"metadata": {"finalizers": None}})


def test_a_default_service_account_that_is_missing(cluster: Cluster, namespace: str) -> None:
    """Its controller makes it again within moments, so the launcher's luck decides which of the two it meets."""
    with closing(ClusterApi("here", kubeconfig=str(cluster.kubeconfig))) as api:
        for number in range(20):
            cluster.core.delete_namespaced_service_account("default", namespace)
            made = create(api, namespace, dry=f"hs-{number}")
            assert isinstance(made, Unavailable | Created), made
            wait_until(lambda: _has_account(cluster, namespace), what="the account")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"hostNetwork": True}, "violates PodSecurity"),
        ({"serviceAccountName": "no-such-account"}, "no-such-account"),
        ({"priorityClassName": "no-such-class"}, "no-such-class"),
        ({"restartPolicy": "Perhaps"}, "restartPolicy"),
    ],
)
def test_what_is_wrong_with_a_tasks_own_pod_is_its_own(
    launcher: ClusterApi, namespace: str, spec: dict[str, Any], words: str
) -> None:
    made = create(launcher, namespace, **spec)
    assert isinstance(made, Refused), made
    assert words in made.message
    assert launcher.troubles.standing() == []


def test_a_quota_that_is_used_up_passes(launcher: ClusterApi, cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_resource_quota(namespace, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    made = wait_until(lambda: _quota(create(launcher, namespace, dry="hs-more")), what="the quota")
    assert made.delay == 15.0
    assert launcher.troubles.standing() == []


def _unavailable(made: Any) -> Any:
    return made if isinstance(made, Unavailable) else None


def _quota(made: Any) -> Any:
    return made if isinstance(made, TryLater) and "exceeded quota" in made.message else None


def _has_account(cluster: Cluster, namespace: str) -> bool:
    try:
        return bool(cluster.core.read_namespaced_service_account("default", namespace))
    except ApiException:
        return False
