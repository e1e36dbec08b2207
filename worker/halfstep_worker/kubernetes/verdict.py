"""How a pod ended: from its object and what its launcher has seen, to the outcome of the attempt. docs/reference/pod-outcomes.md.

Success needs evidence: the main container ended with code 0, and nobody had deleted, evicted or stopped the pod before.
"""

from __future__ import annotations

from halfstep.outcomes import Cancelled, Failed, Retry, Succeeded
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.disruption import DELETED, Disruption, disruption, used_up_storage, was_deleted_first
from halfstep_worker.kubernetes.ends import of_container
from halfstep_worker.kubernetes.exits import exit_sentence, last_words
from halfstep_worker.kubernetes.findings import Known, Verdict, failed, lost
from halfstep_worker.kubernetes.objects import listed, number, whole
from halfstep_worker.kubernetes.pending import has_run
from halfstep_worker.kubernetes.reading import (
    OVER,
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

__all__ = ["Known", "Verdict", "judge"]

NOTHING = Known()

DELAY_SECONDS = 1.0
MOST_DELAY_SECONDS = 60.0
MOST_REFUSALS = 10
"""So often in a row a pod that its nodes refuse is tried again without using up an attempt."""
TAKEN = "taken"
"""Reason and class of an attempt whose pod's name, or ConfigMap's, another object has."""
FORCED_SECONDS = 60.0
"""So long after a forced deletion a living node has long stopped the pod and said so."""


def judge(pod: Pod, known: Known = NOTHING) -> Verdict | None:
    """The verdict; None: it is not over yet. The same pod gets the same verdict, also when trimmed (timeline.py)."""
    if not _is_over(pod, known):
        return None
    if known.gave_up is not None and known.stop_reason == "startup":
        return _given_up(pod, known, known.gave_up)
    if known.stop_reason and (ending(pod) is None or _was_taken_away(pod, known)):
        return _stopped(known)
    verdict = _ended(pod, known)
    if known.stop_reason == "cancelled" and not isinstance(verdict.outcome, Succeeded):
        return Verdict(Cancelled(), "cancelled")
    return verdict


def _is_over(pod: Pod, known: Known) -> bool:
    if known.gone or phase(pod) in OVER or (known.forced_for or 0.0) >= FORCED_SECONDS:
        return True
    if meta(pod).get("deletionTimestamp") and not spec(pod).get("nodeName"):
        return True  # no kubelet will ever report it
    # A kubelet tells of a disruption with the phase, and of the phase when all containers have ended. While others run on,
    # or never begin, that can't be waited for; when none does, it comes within a moment. A kubelet also waits for the debuggers
    # that run, but for none that never began.
    if ending(pod) is None:
        return False
    return any(state(one, "terminated") is None for one in containers(pod)) or any(
        state(one, "running") for one in debuggers(pod)
    )


def _was_taken_away(pod: Pod, known: Known) -> bool:
    return known.deleted_while_running or was_deleted_first(pod)


def _stopped(known: Known) -> Verdict:
    if known.stop_reason == "cancelled":
        return Verdict(Cancelled(), "cancelled")
    limit = "its timeout" if known.timeout is None else f"its timeout of {known.timeout:g} s"
    return Verdict(Failed(f"The pod ran longer than {limit}.", reason="timeout"), "timeout")


def _given_up(pod: Pod, known: Known, gave_up: Failed) -> Verdict:
    """We deleted it, as it did not start; only now is it sure that it never will. What ended by itself before counts."""
    is_told = ending(pod) is not None or phase(pod) in OVER or not (known.gone or spec(pod).get("nodeName"))
    if not is_told or (has_run(pod) and not _was_taken_away(pod, known)):
        return _ended(pod, known)
    if known.began or has_run(pod):
        begun = f"{gave_up.error} It began just then and was stopped, and may have had an effect."
        return Verdict(Failed(plain(begun), "startup"), "startup")
    return taken(gave_up.error, known) if gave_up.reason == TAKEN else Verdict(gave_up, gave_up.reason)


def _ended(pod: Pod, known: Known) -> Verdict:
    if used_up_storage(pod):
        told = str(status(pod).get("message")).strip().rstrip(".")
        return failed("evicted", "storage", f"The pod used more local storage than its limit: {told}.")
    silent = spec(pod).get("nodeName") and known.forced_for is not None and not known.gone
    if silent and ending(pod) is None and phase(pod) not in OVER:
        return lost("The pod was deleted by force, and its node did not say how it ended.", kind="node_lost")
    cause = disruption(pod) or (DELETED if _was_taken_away(pod, known) else None)
    if cause is not None:
        return _disrupted(cause, pod, known)
    if status(pod).get("reason") == "DeadlineExceeded" and not _met_its_deadline(pod):
        limit = spec(pod).get("activeDeadlineSeconds")
        return failed("deadline", "timeout", f"The pod ran longer than its activeDeadlineSeconds ({limit}).")
    end = ending(pod)
    return _without_an_end(pod, known) if end is None else of_container(pod, end, known)


def _disrupted(cause: Disruption, pod: Pod, known: Known) -> Verdict:
    """The task runs again, and no attempt is used up."""
    told = str(status(pod).get("message") or "").strip().rstrip(".")
    sentence = f"{cause.sentence} ({told}.)" if told and cause.kind == "evicted" else cause.sentence
    return Verdict(Retry(plain(sentence), pause(known.uncounted), reason=cause.kind, counts=False), cause.kind)


def pause(uncounted: int) -> float:
    """Seconds before a task runs again that has used up no attempt, for the so-manieth time."""
    return min(MOST_DELAY_SECONDS, DELAY_SECONDS * 2.0 ** min(uncounted, 30))


def _met_its_deadline(pod: Pod) -> bool:
    """The main container had ended when the deadline took what still ran beside it."""
    ended, began = seconds((ending(pod) or {}).get("finishedAt")), seconds(status(pod).get("startTime"))
    limit = number(spec(pod).get("activeDeadlineSeconds"))
    return ended is not None and began is not None and limit is not None and ended < began + limit


# -- no end of the main container is known


def _without_an_end(pod: Pod, known: Known) -> Verdict:
    if phase(pod) != "Failed":
        return _vanished(known)
    if has_started(pod):
        return lost("The pod failed, and its main container's end was not recorded.")
    return _init_failure(pod) or _refused(pod, known)


def _vanished(known: Known) -> Verdict:
    if known.gone:
        return lost("The pod is gone, and nobody saw how it ended.")
    return lost("The pod is over, and its main container's end was not recorded.")


def _init_failure(pod: Pod) -> Verdict | None:
    for container in listed(status(pod), "initContainerStatuses"):
        end = state(container, "terminated")
        if end is not None and end.get("exitCode") != 0:
            sentence = exit_sentence(f"Init container '{container.get('name')}'", whole(end.get("exitCode")) or 0)
            return failed("application", "init", sentence + last_words(end.get("message")))
    return None


def taken(sentence: str, known: Known) -> Verdict:
    """Somebody else's object has the name that the pod, or what it reads, would have had; nothing of the task has run."""
    return _again(TAKEN, sentence, known)


def _refused(pod: Pod, known: Known) -> Verdict:
    """A node did not take the pod that it was given; nothing of it has run."""
    told = str(status(pod).get("message") or status(pod).get("reason") or "no reason given").strip().rstrip(".")
    sentence = plain(f"The node refused the pod: {told}.")
    kind = "admission" if status(pod).get("reason") else "never_started"
    return _again(kind, sentence, known)


def _again(kind: str, sentence: str, known: Known) -> Verdict:
    if known.uncounted >= MOST_REFUSALS:
        return failed(kind, kind, sentence)
    return Verdict(Retry(sentence, pause(known.uncounted), reason=kind, counts=False), kind)
