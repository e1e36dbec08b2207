"""KEDA as its own manifests install it, with images that are built here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from cluster.harness.commands import run
from cluster.harness.images import program_image
from cluster.harness.inside import apply, kubectl
from cluster.harness.programs import KEDA, KUBERNETES_MODULE, built
from cluster.harness.workloads import wait_for

PROGRAMS = {"keda": "operator", "keda-adapter": "adapter", "keda-admission-webhooks": "webhooks"}
"""Name in the manifests' commands -> name as built."""

IMAGE = program_image("keda", module=KEDA, programs=tuple(PROGRAMS.values()), names=tuple(PROGRAMS))
IMAGES = (IMAGE,)


def start() -> None:
    """Returns when its metrics are part of the cluster's API; each of its pods may restart once while certificates are made."""
    objects = [_adapted(manifest) for manifest in _manifests()]
    first = [found for found in objects if found["kind"] in ("Namespace", "CustomResourceDefinition")]
    apply(*first, seconds=60)
    apply(*(found for found in objects if found not in first), seconds=60)
    for found in objects:
        if found["kind"] == "Deployment":
            wait_for(found["metadata"]["name"], namespace="keda", seconds=120)
    kubectl("wait", "--for=condition=Available", "apiservice/v1beta1.external.metrics.k8s.io", "--timeout=60s", seconds=70)


def _manifests() -> list[dict[str, Any]]:
    """They lie in the module that KEDA is built from."""
    downloaded = run(["go", "mod", "download", "-json", "github.com/kedacore/keda/v2"], cwd=KEDA.source, seconds=300)
    folder = Path(json.loads(downloaded)["Dir"]) / "config" / "default"
    return list(yaml.safe_load_all(run([built(KUBERNETES_MODULE) / "kubectl", "kustomize", folder])))


def _adapted(manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest["kind"] == "Deployment":
        for container in manifest["spec"]["template"]["spec"]["containers"]:
            container |= {"image": IMAGE.tag, "imagePullPolicy": "Never"}
    return manifest
