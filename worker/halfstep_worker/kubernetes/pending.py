"""Pods that do not start: why, in a sentence for `show`, and when to stop waiting."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from halfstep.outcomes import Failed
from halfstep.visible import visible_line
from halfstep_worker.kubernetes.objects import listed
from halfstep_worker.kubernetes.reading import (
    condition,
    containers,
    ending,
    has_started,
    image,
    is_unknown,
    meta,
    phase,
    spec,
    state,
    status,
)
from halfstep_worker.kubernetes.values import Pod

MESSAGE_CHARACTERS = 1000


MOST_GATES = 8
GATE = "gate"
"""The reason of a pod whose scheduling gates were not opened in time."""
UNSCHEDULABLE = "unschedulable"


class Obstacle(NamedTuple):
    """`reason` is one word: image, config, unschedulable or startup. hopeless: neither waiting nor another pod can help."""

    reason: str
    sentence: str
    hopeless: bool = False


_IMAGE = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable"}
# What is normal on the way.
_UNDER_WAY = {"ContainerCreating", "PodInitializing"}


def waiting_reason(pod: Pod) -> str | None:
    """Why the pod does not start, in a sentence; None while all goes its way, and once the main container has started.

    Also for a pod that runs, if its node does not answer.
    """
    found = obstacle(pod)
    if found is not None:
        return found.sentence
    if status(pod).get("reason") == "NodeLost" or condition(pod, "Ready").get("reason") == "NodeLost":
        return "The pod's node does not answer; what became of the pod is known when it comes back, or when the pod is removed."
    return None


def startup_expired(
    pod: Pod, startup_timeout: float, waited: float = inf, *, event: Obstacle | None = None
) -> Failed | None:  # fmt: skip
    """Why a pod that has not started `waited` seconds after it might have is to be given up; None while it may still start.

    It may start even so, as long as it is not deleted. A monotonic clock measures `waited`: the API server's need not be ours.
    event: what the cluster's events say of a pod that says nothing itself.
    """
    if has_started(pod):
        return None
    found = with_event(obstacle(pod), event) or silence(pod)
    if found.hopeless:
        return Failed(found.sentence, found.reason, final=True)
    if waited < startup_timeout:
        return None
    return Failed(f"The pod did not start within {startup_timeout:g} s. {found.sentence}", found.reason)


def hopeless(pod: Pod) -> Failed | None:
    """Why waiting for the pod's start is no use; None: it may be some."""
    return startup_expired(pod, 0.0, waited=-1.0)


def has_run(pod: Pod) -> bool:
    """The main container's program has begun. A kubelet also `terminates` a container that it has never made: without a start."""
    end = ending(pod)
    if end is None:
        return has_started(pod)
    made = not is_unknown(end.get("startedAt")) and end.get("reason") not in ("StartError", "ContainerCannotRun")
    return made or "used to be Running" in str(end.get("message"))


def obstacle(pod: Pod) -> Obstacle | None:
    """What keeps the main container from starting, as far as the pod tells."""
    if has_started(pod) or phase(pod) != "Pending" or meta(pod).get("deletionTimestamp"):
        return None
    found = _unscheduled(pod) or _container_obstacle(pod)
    return found and found._replace(sentence=visible_line(found.sentence))


def with_event(found: Obstacle | None, event: Obstacle | None) -> Obstacle | None:
    """What a pod says itself counts; of an image, an event may say more: that a pull secret is missing."""
    if found is None or event is None:
        return found or event
    return found._replace(sentence=f"{found.sentence} {event.sentence}") if found.reason == event.reason == "image" else found


def silence(pod: Pod) -> Obstacle:
    """What is to be said of a pod that has not started and names no obstacle. Normal for a moment, and then no more."""
    node = visible_line(str(spec(pod).get("nodeName") or ""))
    if not node and condition(pod, "PodScheduled").get("status") != "True":
        name = visible_line(str(spec(pod).get("schedulerName") or ""))[:MESSAGE_CHARACTERS]
        named = f" (its schedulerName is {name})" if name else ""
        return Obstacle(UNSCHEDULABLE if name else "startup", f"No scheduler has looked at it{named}.")
    if holder := next((one for one in listed(status(pod), "initContainerStatuses") if _holds(pod, one)), None):
        named = visible_line(str(holder.get("name")))[:MESSAGE_CHARACTERS]
        said = (
            f"Sidecar '{named}' has not become ready." if _is_sidecar(pod, holder) else f"Init container '{named}' has not ended."
        )
        return Obstacle("startup", said)
    if any(state(one, "running") for one in containers(pod)):
        return Obstacle("startup", "An init container or a sidecar of it has not become ready.")
    if node and not status(pod).get("startTime") and not any(containers(pod)):
        return Obstacle("startup", f"Its node '{node[:MESSAGE_CHARACTERS]}' has not begun with it.")
    return Obstacle("startup", f"Its node is {_stage(pod)}; `kubectl describe pod` tells more.")


def _stage(pod: Pod) -> str:
    match condition(pod, "PodReadyToStartContainers").get("status"):
        case "True":
            return "pulling an image or making its containers"
        case "False":
            return "preparing its volumes and its sandbox"
        case _:
            return "preparing it: pulling an image, or waiting for a volume"


def _is_sidecar(pod: Pod, container: Pod) -> bool:
    asked = next((one for one in listed(spec(pod), "initContainers") if one.get("name") == container.get("name")), {})
    return bool(asked.get("restartPolicy") == "Always")


def _holds(pod: Pod, container: Pod) -> bool:
    """An init container holds `main` until it has ended, a sidecar until it has started: its startup probe has passed."""
    return state(container, "running") is not None and not (_is_sidecar(pod, container) and container.get("started") is True)


# -- scheduling gates


def gates(pod: Pod) -> list[str]:
    """The names of the gates that hold the pod, made visible."""
    found = listed(spec(pod), "schedulingGates")[:MOST_GATES]
    return [visible_line(str(one.get("name") or "?"))[: MESSAGE_CHARACTERS // MOST_GATES] for one in found]


def is_gated(pod: Pod) -> bool:
    """No scheduler may look at it. The condition outlasts the last gate for a moment (`without_gates`)."""
    if spec(pod).get("nodeName") or phase(pod) not in ("", "Pending"):
        return False
    scheduled = condition(pod, "PodScheduled")
    return bool(gates(pod)) or (scheduled.get("status") == "False" and scheduled.get("reason") == "SchedulingGated")


def without_gates(pod: Pod) -> Pod:
    """A pod that has no gates: what its condition still says of them is of the past."""
    if not is_gated(pod):
        return pod
    said = [one for one in listed(status(pod), "conditions") if one.get("reason") != "SchedulingGated"]
    return pod | {"status": status(pod) | {"conditions": said}}


def _unscheduled(pod: Pod) -> Obstacle | None:
    if is_gated(pod):
        named = ", ".join(gates(pod))
        return Obstacle(UNSCHEDULABLE, f"The pod waits for a scheduling gate to be opened{f': {named}' if named else ''}.")
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    freed = visible_line(str(status(pod).get("nominatedNodeName") or ""))[:MESSAGE_CHARACTERS]
    freeing = f" Node '{freed}' is being freed for it of pods of lower priority." if freed else ""
    return Obstacle(UNSCHEDULABLE, f"No node takes the pod{_because(scheduled.get('message'))}{freeing}")


def _container_obstacle(pod: Pod) -> Obstacle | None:
    for container in containers(pod):
        waiting = state(container, "waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason and reason not in _UNDER_WAY:
            return _of_container(pod, container, reason)
    return None


def _of_container(pod: Pod, container: Pod, reason: str) -> Obstacle:
    waiting = state(container, "waiting") or {}
    because = _because(waiting.get("message"))
    name = container.get("image") or image(pod)
    if reason == "InvalidImageName":
        return Obstacle("image", f"'{name}' is no valid name of an image{because}", hopeless=True)
    if reason in _IMAGE:
        return Obstacle("image", f"The image '{name}' can't be had ({reason}){because}")
    hopeless = reason == "CreateContainerConfigError" and "runAsNonRoot" in str(waiting.get("message"))
    return Obstacle("config", f"Container '{container.get('name')}' can't be started ({reason}){because}", hopeless)


def _because(message: object) -> str:
    """What follows a sentence: its end, or what Kubernetes says, on the same line."""
    text = visible_line(str(message or "").strip()).rstrip(".")[:MESSAGE_CHARACTERS]
    return f": {text}." if text else "."
