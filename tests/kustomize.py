"""The manifests as files and as kustomize renders them, for the tests of both."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from waiting import PATIENCE

Object = dict[str, Any]

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"
OVERLAYS = ("demo", "production", "keda-postgresql")
COMPONENTS = ("direct-scale", "busy-aware", "prometheus", "grafana", "pgbouncer", "pull-secret")
"""Those that production can take up besides its own."""
WORKLOADS = ("Deployment", "Job", "StatefulSet", "DaemonSet")
_NOT_APPLIED = ("Kustomization", "Component", "ReplacementTransformer", "PatchTransformer")


def objects_of(file: Path) -> list[Object]:
    """Everything in one file that is meant for a cluster."""
    found = [document for document in yaml.safe_load_all(file.read_text()) if document]
    return [document for document in found if isinstance(document, dict) and document.get("kind") not in _NOT_APPLIED]


def objects() -> list[Object]:
    """Whole objects of all files; what only patches another object is left out."""
    files = [
        file for file in sorted(MANIFESTS.rglob("*.yaml")) if file.parent.name != "launcher" and file.name != "clusters.yaml"
    ]
    return [found for file in files for found in objects_of(file) if not _is_patch(file, found)]


def _is_patch(file: Path, found: Object) -> bool:
    kustomization = yaml.safe_load((file.parent / "kustomization.yaml").read_text())
    return file.name not in kustomization.get("resources", ())


def pods_of(found: Sequence[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod spec of every workload."""
    for each in found:
        if each["kind"] in WORKLOADS:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def containers_of(pod: Object) -> list[Object]:
    """Those that run, and those that run before."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def one(found: Sequence[Object], kind: str, name: str) -> Object:
    """The only object of that kind and name."""
    (match,) = [each for each in found if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return match


def environment(container: Object) -> dict[str, str]:
    """Variables with a value of their own."""
    return {item["name"]: item["value"] for item in container.get("env", ()) if "value" in item}


def kustomization(resource: Path, *, components: Sequence[str] = (), **more: Any) -> Object:
    """An overlay as a user writes one, on top of ours."""
    parts = [str(MANIFESTS / "components" / name) for name in components]
    return {"resources": [str(resource)], "components": parts, "transformers": [str(MANIFESTS / "settings")], **more}


def render(folder: Path) -> list[Object]:
    """What `kubectl kustomize` makes of it; skips the test where there is no kubectl."""
    return list(yaml.safe_load_all(rendered_text(folder)))


@cache
def rendered_text(folder: Path) -> str:
    """As `render`, unread."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed; `make cluster` renders the manifests too.")
    done = subprocess.run([program, "kustomize", folder], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def render_with(folder: Path, overlay: Object) -> list[Object]:
    """Of an overlay that is written into `folder` for it. kustomize wants paths that are relative."""
    paths = ("resources", "components", "transformers")
    relative = {key: [_relative(folder, place) for place in overlay.get(key, ())] for key in paths}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay | relative))
    return render(folder)


def _relative(folder: Path, place: str) -> str:
    up = Path(*[".."] * (len(folder.resolve().parts) - 1))
    return str(up / Path(place).resolve().relative_to("/")) if Path(place).is_absolute() else place
