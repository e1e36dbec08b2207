"""What users change stands in one place: each setting has a place, is explained, and fits the others."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from kustomize import MANIFESTS, OVERLAYS, environment, objects, one

ALL = objects()
DOCS = MANIFESTS.parent / "docs"


def settings_of(file: Path) -> dict[str, str]:
    data: dict[str, str] = yaml.safe_load(file.read_text())["data"]
    return data


DEFAULTS = settings_of(MANIFESTS / "base" / "settings.yaml")
PLACES = yaml.safe_load((MANIFESTS / "settings" / "places.yaml").read_text())["replacements"]


def with_defaults(overlay: str) -> dict[str, str]:
    return DEFAULTS | settings_of(MANIFESTS / "overlays" / overlay / "settings.yaml")


def reach(found: Any, path: str) -> Any:
    """What stands at a field path of kustomize."""
    for part in re.findall(r"\[[^]]*\]|[^.\[\]]+", path):
        key, _, value = part.strip("[]").partition("=")
        if value:
            (found,) = [item for item in found if item[key] == value]
        else:
            found = found[int(key) if isinstance(found, list) else key]
    return found


def is_selected(select: dict[str, str], found: dict[str, Any]) -> bool:
    """As kustomize selects."""
    about = found["metadata"]
    wanted = re.findall(r"([\w./-]+?)(!?=)([\w-]+)", select.get("labelSelector", ""))
    return (
        found["kind"] == select["kind"]
        and select.get("name") in (None, about["name"])
        and all((about.get("labels", {}).get(key) == value) == (sign == "=") for key, sign, value in wanted)
    )


@pytest.mark.parametrize("setting", DEFAULTS)
def test_a_setting_has_a_place_and_an_explanation(setting: str) -> None:
    assert any(place["source"]["fieldPath"] == f"data.{setting}" for place in PLACES)
    assert f"`{setting}`" in (DOCS / "reference" / "manifests.md").read_text()


@pytest.mark.parametrize("place", [place for place in PLACES if place["source"]["kind"] == "ConfigMap"], ids=str)
def test_a_place_shows_the_default_of_its_setting(place: dict[str, Any]) -> None:
    default = DEFAULTS[place["source"]["fieldPath"].removeprefix("data.")]
    for target in place["targets"]:
        for found in filter(partial(is_selected, target["select"]), ALL):
            assert {str(reach(found, path)) for path in target["fieldPaths"]} == {default}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_changes_only_settings_that_exist(overlay: str) -> None:
    assert set(settings_of(MANIFESTS / "overlays" / overlay / "settings.yaml")) <= set(DEFAULTS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_of_an_overlay_fit_each_other(overlay: str) -> None:
    found = with_defaults(overlay)
    assert int(found["worker-termination-grace"]) >= float(found["worker-grace"]) + 10
    assert 1 <= int(found["worker-min"]) <= int(found["worker-max"])
    assert found["worker-policy"] in ("backlog", "latency")


def test_the_scaler_can_read_the_metadata_of_every_trigger() -> None:
    metadata = pytest.importorskip("halfstep_scaler.metadata")
    scaled = [each for each in ALL if each["kind"] == "ScaledObject"]
    targets = {each["metadata"]["name"]: metadata.parse_metadata(each["spec"]["triggers"][0]["metadata"]) for each in scaled}
    assert targets["halfstep-worker"].placement == "worker"
    assert targets["halfstep-launcher"].placement == "pod"
    for each in scaled:
        assert targets[each["metadata"]["name"]].bounds.maximum == each["spec"]["maxReplicaCount"]


@pytest.mark.parametrize("name", ["halfstep-worker", "halfstep-launcher"])
def test_keda_goes_from_nothing_to_enough_in_few_steps_and_back_slowly(name: str) -> None:
    spec = one(ALL, "ScaledObject", name)["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert (spec["idleReplicaCount"], spec["minReplicaCount"]) == (0, 1)
    assert behavior["scaleUp"] == {
        "stabilizationWindowSeconds": 0,
        "tolerance": "0",
        "policies": [{"type": "Pods", "value": 1000, "periodSeconds": 15}],
    }
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 120
    assert spec["triggers"][0]["metricType"] == "AverageValue"


def test_worker_and_scaler_agree_on_the_number_of_slots() -> None:
    (worker,) = one(ALL, "Deployment", "halfstep-worker")["spec"]["template"]["spec"]["containers"]
    trigger = one(ALL, "ScaledObject", "halfstep-worker")["spec"]["triggers"][0]["metadata"]
    assert environment(worker)["HALFSTEP_SLOTS"] == trigger["slots"]


def test_the_launchers_files_can_be_read_by_the_launcher() -> None:
    from halfstep_worker.kubernetes.clusters import read_clusters
    from halfstep_worker.kubernetes.policy import read_policy

    clusters = read_clusters(MANIFESTS / "base" / "launcher" / "clusters.yaml", {})
    assert clusters[""].in_cluster
    assert clusters[""].namespace == "halfstep-tasks"
    assert read_policy(MANIFESTS / "base" / "launcher" / "policy.yaml").images == ("*",)


@pytest.mark.parametrize("file", ["base/launcher/clusters.yaml", "components/pull-secret/clusters.yaml"])
@pytest.mark.parametrize(
    ("resources", "memory"),
    [
        pytest.param({}, ("128Mi", "1Gi"), id="a task that says nothing"),
        pytest.param(
            {"requests": {"memory": "2Gi"}}, ("2Gi", "2Gi"), id="a request above the namespace's limit for who names none"
        ),
        pytest.param({"requests": {"memory": "512Mi"}}, ("512Mi", "1Gi"), id="a request below it"),
        pytest.param({"limits": {"memory": "64Mi"}}, ("64Mi", "64Mi"), id="a limit below the default request"),
    ],
)
def test_a_request_alone_gets_a_limit_that_holds_it(file: str, resources: Any, memory: tuple[str, str]) -> None:
    from halfstep_worker.kubernetes.clusters import read_clusters
    from halfstep_worker.kubernetes.manifest import build
    from halfstep_worker.kubernetes.request import read_pod
    from halfstep_worker.kubernetes.values import Identity

    request = read_pod({"image": "x", "resources": resources})
    identity = Identity("i", "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11", 1, 1, "default", "pod")
    found = build(request, identity, read_clusters(MANIFESTS / file, {})[""].pods).pod["spec"]["containers"][0]["resources"]
    assert (found["requests"]["memory"], found["limits"]["memory"]) == memory
