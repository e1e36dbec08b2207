"""Whose a pod is. Anybody may copy or remove a label; the uid that the API server gave a pod, and its name, nobody can change.

Acknowledged, a pod is known by its name and uid. Before that it is known by its name and the mark that we put into it: a digest
of the installation and the attempt, which a copy (of another name) and a pod that somebody made by hand don't have by accident.
It says nothing of the spec, which webhooks change and which another launcher's settings would make differently.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from halfstep_worker.kubernetes.flight import ON_FINISH, Flight
from halfstep_worker.kubernetes.names import ATTEMPT, FINALIZER, INSTALLATION, MADE, OPERATOR, QUEUE, TASK, pod_name
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.reading import meta
from halfstep_worker.kubernetes.values import Pod

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(rf"hs-({_UUID.pattern})")
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def mark(installation: str, attempt_id: str) -> str:
    """The annotation `MADE` of the attempt's pod and ConfigMap."""
    return sha256(f"{installation} {attempt_id.lower()}".encode(errors="replace")).hexdigest()[:32]


def attempt_of(pod: Pod) -> str | None:
    """The attempt that the pod's name is of, a UUID as SQL takes it; None: no launcher gives such a name."""
    found = _NAME.fullmatch(name_of(pod))
    return found and found[1]


def name_of(pod: Pod) -> str:
    """The pod's name; empty if it has none."""
    return str(meta(pod).get("name") or "")


def uid_of(pod: Pod) -> str:
    """The pod's uid; empty for none, and for what no API server gives."""
    uid = meta(pod).get("uid")
    return uid if isinstance(uid, str) and _UID.fullmatch(uid) else ""


def is_marked(pod: Pod, installation: str) -> bool:
    """A launcher of this installation made it, for the attempt that its name is of."""
    attempt = attempt_of(pod)
    return attempt is not None and inside(meta(pod), "annotations").get(MADE) == mark(installation, attempt)


def is_of_an_older_launcher(pod: Pod, installation: str) -> bool:
    """It has all that launchers put into a pod before they had the mark."""
    labels, annotations = inside(meta(pod), "labels"), inside(meta(pod), "annotations")
    ours = labels.get(INSTALLATION) == installation and pod_name(str(labels.get(ATTEMPT))) == name_of(pod)
    return ours and MADE not in annotations and {QUEUE, OPERATOR} <= annotations.keys() and (is_held(pod) or is_going(pod))


def is_another_installations(pod: Pod, installation: str) -> bool:
    """A label or mark says so, and none says that it is ours. A copied database remembers the other one's pods, uids and all."""
    label, made = inside(meta(pod), "labels").get(INSTALLATION), inside(meta(pod), "annotations").get(MADE)
    if label == installation or is_marked(pod, installation):
        return False
    return made is not None or bool(_UUID.fullmatch(str(label)))


def is_held(pod: Pod) -> bool:
    """Our finalizer is on it."""
    finalizers = meta(pod).get("finalizers")
    return isinstance(finalizers, list) and FINALIZER in finalizers


def is_going(pod: Pod) -> bool:
    """Its deletion is under way: no finalizer can be added any more."""
    return bool(meta(pod).get("deletionTimestamp"))


def belongs(pod: Pod, flight: Flight, installation: str) -> bool:
    """The pod is this flight's. Where none is acknowledged, by what was put into it."""
    if name_of(pod) != flight.name or not uid_of(pod):
        return False
    if flight.uid is not None:
        return uid_of(pod) == flight.uid
    made = inside(meta(pod), "annotations").get(MADE) == mark(installation, flight.attempt_id)
    return made or (not flight.marked and is_of_an_older_launcher(pod, installation))


def as_claimed(pod: Pod, flight: Flight) -> Pod:
    """The pod with the operator of its claim, which verdicts go by, whatever its annotation has been made to say."""
    operator = flight.claim.operator
    annotations = inside(meta(pod), "annotations")
    if annotations.get(OPERATOR) == operator:
        return pod
    return pod | {"metadata": meta(pod) | {"annotations": annotations | {OPERATOR: operator}}}


def lacking(pod: Pod, flight: Flight, installation: str) -> Pod:
    """What somebody has changed or taken away of our marks, as the metadata of a strategic merge patch; empty: nothing."""
    labels = {INSTALLATION: installation, ATTEMPT: flight.attempt_id.lower(), TASK: str(flight.claim.id)}
    annotations: dict[str, Any] = {QUEUE: flight.claim.queue, OPERATOR: flight.claim.operator}
    if flight.marked:
        annotations[MADE] = mark(installation, flight.attempt_id)
    if flight.refusal is None:
        annotations[ON_FINISH] = None if flight.on_finish == "delete" else flight.on_finish
    lacks: Pod = {}
    for key, wanted in (("labels", labels), ("annotations", annotations)):
        there = inside(meta(pod), key)
        if wrong := {name: value for name, value in wanted.items() if there.get(name) != value}:
            lacks[key] = wrong
    if not is_held(pod) and not is_going(pod):
        lacks["finalizers"] = [FINALIZER]
    return lacks
