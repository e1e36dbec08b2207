"""`make publish` with a real registry: what is pinned is what the registry has, and what a cluster runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import yaml

from cluster.harness import inside
from cluster.harness.commands import ClusterError
from cluster.harness.images import buildah
from cluster.harness.paths import CHECKOUT, KUBECONFIG
from cluster.harness.runtime_image import RUNTIME
from cluster.kube import Cluster, ending, log, pod, run_pod
from cluster.manifest_ground import kubectl, there
from kustomize import MANIFESTS, Object, containers_of, pods_of
from waiting import wait_until

pytestmark = pytest.mark.cluster

TAG = "published-by-a-test"
BUILD_SECONDS = 600
NO_NETWORK = ("Failed to establish a new connection", "Temporary failure in name resolution", "No matching distribution")
ACCEPTED = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


@dataclass(frozen=True, slots=True)
class Published:
    """clone: where `manifests/publish` ran. name: of the image, without tag or digest."""

    clone: Path
    registry: str
    name: str

    @property
    def digest(self) -> str:
        """As it is pinned."""
        file = self.clone / "manifests" / "overlays" / "production" / "image" / "kustomization.yaml"
        (image,) = yaml.safe_load(file.read_text())["images"]
        assert image["newName"] == self.name
        return str(image["digest"])

    @property
    def release(self) -> Path:
        """The plain file."""
        return self.clone / "dist" / f"halfstep-{TAG}.yaml"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty one, without TLS; skipped where there is none to start."""
    if shutil.which("docker-registry") is None:
        pytest.skip("No registry is installed; Debian's package `docker-registry` has one.")
    folder = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}}
    (folder / "config.yml").write_text(yaml.safe_dump({"version": "0.1", "storage": storage, "http": {"addr": address}}))
    with serving(folder, address):
        yield address


@contextmanager
def serving(folder: Path, address: str) -> Iterator[None]:
    """The registry's process."""
    words = ["docker-registry", "serve", str(folder / "config.yml")]
    with (folder / "log").open("wb") as file, subprocess.Popen(words, stdout=file, stderr=file) as running:
        try:
            wait_until(lambda: answers(f"http://{address}/v2/"), seconds=30, what="the registry's answer")
            yield
        finally:
            running.kill()


def answers(address: str) -> bool:
    """Whether anybody does."""
    try:
        with urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@pytest.fixture(scope="module")
def published(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """By `make publish` in a clone with this tree's manifests; skipped without buildah, or where its base can't be had."""
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed; it builds the image.")
    folder = tmp_path_factory.mktemp("publish")
    clone, name = cloned(folder / "clone"), f"{registry}/team/halfstep"
    words = ["make", "publish", f"REGISTRY={registry}/team", f"TAG={TAG}"]
    with (folder / "log").open("w+") as said:
        done = subprocess.run(words, cwd=clone, env=builder(folder), stdout=said, stderr=said, timeout=BUILD_SECONDS, check=False)
    told = (folder / "log").read_text()
    if done.returncode != 0 and any(word in told for word in NO_NETWORK):
        pytest.skip("The image's libraries can't be installed without a network, and no build before this one left them.")
    assert done.returncode == 0, told[-4000:]
    yield Published(clone, registry, name)
    buildah("rmi", f"{name}:{TAG}")


def cloned(folder: Path) -> Path:
    """The last commit, with the manifests as they are now."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", CHECKOUT, folder], check=True, timeout=120)
    shutil.copytree(MANIFESTS, folder / "manifests", dirs_exist_ok=True)
    return folder


def builder(folder: Path) -> dict[str, str]:
    """buildah with the storage of the cluster's images: their base and layers are there, so nothing comes from the network."""
    try:
        flags = RUNTIME.flags()
        store = json.loads(buildah("info"))["store"]
    except ClusterError as error:
        pytest.skip(f"The image's base can't be made here: {error}")
    driver, root, run = store["GraphDriverName"], store["GraphRoot"], store["RunRoot"]
    file = folder / "storage.conf"
    file.write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{root}"\nrunroot = "{run}"\n')
    buildahs = {"CONTAINERS_STORAGE_CONF": str(file), "BUILDAH_ISOLATION": "chroot"}
    ours = {"BUILDER": "buildah", "BUILD_FLAGS": " ".join(flags), "PUSH_FLAGS": "--tls-verify=false"}
    return os.environ | buildahs | ours


@pytest.fixture
def ground(definitions: None, published: Published) -> Iterator[None]:
    """What the API server must have to judge the release: foreign kinds, and the namespaces."""
    namespaces = [each for each in released(published) if each["kind"] == "Namespace"]
    with there("Namespace", namespaces):
        yield


def released(published: Published) -> list[Object]:
    """The objects of the plain file."""
    return list(yaml.safe_load_all(published.release.read_text()))


def test_the_registry_has_what_is_pinned(published: Published) -> None:
    address = f"http://{published.registry}/v2/team/halfstep"
    by_digest, by_tag = (fetched(f"{address}/manifests/{each}") for each in (published.digest, TAG))
    assert by_digest == by_tag
    labels = fetched(f"{address}/blobs/{by_digest['config']['digest']}")["config"]["Labels"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=published.clone, capture_output=True, text=True, check=True).stdout
    assert labels["org.opencontainers.image.revision"] == head.strip()


def fetched(address: str) -> Any:
    """JSON of the registry."""
    with urlopen(Request(address, headers={"Accept": ", ".join(ACCEPTED)}), timeout=30) as answer:
        return json.load(answer)


def test_everything_in_the_release_runs_that_image(published: Published) -> None:
    image, found = f"{published.name}@{published.digest}", released(published)
    assert {container["image"] for _, spec in pods_of(found) for container in containers_of(spec)} == {image}
    (files,) = [each for each in found if each["metadata"]["name"].startswith("halfstep-launcher-files")]
    assert yaml.safe_load(files["data"]["clusters.yaml"])["default"]["pods"]["image"] == image


def test_the_api_server_accepts_the_release(published: Published, ground: None) -> None:
    answer = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(published.release))
    assert answer.code == 0, answer.err
    assert "scaledobject.keda.sh/halfstep-worker created (server dry run)" in answer.out


def test_a_cluster_pulls_and_runs_it(published: Published, cluster: Cluster, namespace: str) -> None:
    if cluster.kubeconfig.resolve() != KUBECONFIG:
        pytest.skip("The registry is on loopback, where another cluster than our own can't reach it.")
    image = f"{published.name}@{published.digest}"
    try:
        ended = run_pod(cluster, namespace=namespace, pod=pod("published", image=image, args=["--help"]))
        assert ending(ended).exit_code == 0
        said = log(cluster, namespace=namespace, name="published")
        assert all(word in said for word in ("worker", "scaler", "migrate"))
    finally:
        # The kubelet knows it by two names, and the node keeps what has a name.
        manifest = fetched(f"http://{published.registry}/v2/team/halfstep/manifests/{published.digest}")
        inside.ctr("images", "rm", image, manifest["config"]["digest"])
