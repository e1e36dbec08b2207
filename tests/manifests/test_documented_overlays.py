"""The overlays that the documentation shows can be rendered as they stand there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from kustomize import MANIFESTS, Object, containers_of, environment, one, pods_of, render

DOCS = MANIFESTS.parent / "docs"
FILE = re.compile(r"`([\w/.-]+\.yaml)`[^`\n]*(?:\[[^\n]*)?:\n\n```yaml\n(.*?)```", re.DOTALL)


def shown(page: str, folder: Path) -> Path:
    """All files of a page, written into `folder` beside a copy of the manifests."""
    shutil.copytree(MANIFESTS, folder / "halfstep" / "manifests")
    for name, text in FILE.findall((DOCS / page).read_text()):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def images_of(found: list[Object]) -> set[str]:
    return {container["image"] for _, pod in pods_of(found) for container in containers_of(pod)}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    return render(shown("how-to/queues-with-own-worker-sizes.md", tmp_path_factory.mktemp("large")))


def test_a_fleet_of_its_own_serves_the_queue_that_it_is_counted_for(large: list[Object]) -> None:
    pods = dict(pods_of(large))
    for name, queues in (("halfstep-worker", "default,mail"), ("halfstep-worker-large", "large")):
        scaled = one(large, "ScaledObject", name)["spec"]
        variables = environment(pods[name]["containers"][0])
        assert scaled["scaleTargetRef"]["name"] == name
        assert variables["HALFSTEP_QUEUES"] == scaled["triggers"][0]["metadata"]["queues"] == queues
        assert variables["HALFSTEP_SLOTS"] == scaled["triggers"][0]["metadata"]["slots"]
        assert scaled["triggers"][0]["metadata"]["maxReplicas"] == str(scaled["maxReplicaCount"])


def test_a_fleet_of_its_own_keeps_its_own_numbers_and_gets_the_image_and_the_certificates(large: list[Object]) -> None:
    pods = dict(pods_of(large))
    container = pods["halfstep-worker-large"]["containers"][0]
    assert container["image"] == pods["halfstep-worker"]["containers"][0]["image"] != "halfstep"
    assert container["resources"]["limits"] == {"memory": "16Gi"}
    assert pods["halfstep-worker-large"]["terminationGracePeriodSeconds"] == 3660
    trigger = one(large, "ScaledObject", "halfstep-worker-large")["spec"]["triggers"][0]
    assert trigger["authenticationRef"] == {"name": "halfstep-scaler"}


def test_no_deployment_takes_the_pods_of_another_one(large: list[Object]) -> None:
    deployments = [each["spec"] for each in large if each["kind"] == "Deployment"]
    for each in deployments:
        wanted = each["selector"]["matchLabels"].items()
        assert [other for other in deployments if wanted <= other["template"]["metadata"]["labels"].items()] == [each]


def test_another_cluster_has_launchers_for_its_own_tasks_only(tmp_path: Path) -> None:
    found = render(shown("how-to/several-clusters.md", tmp_path) / "eu")
    pods = dict(pods_of(found))
    assert set(pods) == {"halfstep-launcher", "halfstep-scaler"}
    assert environment(pods["halfstep-launcher"]["containers"][0])["HALFSTEP_CLUSTER"] == "eu"
    (trigger,) = one(found, "ScaledObject", "halfstep-launcher")["spec"]["triggers"]
    assert trigger["metadata"]["cluster"] == "eu"


def test_an_overlay_on_top_of_ours_changes_a_setting_everywhere(tmp_path: Path) -> None:
    found = render(shown("reference/manifests.md", tmp_path))
    scaled = one(found, "ScaledObject", "halfstep-worker")["spec"]
    assert (scaled["maxReplicaCount"], scaled["triggers"][0]["metadata"]["maxReplicas"]) == (50, "50")
    assert one(found, "PodMonitor", "halfstep")
    assert images_of(found) == {"registry.example.com/team/ours:1"}


def test_an_image_of_ones_own_is_named_as_its_page_says(tmp_path: Path) -> None:
    found = render(shown("../examples/image/README.md", tmp_path))
    assert images_of(found) == {"registry.example.com/team/ours:1"}
    (files,) = [each["data"] for each in found if each["metadata"]["name"].startswith("halfstep-launcher-files")]
    assert 'image: "registry.example.com/team/ours:1"' in files["clusters.yaml"]
