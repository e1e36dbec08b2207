"""Start and stop of the whole: what `make cluster-up` and `make cluster-down` do."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.harness import cgroups, holder, images, inside, requirements, workloads
from cluster.harness.commands import ClusterError, say, wait_until
from cluster.harness.extras import Extra
from cluster.harness.images import Image
from cluster.harness.paths import ENTER, FOLDER, LOGS
from cluster.harness.programs import COREDNS, ETCD, KUBERNETES_MODULE, built
from cluster.harness.runtime_image import RUNTIME

IMAGES = (images.PAUSE, images.TOOLS, workloads.DNS_IMAGE, RUNTIME)


@contextmanager
def _alone() -> Iterator[None]:
    """One start or stop at a time."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(extras: Sequence[Extra] = ()) -> None:
    """Returns when pods can run and names resolve. Continues where an earlier start was interrupted."""
    requirements.prepare()
    with _alone():
        for module in (ETCD, KUBERNETES_MODULE, COREDNS):
            built(module)
        archives = {image: images.built(image) for image in (*IMAGES, *(image for extra in extras for image in extra.images))}
        begin = time.monotonic()
        _start_node()
        _furnish(archives)
        for extra in extras:
            say(f"Starting {extra.name} ...")
            extra.start()
        say(f"The cluster is ready ({time.monotonic() - begin:.1f} s). Use it: {ENTER} kubectl get pods --all-namespaces")


def _start_node() -> None:
    running = holder.recorded()
    if running and running.alive:
        return
    _clear(running)
    LOGS.mkdir(parents=True)
    say("Starting etcd, containerd and the API server ...")
    starter = holder.start()
    wait_until(lambda: starter.poll() is not None or _node_programs_run(), seconds=90, what="The node")
    if starter.poll() is not None:
        raise ClusterError(f"The node ended: {(LOGS / 'node.log').read_text().strip()[-1500:]}")


def _node_programs_run() -> bool:
    """The kubelet is the last one that the node starts."""
    return (LOGS / "kubelet.log").exists()


def _furnish(archives: dict[Image, Path]) -> None:
    inside.write_scripts()
    for image in (images.PAUSE, workloads.DNS_IMAGE):
        images.load(image, archive=archives[image])
    workloads.start_dns()
    say("Waiting for the node, its DNS and its images ...")
    for image, archive in archives.items():
        images.load(image, archive=archive)
    workloads.wait_for_node()
    workloads.wait_for("coredns")


def down() -> None:
    """Leaves no process, mount, namespace, link or control group; fine when nothing runs."""
    with _alone():
        _clear(holder.recorded())
    say("No test cluster runs.")


def _clear(known: holder.Holder | None) -> None:
    if known:
        holder.end(known)
    cgroups.remove()
    for path in FOLDER.glob("*"):
        _remove(path)


def _remove(path: Path) -> None:
    if path.name == "lock":
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
