"""Whether the cluster or a person took the pod away before its main container had ended. Never the task's failure."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from halfstep_worker.kubernetes.objects import number, whole
from halfstep_worker.kubernetes.reading import (
    OVER,
    condition,
    containers,
    debuggers,
    ending,
    has_started,
    meta,
    phase,
    seconds,
    spec,
    state,
    status,
)
from halfstep_worker.kubernetes.values import Pod

LAST_DELETE_SECONDS = 30.0
"""At most so long after the last container's end a kubelet gives the API server the word to remove a deleted pod."""
USUAL_GRACE_SECONDS = 30.0


class Disruption(NamedTuple):
    """`kind` is the metric's word, `sentence` is for people."""

    kind: str
    sentence: str


DELETED = Disruption("deleted", "The pod was deleted before it ended.")

# By the reason of the condition DisruptionTarget.
_BY_CONDITION = {
    "PreemptionByScheduler": Disruption("preempted", "The pod was preempted by one of higher priority."),
    "PreemptionByKubeScheduler": Disruption("preempted", "The pod was preempted by one of higher priority."),
    "DeletionByTaintManager": Disruption("disrupted", "The pod's node was tainted (it is not ready, or is being emptied)."),
    "EvictionByEvictionAPI": Disruption("disrupted", "The pod was evicted (a drain of its node, or a person)."),
    "DeletionByPodGC": Disruption("node_lost", "The pod's node does not exist any more."),
}

# By the reason of a failed pod's status; these are a kubelet's.
_BY_REASON = {
    "Evicted": Disruption("evicted", "The pod was evicted, as its node ran short."),
    "Terminated": Disruption("node_shutdown", "The pod's node was shut down."),
    "Shutdown": Disruption("node_shutdown", "The pod's node was shut down."),
    "NodeShutdown": Disruption("node_shutdown", "The pod's node was shut down."),
    "Preempting": Disruption("preempted", "The pod was preempted by a critical one on its node."),
    "NodeLost": Disruption("node_lost", "The pod's node was lost."),
}

# What a kubelet says where a pod has used up its own limit of local storage. No condition goes with it.
_OWN_FAULTS = (
    "Pod ephemeral local storage usage exceeds",
    "exceeded its local ephemeral storage limit",
    "Usage of EmptyDir volume",
)


def used_up_storage(pod: Pod) -> bool:
    """Evicted over its own limit of local storage: the task's fault, although the reason is the same as for a full node."""
    message = str(status(pod).get("message") or "")
    return status(pod).get("reason") == "Evicted" and any(words in message for words in _OWN_FAULTS)


def disruption(pod: Pod) -> Disruption | None:
    """What the pod object itself says of a disruption before the main container's end."""
    target = condition(pod, "DisruptionTarget")
    if target.get("status") != "True":
        return None if _was_refused(pod) else _BY_REASON.get(str(status(pod).get("reason")))
    if target.get("reason") == "TerminationByKubelet":
        # Its time is that of the last container's end, whatever came first: it can't be compared.
        return _BY_REASON.get(str(status(pod).get("reason")), Disruption("disrupted", "The pod's node stopped it."))
    if _came_after_the_end(pod, seconds(target.get("lastTransitionTime"))):
        return None
    named = f"The cluster stopped the pod ({target.get('reason') or 'no reason given'})."
    return _BY_CONDITION.get(str(target.get("reason")), Disruption("disrupted", named))


def _was_refused(pod: Pod) -> bool:
    """A node refuses pods by the same words as it stops them, but without a condition."""
    return not has_started(pod)


def _came_after_the_end(pod: Pod, at: float | None) -> bool:
    ended = seconds((ending(pod) or {}).get("finishedAt"))
    return ended is not None and at is not None and at > ended


def was_deleted_first(pod: Pod) -> bool:
    """Whether deletion was asked for before the main container ended, by what an object says that nobody has watched.

    `deletionTimestamp` is the request plus the grace. When all has ended the kubelet deletes again with grace 0, and the API
    server moves it to that moment (older ones: to that of the request). In doubt, yes: a success needs evidence.
    """
    if not meta(pod).get("deletionTimestamp"):
        return False
    at = seconds(meta(pod).get("deletionTimestamp"))
    ended = seconds((ending(pod) or {}).get("finishedAt"))
    if at is None or ended is None:
        return True
    return not _was_reported_before(pod) and ended >= _earliest_request(pod, at)


def _was_reported_before(pod: Pod) -> bool:
    """The kubelet reported the pod's end in a status for an object that had not been deleted yet (Kubernetes 1.34 and later)."""
    reported, now = whole(status(pod).get("observedGeneration")), whole(meta(pod).get("generation"))
    return phase(pod) in OVER and reported is not None and now is not None and reported < now


def _earliest_request(pod: Pod, at: float) -> float:
    """The earliest time at which the deletion can have been asked for."""
    grace = number(meta(pod).get("deletionGracePeriodSeconds")) or 0.0
    if grace > 0:
        return at - grace
    if at > _last_end(pod) + LAST_DELETE_SECONDS:
        return at  # a kubelet would have done it earlier: somebody deleted a pod that had ended
    usual = number(spec(pod).get("terminationGracePeriodSeconds"))
    return at - (USUAL_GRACE_SECONDS if usual is None else usual) - LAST_DELETE_SECONDS


def _last_end(pod: Pod) -> float:
    """When the last container ended, debuggers too, as a kubelet waits for them; infinity while one runs."""
    begun = [one for one in (*containers(pod), *debuggers(pod)) if state(one, "waiting") is None]
    ends = [seconds((state(one, "terminated") or {}).get("finishedAt")) for one in begun]
    return max((inf if end is None else end for end in ends), default=0.0)
