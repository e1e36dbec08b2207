"""The rights that the manifests give are those of a list, and nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kustomize import COMPONENTS, MANIFESTS, Object, kustomization, objects, one, render_with

ALL = objects()
GOLDEN = yaml.safe_load((Path(__file__).parent / "rbac.yaml").read_text())


def line(rule: dict[str, Any]) -> dict[str, str]:
    """One rule as the list writes it."""
    (group,), (resource,) = rule["apiGroups"], rule["resources"]
    names = f" ({', '.join(rule['resourceNames'])})" if "resourceNames" in rule else ""
    return {f"{group}/{resource}{names}" if group else f"{resource}{names}": ", ".join(rule["verbs"])}


def title(binding: dict[str, Any]) -> str:
    """Which role, for whom."""
    (subject,) = binding["subjects"]
    return f"{binding['metadata']['namespace']}/{binding['roleRef']['name']} for {subject['namespace']}/{subject['name']}"


def rights(given: list[Object]) -> dict[str, list[dict[str, str]]]:
    """As in the list."""
    bindings = [each for each in given if each["kind"] == "RoleBinding"]
    return {title(each): [line(rule) for rule in one(given, "Role", each["roleRef"]["name"])["rules"]] for each in bindings}


def test_the_rights_are_those_of_the_list() -> None:
    assert rights(ALL) == GOLDEN


def test_rendering_changes_no_right(tmp_path: Path) -> None:
    """kustomize gives new names to what it generates, and would also give them to `resourceNames`."""
    overlay = kustomization(MANIFESTS / "overlays" / "production", components=COMPONENTS)
    assert rights(render_with(tmp_path, overlay)) == GOLDEN


def test_no_right_reaches_over_a_namespace() -> None:
    assert not [each for each in ALL if each["kind"] in ("ClusterRole", "ClusterRoleBinding")]


def test_every_role_is_bound_in_its_own_namespace() -> None:
    roles = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in ALL if each["kind"] == "Role"}
    bound = {(each["metadata"]["namespace"], each["roleRef"]["name"]) for each in ALL if each["kind"] == "RoleBinding"}
    assert roles == bound


@pytest.mark.parametrize("kind", ["Role", "ClusterRole"])
def test_nothing_is_given_by_a_star(kind: str) -> None:
    for each in (found for found in ALL if found["kind"] == kind):
        assert "*" not in yaml.safe_dump(each["rules"])
