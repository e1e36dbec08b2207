"""What API threads do for flights: a few calls in the right order. Nothing here touches a flight; answers go to the inbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from halfstep.events import emit
from halfstep.failpoints import reach
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.identity import name_of, uid_of
from halfstep_worker.kubernetes.manifest import owned_by
from halfstep_worker.kubernetes.names import FINALIZER
from halfstep_worker.kubernetes.reading import OVER, phase
from halfstep_worker.kubernetes.values import Created, CreateOutcome, Pod, PodSeen


class Api(Protocol):
    """What of `ClusterApi` flights need."""

    def create_pod(self, namespace: str, manifest: Pod, *, seconds: float) -> CreateOutcome: ...

    def create_config_map(self, namespace: str, manifest: Pod, *, seconds: float) -> CreateOutcome: ...

    def get_pod(self, namespace: str, name: str) -> Pod | None: ...

    def delete_pod(self, namespace: str, name: str, *, uid: str, grace: int | None) -> bool: ...

    def release_pod(self, namespace: str, name: str, *, keep: bool, uid: str | None = None) -> bool: ...

    def pod_events(self, namespace: str, uid: str) -> list[Pod]: ...

    def end_pod(self, namespace: str, name: str, *, uid: str) -> bool: ...

    def mark_pod(self, namespace: str, name: str, *, uid: str, marks: Pod) -> bool: ...


def make(api: Api, namespace: str, manifests: tuple[Pod, Pod | None], seconds: float) -> CreateOutcome:
    """The pod, and at once the ConfigMap that it reads and owns, so that the cluster removes both."""
    pod, config_map = manifests
    reach("pod.create")
    made = api.create_pod(namespace, pod, seconds=seconds)
    reach("pod.created")
    if config_map is None or not isinstance(made, Created) or not made.uid:
        return made
    beside = api.create_config_map(namespace, owned_by(config_map, made.uid), seconds=seconds)
    return made if isinstance(beside, Created) else replace(made, beside=beside)


def take_away(api: Api, namespace: str, name: str, uid: str, *, keep: bool, grace: int = 0, runs: bool = False) -> bool:
    """After the verdict: the pod goes, or stays without our finalizer. grace: seconds for what may still run in it.

    runs: something may still run in a pod that is to be kept. It is the object that is kept: its containers are ended.
    """
    reach("pod.delete")
    if not keep:
        api.delete_pod(namespace, name, uid=uid, grace=grace)
    elif runs:
        _end(api, namespace, name, uid)
    reach("pod.deleted")
    return api.release_pod(namespace, name, keep=keep, uid=uid)


def _end(api: Api, namespace: str, name: str, uid: str) -> None:
    """A cluster whose policy does not let us has to be lived with: the pod is let go of all the same."""
    try:
        api.end_pod(namespace, name, uid=uid)
    except ApiError as error:
        if not 400 <= error.status < 500 or error.status == 429:
            raise
        emit("pod.not_ended", pod=name, error=plain(str(error)))


def take_garbage(api: Api, seen: PodSeen) -> bool:
    """A pod that nobody needs, with the grace that it asks for."""
    meta = seen.pod["metadata"]
    api.delete_pod(seen.namespace, meta["name"], uid=meta["uid"], grace=None)
    return FINALIZER not in meta.get("finalizers", ()) or api.release_pod(
        seen.namespace, meta["name"], keep=False, uid=meta["uid"]
    )


def take_bare(api: Api, seen: PodSeen, is_wanted: Callable[[Pod], bool]) -> bool:
    """The same of a pod that no watch shows, so that it may have changed: it goes, or is let go of, as it is now."""
    name, uid = name_of(seen.pod), uid_of(seen.pod)
    there = api.get_pod(seen.namespace, name)
    if there is None or uid_of(there) != uid:
        return False
    if is_wanted(there):
        return take_away(api, seen.namespace, name, uid, keep=True, runs=phase(there) not in OVER)
    return take_garbage(api, replace(seen, pod=there))
