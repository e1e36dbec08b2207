"""What kustomize makes of the overlays, alone and with every component. Needs kubectl."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from kustomize import (
    COMPONENTS,
    MANIFESTS,
    OVERLAYS,
    containers_of,
    environment,
    kustomization,
    one,
    pods_of,
    render,
    render_with,
)

BASE = MANIFESTS / "base"
PRODUCTION = MANIFESTS / "overlays" / "production"
FOREIGN = ("postgres:17", "docker.io/edoburu/pgbouncer:v1.24.1-p1")


def launcher_files(found: list[dict[str, Any]]) -> dict[str, str]:
    """What the launcher reads."""
    (volume,) = [each for each in dict(pods_of(found))["halfstep-launcher"]["volumes"] if "configMap" in each]
    data: dict[str, str] = one(found, "ConfigMap", volume["configMap"]["name"])["data"]
    return data


def settings(**changed: str) -> dict[str, Any]:
    """A patch of the settings object."""
    data = {key.replace("_", "-"): value for key, value in changed.items()}
    patch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "halfstep"}, "data": data}
    return {"patch": yaml.safe_dump(patch)}


@pytest.fixture(scope="module", params=[*OVERLAYS, "production with every component"])
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if request.param in OVERLAYS:
        return render(MANIFESTS / "overlays" / request.param)
    return render_with(tmp_path_factory.mktemp("all"), kustomization(PRODUCTION, components=COMPONENTS))


def test_every_image_is_named(rendered: list[dict[str, Any]]) -> None:
    images = {container["image"] for _, pod in pods_of(rendered) for container in containers_of(pod)}
    ours = images - set(FOREIGN)
    assert len(ours) == 1
    assert ":" in ours.pop()


def test_operators_in_pods_of_their_own_run_in_the_launchers_image(rendered: list[dict[str, Any]]) -> None:
    (pod,) = [pod for name, pod in pods_of(rendered) if name == "halfstep-launcher"]
    (volume,) = [each for each in pod["volumes"] if "configMap" in each]
    clusters = yaml.safe_load(one(rendered, "ConfigMap", volume["configMap"]["name"])["data"]["clusters.yaml"])
    assert clusters["default"]["pods"]["image"] == pod["containers"][0]["image"]


def test_a_worker_has_time_to_leave(rendered: list[dict[str, Any]]) -> None:
    (pod,) = [pod for name, pod in pods_of(rendered) if name == "halfstep-worker"]
    assert pod["terminationGracePeriodSeconds"] >= float(environment(pod["containers"][0])["HALFSTEP_GRACE"]) + 10


def test_the_settings_object_is_not_applied(rendered: list[dict[str, Any]]) -> None:
    assert not [each for each in rendered if each["metadata"]["name"] == "settings"]


def test_every_trigger_asks_somebody_who_is_there(rendered: list[dict[str, Any]]) -> None:
    deployments = {name for name, _ in pods_of(rendered)}
    authentications = {each["metadata"]["name"] for each in rendered if each["kind"] == "TriggerAuthentication"}
    for each in (found for found in rendered if found["kind"] == "ScaledObject"):
        (trigger,) = each["spec"]["triggers"]
        assert (trigger["type"] == "external-push") == ("halfstep-scaler" in deployments)
        assert trigger.get("authenticationRef", {}).get("name") in {None, *authentications}


def test_a_setting_reaches_all_its_places_from_an_overlay_of_a_user(tmp_path: Path) -> None:
    patches = [settings(worker_slots="7", worker_max="33", worker_termination_grace="3600", database_port="6000")]
    found = render_with(tmp_path, kustomization(BASE, patches=patches))
    trigger = one(found, "ScaledObject", "halfstep-worker")["spec"]
    pod = dict(pods_of(found))["halfstep-worker"]
    assert trigger["triggers"][0]["metadata"]["slots"] == environment(pod["containers"][0])["HALFSTEP_SLOTS"] == "7"
    assert trigger["maxReplicaCount"] == int(trigger["triggers"][0]["metadata"]["maxReplicas"]) == 33
    assert pod["terminationGracePeriodSeconds"] == 3600
    assert one(found, "NetworkPolicy", "to-database")["spec"]["egress"][0]["ports"][0]["port"] == 6000


def test_settings_can_be_changed_on_top_of_a_finished_overlay(tmp_path: Path) -> None:
    found = render_with(tmp_path, kustomization(MANIFESTS / "overlays" / "demo", components=["prometheus"]))
    assert one(found, "PodMonitor", "halfstep")
    assert one(found, "ScaledObject", "halfstep-worker")["spec"]["maxReplicaCount"] == 5


def test_a_digest_pins_every_program_of_ours(tmp_path: Path) -> None:
    digest = "sha256:" + "1" * 64
    image = {"name": "registry.example.com/halfstep", "newName": "localhost:5000/halfstep", "digest": digest}
    found = render_with(tmp_path, kustomization(PRODUCTION, images=[image]))
    images = {container["image"] for _, pod in pods_of(found) for container in containers_of(pod)}
    assert images == {f"localhost:5000/halfstep@{digest}"}


@pytest.mark.parametrize("pins", ["registry.example.com/halfstep", "localhost:5000/team/halfstep"], ids=["as it is", "published"])
@pytest.mark.parametrize("components", [(), COMPONENTS], ids=["alone", "with every component"])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_image_that_is_named_on_top_of_an_overlay_reaches_every_program_of_ours(
    overlay: str, components: tuple[str, ...], pins: str, tmp_path: Path
) -> None:
    if overlay == "keda-postgresql":
        components = tuple(name for name in components if name not in ("direct-scale", "busy-aware"))  # they are of our scaler
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    pinned = tmp_path / "manifests" / "overlays" / "production" / "image" / "kustomization.yaml"
    pinned.write_text(pinned.read_text().replace("registry.example.com/halfstep", pins))
    images = [{"name": "halfstep", "newName": "registry.example.com:5000/team/ours", "newTag": "1"}]
    parts = [f"../manifests/components/{name}" for name in components]
    mine = {"resources": [f"../manifests/overlays/{overlay}"], "components": parts, "images": images}
    (tmp_path / "mine").mkdir()
    found = render_with(tmp_path / "mine", mine | {"transformers": ["../manifests/settings"]})
    images_there = {container["image"] for _, pod in pods_of(found) for container in containers_of(pod)}
    assert images_there - set(FOREIGN) == {"registry.example.com:5000/team/ours:1"}
    clusters = yaml.safe_load(launcher_files(found)["clusters.yaml"])
    assert clusters["default"]["pods"]["image"] == "registry.example.com:5000/team/ours:1"
    assert "halfstep.io/image" not in yaml.safe_dump_all(found)


def test_settings_can_be_changed_on_top_of_keda_postgresql(tmp_path: Path) -> None:
    patches = [settings(worker_max="33", worker_slots="7")]
    overlay = kustomization(MANIFESTS / "overlays" / "keda-postgresql", patches=patches)
    overlay["transformers"] = [*overlay["transformers"], str(MANIFESTS / "overlays" / "keda-postgresql" / "triggers")]
    found = render_with(tmp_path, overlay)
    spec = one(found, "ScaledObject", "halfstep-worker")["spec"]
    assert (spec["maxReplicaCount"], spec["triggers"][0]["type"]) == (33, "postgresql")
    assert spec["triggers"][0]["metadata"]["targetQueryValue"] == "7"


def test_every_program_of_ours_takes_the_pull_secret_and_so_do_pods_of_the_runtime(tmp_path: Path) -> None:
    found = render_with(tmp_path, kustomization(PRODUCTION, components=["pull-secret"]))
    for name, pod in pods_of(found):
        assert pod["imagePullSecrets"] == [{"name": "halfstep-registry"}], name
    (pods,) = [cluster["pods"] for cluster in yaml.safe_load(launcher_files(found)["clusters.yaml"]).values()]
    assert pods.pop("image_pull_secrets") == ["halfstep-registry"]
    (without,) = [cluster["pods"] for cluster in yaml.safe_load(launcher_files(render(PRODUCTION))["clusters.yaml"]).values()]
    assert pods == without


def test_a_user_replaces_the_launchers_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("images: [ours/*]\n")
    generator = {"name": "halfstep-launcher-files", "namespace": "halfstep", "behavior": "merge", "files": ["policy.yaml"]}
    found = render_with(tmp_path, kustomization(PRODUCTION, configMapGenerator=[generator]))
    (volume,) = [each for each in dict(pods_of(found))["halfstep-launcher"]["volumes"] if "configMap" in each]
    data = one(found, "ConfigMap", volume["configMap"]["name"])["data"]
    assert yaml.safe_load(data["policy.yaml"]) == {"images": ["ours/*"]}
    assert "in_cluster: true" in data["clusters.yaml"]


def test_with_mtls_the_scaler_never_serves_without_it(tmp_path: Path) -> None:
    found = render(PRODUCTION)
    (scaler,) = dict(pods_of(found))["halfstep-scaler"]["containers"]
    assert "--insecure" not in scaler["args"]
    for each in (found for found in found if found["kind"] == "ScaledObject"):
        (trigger,) = each["spec"]["triggers"]
        assert trigger["metadata"]["enableTLS"] == "true"
        assert trigger["authenticationRef"] == {"name": "halfstep-scaler"}


@pytest.mark.parametrize(("component", "flag"), [("direct-scale", "--direct-scale"), ("busy-aware", "--busy-aware")])
def test_a_scaler_that_may_scale_is_told_so_and_has_a_token(component: str, flag: str, tmp_path: Path) -> None:
    pod = dict(pods_of(render_with(tmp_path, kustomization(PRODUCTION, components=[component]))))["halfstep-scaler"]
    assert flag in pod["containers"][0]["args"]
    assert pod["automountServiceAccountToken"] is True


def test_with_busy_aware_scale_in_the_hpa_takes_no_worker_away(tmp_path: Path) -> None:
    found = render_with(tmp_path, kustomization(PRODUCTION, components=["busy-aware"]))
    spec = one(found, "ScaledObject", "halfstep-worker")["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"] == {"selectPolicy": "Disabled"}


def test_in_production_a_launcher_stays_so_that_no_pod_is_held_for_want_of_one(
    rendered: list[dict[str, Any]], request: Any
) -> None:
    spec = one(rendered, "ScaledObject", "halfstep-launcher")["spec"]
    stays = "production" in request.node.callspec.id
    assert spec["minReplicaCount"] == 1
    assert ("idleReplicaCount" not in spec) == stays
    assert one(rendered, "ScaledObject", "halfstep-worker")["spec"]["idleReplicaCount"] == 0


def test_nothing_stands_in_the_way_of_a_node_drain_but_our_own_budgets(rendered: list[dict[str, Any]]) -> None:
    budgets = {each["metadata"]["name"] for each in rendered if each["kind"] == "PodDisruptionBudget"}
    assert budgets <= {"halfstep-scaler", "halfstep-pgbouncer"}, (
        "a budget for pods of tasks would make a drain wait for every task"
    )
