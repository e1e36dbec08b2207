"""What is kept of a pod in memory, and what `show` tells of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from sys import intern
from typing import Any

from halfstep_worker.kubernetes.names import ATTEMPT, DOMAIN, FUNCTION, MADE, MAIN, OPERATOR, QUEUE
from halfstep_worker.kubernetes.objects import inside, listed, whole
from halfstep_worker.kubernetes.pending import MESSAGE_CHARACTERS, MOST_GATES, waiting_reason
from halfstep_worker.kubernetes.quantities import quantity
from halfstep_worker.kubernetes.reading import condition, containers, image, is_unknown, main, meta, phase, spec, state, status
from halfstep_worker.kubernetes.values import Pod

_META = ("name", "namespace", "uid", "resourceVersion", "generation")
_TIMES = ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_SPEC = ("nodeName", "schedulerName", "activeDeadlineSeconds", "terminationGracePeriodSeconds")
_STATUS = ("phase", "reason", "startTime", "nominatedNodeName", "observedGeneration")
_CONDITION = ("type", "status", "reason", "lastTransitionTime")
_CONDITIONS = ("DisruptionTarget", "PodScheduled", "PodReadyToStartContainers", "Initialized")
_UNREAD = {"labels": (QUEUE, OPERATOR, FUNCTION), "annotations": (FUNCTION,)}
"""Marks of ours that are for others to read."""
_AMOUNTS = {"request": "requests", "limit": "limits"}
_STATES = {
    "waiting": ("reason", "message"),
    "running": ("startedAt",),
    "terminated": ("exitCode", "reason", "message", "startedAt", "finishedAt"),
}
# Values that thousands of pods share; times, ids and messages are a pod's own.
_SHARED = {"namespace", "nodeName", "nominatedNodeName", "schedulerName", "restartPolicy"} | {
    "phase", "reason", "type", "status", "name", "image",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PodFacts:
    """For people. Times are the cluster's, as it writes them (RFC 3339, UTC), or None."""

    name: str
    namespace: str | None
    node: str | None
    phase: str | None
    image: str | None
    memory: dict[str, str] | None
    """`request` and `limit` of the main container, as the API server has them; those that a namespace lends, too."""
    created: str | None
    scheduled: str | None
    """A node was chosen."""
    prepared: str | None
    """The node had made the pod's sandbox, network and volumes; what follows is pulling images. Not known once it ended."""
    initialized: str | None
    """Init containers were done."""
    pulled: str | None
    """The main container's image was there. From an event, so only if somebody asked for events in time."""
    started: str | None
    ended: str | None
    exit_code: int | None
    end_reason: str | None
    waiting: str | None
    """Why it does not start, in a sentence."""
    restarts: int
    """Of all containers; sidecars may start anew, the main container never does."""

    def as_json(self) -> dict[str, Any]:
        """What is known, without what is not."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def facts(pod: Pod, *, pulled: str | None = None) -> PodFacts:
    """What is known of a pod. `pulled`: see `pulled_at`."""
    ended, running = state(main(pod), "terminated") or {}, state(main(pod), "running") or {}
    return PodFacts(
        name=str(meta(pod).get("name") or ""),
        namespace=meta(pod).get("namespace"),
        node=spec(pod).get("nodeName"),
        phase=phase(pod) or None,
        image=image(pod),
        memory=_memory(pod) or None,
        created=meta(pod).get("creationTimestamp"),
        scheduled=_came_true(pod, "PodScheduled"),
        prepared=_came_true(pod, "PodReadyToStartContainers"),
        initialized=_came_true(pod, "Initialized"),
        pulled=pulled,
        started=_known(running.get("startedAt")) or _known(ended.get("startedAt")),
        ended=_known(ended.get("finishedAt")),
        exit_code=ended.get("exitCode"),
        end_reason=ended.get("reason"),
        waiting=waiting_reason(pod),
        restarts=sum(whole(one.get("restartCount")) or 0 for one in containers(pod)),
    )


def _memory(pod: Pod) -> dict[str, str]:
    resources = inside(next((one for one in listed(spec(pod), "containers") if one.get("name") == MAIN), {}), "resources")
    amounts = {word: _amount(inside(resources, kind).get("memory")) for word, kind in _AMOUNTS.items()}
    return {word: amount for word, amount in amounts.items() if amount is not None}


def _amount(given: Any) -> str | None:
    return str(given) if quantity(given) is not None else None


def pulled_at(events: Iterable[Mapping[str, Any]]) -> str | None:
    """When the main container's image was there, by the events of its pod."""
    for event in events:
        of_main = (event.get("involvedObject") or {}).get("fieldPath") == f"spec.containers{{{MAIN}}}"
        if of_main and event.get("reason") == "Pulled":
            return event.get("firstTimestamp") or event.get("eventTime")
    return None


def _known(moment: Any) -> Any:
    """A node writes 1970 where it does not know."""
    return None if is_unknown(moment) else moment


def _came_true(pod: Pod, type: str) -> str | None:
    found = condition(pod, type)
    return _known(found.get("lastTransitionTime")) if found.get("status") == "True" else None


# -- trimming


def trim(pod: Pod) -> Pod:
    """A copy with what verdicts, waiting reasons and facts need; about a tenth of a pod. Trimming twice changes nothing."""
    told = _some(status(pod), _STATUS)
    told |= _cut(status(pod), "message")
    told["conditions"] = [_condition(one) for one in listed(status(pod), "conditions") if _is_kept(one)]
    for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        if there := listed(status(pod), key):
            told[key] = [_container(one) for one in there]
    return {"metadata": _meta(pod), "spec": _spec(pod), "status": told}


def _meta(pod: Pod) -> dict[str, Any]:
    kept = _some(meta(pod), _META + _TIMES)
    for key in ("labels", "annotations"):
        there = inside(meta(pod), key).items()
        marks = {intern(name): str(value) for name, value in there if name.startswith(f"{DOMAIN}/") and name not in _UNREAD[key]}
        if marks:
            kept[key] = {name: value if name in (ATTEMPT, MADE) else intern(value) for name, value in marks.items()}
    if isinstance(names := meta(pod).get("finalizers"), list) and names:
        kept["finalizers"] = [intern(str(name)) for name in names]
    return kept


def _spec(pod: Pod) -> dict[str, Any]:
    kept = _some(spec(pod), _SPEC)
    for key in ("initContainers", "containers", "ephemeralContainers"):
        if there := [one for one in listed(spec(pod), key) if isinstance(one.get("name"), str)]:
            kept[key] = [_main(one) if one["name"] == MAIN else _some(one, ("name", "restartPolicy")) for one in there]
    if gates := listed(spec(pod), "schedulingGates"):
        kept["schedulingGates"] = [_some(one, ("name",)) for one in gates[:MOST_GATES]]
    return kept


def _main(container: Pod) -> dict[str, Any]:
    resources = inside(container, "resources")
    memory = _resources(*(_amount(inside(resources, kind).get("memory")) for kind in _AMOUNTS.values()))
    return _some(container, ("name", "image")) | ({"resources": memory} if memory else {})


@lru_cache(maxsize=1024)
def _resources(request: str | None, limit: str | None) -> Pod:
    """One value for all pods that have the same; nobody changes what is trimmed."""
    amounts = zip(_AMOUNTS.values(), (request, limit), strict=True)
    return {kind: {"memory": amount} for kind, amount in amounts if amount is not None}


def _is_kept(condition: Mapping[str, Any]) -> bool:
    return condition.get("type") in _CONDITIONS or condition.get("reason") == "NodeLost"


def _condition(condition: Mapping[str, Any]) -> dict[str, Any]:
    kept = _some(condition, _CONDITION)
    return kept | _cut(condition, "message") if condition.get("status") == "False" else kept


def _container(container: Pod) -> dict[str, Any]:
    kept = _some(container, ("name",))
    if container.get("started") is True:
        kept["started"] = True
    if whole(container.get("restartCount")):
        kept["restartCount"] = container["restartCount"]
    for word, keys in _STATES.items():
        found = state(container, word)
        if found is not None:
            kept["state"] = {word: _some(found, keys)}
            kept |= _some(container, ("image",)) if word == "waiting" else {}
    return kept


def _some(source: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    kept = {key: source[key] for key in keys if isinstance(source.get(key), str | int | float)}
    for key in kept.keys() & _SHARED:
        kept[key] = intern(str(kept[key]))
    return kept


def _cut(source: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A message of Kubernetes', as far as anybody is shown it."""
    text = source.get(key)
    return {key: str(text)[: 2 * MESSAGE_CHARACTERS]} if text else {}
