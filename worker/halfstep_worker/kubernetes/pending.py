"""Pods that do not start: why, in a sentence for `show`, and when to stop waiting."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from halfstep.outcomes import Failed
from halfstep.visible import visible_line
from halfstep_worker.kubernetes.reading import condition, containers, ending, has_started, image, meta, phase, state, status
from halfstep_worker.kubernetes.values import Pod

MESSAGE_CHARACTERS = 1000


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


def startup_expired(pod: Pod, startup_timeout: float, waited: float = inf) -> Failed | None:
    """Why a pod that has not started `waited` seconds after it was made is to be given up; None while it may still start.

    It may start even so, as long as it is not deleted. A monotonic clock measures `waited`: the API server's need not be ours.
    """
    if has_started(pod):
        return None
    found = obstacle(pod) or Obstacle("startup", _unknown(pod))
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
    made = end.get("startedAt") is not None and end.get("reason") not in ("StartError", "ContainerCannotRun")
    return made or "used to be Running" in str(end.get("message"))


def obstacle(pod: Pod) -> Obstacle | None:
    """What keeps the main container from starting, as far as the pod tells."""
    if has_started(pod) or phase(pod) != "Pending" or meta(pod).get("deletionTimestamp"):
        return None
    found = _unscheduled(pod) or _container_obstacle(pod)
    return found and found._replace(sentence=visible_line(found.sentence))


def _unscheduled(pod: Pod) -> Obstacle | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    if scheduled.get("reason") == "SchedulingGated":
        return Obstacle("unschedulable", "The pod waits for a scheduling gate to be opened.")
    return Obstacle("unschedulable", f"No node takes the pod{_because(scheduled.get('message'))}")


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


def _unknown(pod: Pod) -> str:
    if any(state(one, "running") for one in containers(pod)):
        return "An init container or a sidecar of it has not become ready."
    if condition(pod, "PodScheduled").get("status") == "True":
        return "Its node was still preparing it: pulling an image, or waiting for a volume; `kubectl describe pod` tells more."
    return "No scheduler has looked at it."
