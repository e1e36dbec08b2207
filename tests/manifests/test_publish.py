"""Publishing: what is pushed is pinned by its digest. The builder is a stand-in that notes how it is called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from kustomize import MANIFESTS
from waiting import PATIENCE

REGISTRY = "registry.example.com/team"
DIGEST = "sha256:" + "a1" * 32
STAND_IN = f"""#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
  *--digestfile*) while [ "$1" != --digestfile ]; do shift; done; printf '%s' "${{DIGEST-{DIGEST}}}" > "$2" ;;
  *inspect*) printf '%s\\n' "other.example.com/halfstep@sha256:{"b" * 64}" "$HERE@${{DIGEST-{DIGEST}}}" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what publishing reads and writes, with builders that only take notes."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    shutil.copy(MANIFESTS.parent / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("docker", "buildah"):
        (tmp_path / "bin" / name).write_text(STAND_IN)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def publish(checkout: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CALLS": str(checkout / "calls"), "HERE": f"{REGISTRY}/halfstep"} | variables
    command = [str(checkout / "manifests" / "publish"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)


def pinned(checkout: Path) -> dict[str, str]:
    file = checkout / "manifests" / "overlays" / "production" / "image" / "kustomization.yaml"
    (image,) = yaml.safe_load(file.read_text())["images"]
    return dict(image)


@pytest.mark.parametrize("builder", ["docker", "buildah"])
def test_the_digest_of_what_was_pushed_is_pinned(builder: str, checkout: Path) -> None:
    done = publish(checkout, f"{REGISTRY}/", "7", BUILDER=builder, BUILD_FLAGS="--build-arg=BASE=ours")
    assert done.returncode == 0, done.stderr
    assert pinned(checkout) == {"name": "halfstep", "newName": f"{REGISTRY}/halfstep", "digest": DIGEST}
    build, push = (checkout / "calls").read_text().splitlines()[:2]
    assert build.startswith(f"{builder} build --build-arg=BASE=ours ")
    assert build.endswith("--tag registry.example.com/team/halfstep:7 .")
    assert push.startswith(f"{builder} push")


def test_the_tag_is_the_version_if_none_is_given(checkout: Path) -> None:
    assert publish(checkout, REGISTRY, BUILDER="buildah").returncode == 0
    assert "--tag registry.example.com/team/halfstep:0." in (checkout / "calls").read_text()


def test_the_release_is_one_plain_file(checkout: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed; without it there is no file.")
    publish(checkout, REGISTRY, "7", BUILDER="buildah")
    kinds = [each["kind"] for each in yaml.safe_load_all((checkout / "dist" / "halfstep-7.yaml").read_text())]
    assert {"Namespace", "Deployment", "ScaledObject"} <= set(kinds)


def test_nothing_is_pinned_when_there_is_no_digest(checkout: Path) -> None:
    before = pinned(checkout)
    done = publish(checkout, REGISTRY, BUILDER="buildah", DIGEST="")
    assert done.returncode == 1
    assert "was it pushed?" in done.stderr
    assert pinned(checkout) == before


@pytest.mark.parametrize("words", [[], ["a", "b", "c"], ["no registry"], ["-x"]])
def test_a_wrong_call_is_refused_in_one_sentence(words: list[str], checkout: Path) -> None:
    done = publish(checkout, *words)
    assert done.returncode == 1
    assert done.stderr.startswith("publish: ")
    assert not (checkout / "calls").exists()
