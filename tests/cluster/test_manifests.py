"""The manifests before a real API server: accepted as they are, and the rights that they give are as small as they look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from kubernetes.client import AuthorizationV1Api, V1ResourceAttributes, V1SubjectAccessReview, V1SubjectAccessReviewSpec

from cluster.kube import Cluster, pod
from cluster.manifest_ground import failed_checks, has_checkov, kubectl, there
from kustomize import COMPONENTS, MANIFESTS, OVERLAYS, Object, kustomization, render, render_with
from waiting import wait_until

pytestmark = pytest.mark.cluster

EVERYTHING = "production with every component"
RIGHTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")

GROUPS_OF_ACCOUNTS = ["system:serviceaccounts", "system:serviceaccounts:halfstep", "system:authenticated"]
GROUPS = {"deployments": "apps", "rolebindings": "rbac.authorization.k8s.io"}

EXCEPTIONS = {
    "CKV_K8S_11": "no limit of processors: a throttled worker, launcher or scaler renews its lease, or answers KEDA, late",
    "CKV_K8S_15": "an image by its digest never changes; pulling it each time only makes starts slow and registries a dependency",
    "CKV_K8S_35": "the database's URL is a variable, as the command wants it; bodies of tasks never see it",
    "CKV_K8S_38": "launchers make pods, and a scaler that may scale by itself sets numbers: both need their token",
    "CKV_K8S_43": "`make publish` writes the digest; nobody can know it before",
}
"""What checkov would have otherwise, and why it is as it is."""

DEMO_EXCEPTIONS = {
    "CKV_K8S_40": "the demo's PostgreSQL runs as the user of its image, 999",
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """Production with every component."""
    overlay = kustomization(MANIFESTS / "overlays" / "production", components=COMPONENTS)
    return render_with(tmp_path_factory.mktemp("everything"), overlay)


@pytest.fixture(scope="module")
def ground(cluster: Cluster, everything: list[Object]) -> Iterator[None]:
    """The namespaces, accounts and rights of an installation, and nothing that runs."""
    with ExitStack() as stack:
        for kinds in (RIGHTS[:1], RIGHTS[1:]):
            stack.enter_context(there(kinds[0], [each for each in everything if each["kind"] in kinds]))
        yield


def rendered(name: str, everything: list[Object]) -> list[Object]:
    return everything if name == EVERYTHING else render(MANIFESTS / "overlays" / name)


@pytest.mark.parametrize("name", [*OVERLAYS, EVERYTHING])
def test_the_api_server_accepts_an_overlay_without_a_warning(
    name: str, definitions: None, ground: None, everything: list[Object]
) -> None:
    words = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")
    answer = kubectl(*words, given=rendered(name, everything))
    assert answer.code == 0, answer.err
    assert "Warning" not in answer.err


@pytest.mark.parametrize("name", [*OVERLAYS, EVERYTHING])
def test_a_linter_finds_nothing_but_what_is_meant(name: str, everything: list[Object], cluster: Cluster, tmp_path: Path) -> None:
    if not has_checkov():
        pytest.skip("checkov is not installed; `make cluster` fetches it.")
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(rendered(name, everything)))
    allowed = EXCEPTIONS | (DEMO_EXCEPTIONS if name == "demo" else {})
    found = {f"{each['check_id']} {each['check_name']}: {each['resource']}" for each in failed_checks(file)}
    assert not {each for each in found if each.split()[0] not in allowed}
    with_token = {each.rpartition(".")[2] for each in found if each.startswith("CKV_K8S_38 ")}
    assert with_token <= {"halfstep-launcher", "halfstep-scaler"}


def may(cluster: Cluster, account: str, request: str) -> bool:
    """Whether the account could do that; `request` is VERB RESOURCE[/SUBRESOURCE][:NAME] [in NAMESPACE]."""
    words, _, namespace = request.partition(" in ")
    verb, _, rest = words.partition(" ")
    path, _, name = rest.partition(":")
    resource, _, subresource = path.partition("/")
    asked = V1ResourceAttributes(
        verb=verb, resource=resource, subresource=subresource, name=name, namespace=namespace, group=GROUPS.get(resource, "")
    )
    who = {"user": f"system:serviceaccount:halfstep:{account}", "groups": GROUPS_OF_ACCOUNTS}
    review = V1SubjectAccessReview(spec=V1SubjectAccessReviewSpec(resource_attributes=asked, **who))
    return bool(AuthorizationV1Api(cluster.api).create_subject_access_review(review).status.allowed)


@pytest.mark.parametrize("verb", ["create", "delete", "get", "list", "watch", "patch"])
def test_a_launcher_may_do_its_work_in_the_namespace_of_tasks(verb: str, ground: None, cluster: Cluster) -> None:
    assert may(cluster, "halfstep-launcher", f"{verb} pods in halfstep-tasks")


def test_a_launcher_may_read_why_pods_of_tasks_do_not_start(ground: None, cluster: Cluster) -> None:
    assert may(cluster, "halfstep-launcher", "list events in halfstep-tasks")


NOT_FOR_LAUNCHERS = [
    "create pods in halfstep",
    "list pods in halfstep",
    "get pods in default",
    "list pods",
    "get secrets in halfstep-tasks",
    "list secrets in halfstep-tasks",
    "get secrets:halfstep-database in halfstep",
    "list configmaps in halfstep-tasks",
    "delete configmaps in halfstep-tasks",
    "list events in halfstep",
    "watch events in halfstep-tasks",
    "create events in halfstep-tasks",
    "create pods/exec in halfstep-tasks",
    "create pods/attach in halfstep-tasks",
    "create serviceaccounts/token in halfstep-tasks",
    "create rolebindings in halfstep-tasks",
    "update pods in halfstep-tasks",
    "list nodes",
    "list namespaces",
]


@pytest.mark.parametrize("request_", NOT_FOR_LAUNCHERS)
def test_a_launcher_may_do_nothing_else(request_: str, ground: None, cluster: Cluster) -> None:
    assert not may(cluster, "halfstep-launcher", request_)


NOT_FOR_WORKERS = [
    "list pods in halfstep",
    "get pods in halfstep",
    "list pods in halfstep-tasks",
    "create pods in halfstep-tasks",
    "get secrets in halfstep",
    "list secrets in halfstep",
    "get secrets in halfstep-tasks",
    "get configmaps in halfstep",
    "create serviceaccounts/token in halfstep",
    "patch deployments/scale:halfstep-worker in halfstep",
    "list nodes",
]


@pytest.mark.parametrize("account", ["halfstep-worker", "halfstep-migrate"])
@pytest.mark.parametrize("request_", NOT_FOR_WORKERS)
def test_a_worker_may_do_nothing_in_the_cluster(request_: str, account: str, ground: None, cluster: Cluster) -> None:
    assert not may(cluster, account, request_)


def test_a_scaler_with_the_components_may_set_the_numbers_of_two_deployments(ground: None, cluster: Cluster) -> None:
    for name in ("halfstep-worker", "halfstep-launcher"):
        assert may(cluster, "halfstep-scaler", f"patch deployments/scale:{name} in halfstep")


NOT_FOR_SCALERS = [
    "patch deployments/scale:halfstep-scaler in halfstep",
    "patch deployments:halfstep-worker in halfstep",
    "get deployments:halfstep-worker in halfstep",
    "delete pods in halfstep",
    "create pods in halfstep",
    "patch pods in halfstep-tasks",
    "list secrets in halfstep",
    "create pods/eviction in halfstep",
]


@pytest.mark.parametrize("request_", NOT_FOR_SCALERS)
def test_a_scaler_with_the_components_may_do_nothing_else(request_: str, ground: None, cluster: Cluster) -> None:
    assert not may(cluster, "halfstep-scaler", request_)


@pytest.fixture
def sleeper(ground: None) -> Iterator[str]:
    """A pod of the system's namespace; it need not run to be changed."""
    manifest = pod("manifest-test-sleeper", command=["sleep", "60"])
    manifest["metadata"] |= {"namespace": "halfstep", "labels": {"halfstep.test": "sleeper"}}
    manifest["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1m", "memory": "8Mi"}}
    manifest["spec"]["terminationGracePeriodSeconds"] = 0
    with there("sleeper", [manifest]):
        yield "manifest-test-sleeper"


def patched_by_scaler(name: str, patch: str) -> tuple[int, str]:
    account = "--as=system:serviceaccount:halfstep:halfstep-scaler"
    answer = kubectl("patch", "pod", name, "--namespace=halfstep", account, f"--patch={patch}", "--dry-run=server")
    return answer.code, answer.err


def test_a_scaler_may_mark_a_pod_but_not_change_what_it_runs(sleeper: str) -> None:
    other_image = '{"spec": {"containers": [{"name": "main", "image": "evil"}]}}'
    refused = "may not change what a pod runs"
    wait_until(lambda: refused in patched_by_scaler(sleeper, other_image)[1], seconds=60, what="the admission policy")
    assert "may not change a pod's labels" in patched_by_scaler(sleeper, '{"metadata": {"labels": {"a": "b"}}}')[1]
    mark = '{"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}}'
    assert patched_by_scaler(sleeper, mark) == (0, "")
