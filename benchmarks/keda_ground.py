"""What the measurements under real KEDA share: a watched demo, work that comes and goes, and what the scalers say of it.

with fleet(components=["direct-scale"]) as run:       # a FullRun; the demo's database, its scalers, KEDA, the HPA: all real
    at = run.commit(ENQUEUE, WORK)
    seconds = reach(run, 1, WORKERS, since=at, within=10.0)
    to_rest(run, WORKERS)                             # as if nothing had ever been
"""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import yaml
from kubernetes.client import AppsV1Api

from benchmarks.keda_end_to_end import NotMeasured, installation
from benchmarks.pods_ground import pause, wait_until
from cluster.full_run import LAUNCHERS, WORKERS, FullRun, watched
from cluster.installation import SYSTEM, Installation
from halfstep.errors import HalfstepError
from kustomize import Object, one
from scaler.keda import Keda  # noqa: TID251

SCALERS = "halfstep-scaler"
PLACEMENTS = {WORKERS: "worker", LAUNCHERS: "pod"}
ENQUEUE = "SELECT halfstep.enqueue(%(operator)s, %(args)s, placement => %(placement)s) FROM generate_series(1, %(number)s)"
TOLD_SECONDS = 1.2
"""A scaler that has told KEDA something tells it the contrary a second later at the earliest."""


@contextmanager
def fleet(**options: Any) -> Iterator[FullRun]:
    """An installation with these options of `installed`, and everything that happens to its numbers."""
    with installation(**options) as here, watched(here) as run:
        yield run


def tasks(number: int, command: str = "true", *, placement: str = "worker") -> dict[str, Any]:
    """Values for ENQUEUE: so many times a shell command."""
    return {"operator": "bash", "args": json.dumps({"command": command}), "placement": placement, "number": number}


def patch_of(kind: str, name: str, spec: Object) -> Object:
    """A patch of the demo, for `installed`."""
    version = {"Deployment": "apps/v1", "ScaledObject": "keda.sh/v1alpha1"}[kind]
    changed = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": SYSTEM}, "spec": spec}
    return {"patch": yaml.safe_dump(changed)}


def nowhere(name: str) -> Object:
    """The Deployment's pods find no node: it is its number that is measured, and they cost nothing."""
    return patch_of("Deployment", name, {"template": {"spec": {"nodeSelector": {"halfstep.test/nowhere": "true"}}}})


def container_of(name: str, **fields: Any) -> Object:
    """Changes the container of one of our Deployments, which has the name of its part."""
    container = {"name": name.removeprefix("halfstep-"), **fields}
    return patch_of("Deployment", name, {"template": {"spec": {"containers": [container]}}})


def reach(run: FullRun, number: int, name: str, *, since: float, within: float) -> float:
    """Seconds from `since` until so many replicas were wanted of it; infinite if that takes longer than `within`."""
    try:
        wait_until(lambda: run.replicas.reached(number, name, since=since) is not None, seconds=within, what="it", every=0.02)
    except HalfstepError:
        return math.inf
    return run.replicas.reached(number, name, since=since) or math.inf


def to_rest(run: FullRun, name: str) -> None:
    """No work for it, no replicas, and everybody knows: the scalers, and KEDA, which reads Deployments from a cache."""
    run.commit("DELETE FROM halfstep.task WHERE placement = %(placement)s", {"placement": PLACEMENTS[name]})
    wait_until(lambda: not any(activity(run.here, name)), seconds=30, what="the scalers to see that nothing is to be done")
    set_replicas(run.here, name, 0)
    wait_until(lambda: run.replicas.now(name) == 0, seconds=10, what="zero replicas", every=0.02)
    pause(TOLD_SECONDS)


def activity(here: Installation, name: str) -> list[bool]:
    """What each scaler answers for that ScaledObject; one that does not answer counts as active: what it says is not known."""
    metadata = one(here.objects, "ScaledObject", name)["spec"]["triggers"][0]["metadata"]
    return [_answer(pod.status.pod_ip, metadata, name) for pod in here.pods(SCALERS)]


def _answer(address: str, metadata: Any, name: str) -> bool:
    with grpc.insecure_channel(f"{address}:9443") as channel:
        try:
            return Keda(channel, metadata, namespace=SYSTEM, name=name).is_active()
        except grpc.RpcError:
            return True


def set_replicas(here: Installation, name: str, number: int) -> None:
    """By hand."""
    AppsV1Api(here.cluster.api).patch_namespaced_deployment_scale(name, SYSTEM, {"spec": {"replicas": number}})


def processes_of(pod: Any) -> list[int]:
    """Of its container, as this machine numbers them. Raises NotMeasured where the node is another machine."""
    (container,) = [status.container_id.partition("://")[2] for status in pod.status.container_statuses]
    found = []
    for entry in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):  # it has ended
            if container in entry.read_text():
                found.append(int(entry.parent.name))
    if not found:
        raise NotMeasured("The pods' processes can't be seen from here; the cluster of `make cluster-up` is on this machine.")
    return found


def kill(pod: Any) -> None:
    """SIGKILL for all of its container. A kubelet starts another one in the pod, unless the pod has to go."""
    for process in processes_of(pod):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def percentile(seconds: Sequence[float], share: int) -> float:
    """Of ascending numbers: the least one that `share` percent don't exceed."""
    return seconds[max(0, math.ceil(len(seconds) * share / 100) - 1)]
