"""Asking for a pod or a ConfigMap, so that a second try finds what the first one made; and whether one would be made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from halfstep_worker.kubernetes.answers import ApiError, created, reason_of
from halfstep_worker.kubernetes.client import MERGE, PAUSE_SECONDS, Client, encoded, path_of
from halfstep_worker.kubernetes.connection import Request
from halfstep_worker.kubernetes.diagnosis import About
from halfstep_worker.kubernetes.names import MADE
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.values import Created, CreateOutcome, Taken, TryLater

SERVER_SHARE = 0.8
"""Of what is left of a create call's time, the part that the server gets: it must have given up before we do."""
PROBE_SECONDS = 5.0


def create(client: Client, kind: str, namespace: str, manifest: Mapping[str, Any], seconds: float) -> CreateOutcome:
    """One try, that is over within `seconds` here and at the server. It never raises for what the server says."""
    ends = time.monotonic() + seconds
    where = f"cluster {client.name!r}, namespace {namespace!r}"
    if not client.throttle.take(seconds=seconds / 2):
        return TryLater(f"The rate limit of {where} is reached.", max(client.throttle.wait(), PAUSE_SECONDS))
    left = ends - time.monotonic()
    query = {"timeout": f"{max(1, int(left * SERVER_SHARE * 1000))}ms"}
    about = About(namespace, "create", kind)
    try:
        reply = client.connect(Request("POST", path_of(kind, namespace), query, encoded(manifest)), about, left)
    except ApiError as error:
        return TryLater(f"{error} ({where}).", PAUSE_SECONDS, error.unknown)
    if reply.status == 409 and reason_of(reply.body) == "AlreadyExists":
        return _existing(client, kind, namespace, manifest, ends)
    return created(reply, where=where, account=client.account)


def _existing(client: Client, kind: str, namespace: str, manifest: Mapping[str, Any], ends: float) -> CreateOutcome:
    """An earlier try succeeded, ours or another launcher's. It counts as created even if it is gone again: never twice."""
    wanted = manifest["metadata"]
    try:
        found = client.get(kind, namespace, wanted["name"], ends - time.monotonic())
    except ApiError as error:
        return TryLater(f"{wanted['name']} exists, but could not be read: {error}", PAUSE_SECONDS, unknown=True)
    if found is None:
        return Created("", existed=True)
    if _is_the_same(found, wanted):
        return Created(found["metadata"]["uid"], existed=True)
    what = "pod" if kind == "pods" else "ConfigMap"
    where = f"in namespace {namespace!r} of cluster {client.name!r}"
    return Taken(f"Another {what} has the name {wanted['name']} {where}, and no launcher made it.", found)


def _is_the_same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """By the mark; of what a pod owns, also by its uid, which nobody could know before the pod was there."""
    about = found["metadata"]
    owners = {owner.get("uid") for owner in listed(about, "ownerReferences")}
    made = inside(about, "annotations").get(MADE) == wanted["annotations"][MADE]
    return owners >= {owner["uid"] for owner in wanted["ownerReferences"]} if "ownerReferences" in wanted else made


def probe(client: Client, namespace: str, kind: str) -> None:
    """Whether such things would be made again: a dry run, of which nothing stays. `troubles` learns what it comes to."""
    if not client.throttle.take():
        return
    request = Request("POST", path_of(kind, namespace), {"dryRun": "All"}, encoded(_probe(kind, client.account)))
    with suppress(ApiError):
        client.connect(request, About(namespace, "create", kind), PROBE_SECONDS)


def touch(client: Client, namespace: str, part: str) -> None:
    """Whether a part that needs a pod gets on again: asked of one that does not exist, as a dry run. As `probe`."""
    if not client.throttle.take():
        return
    verb, _, object = part.partition(" ")
    kind, _, log = object.partition("/")
    path = path_of(kind, namespace, "halfstep-probe") + ("/log" if log else "")
    request = Request("GET", path)
    if verb == "delete":
        request = Request("DELETE", path, {"dryRun": "All"}, encoded({"apiVersion": "v1", "kind": "DeleteOptions"}))
    elif verb == "patch":
        request = Request("PATCH", path, {"dryRun": "All"}, encoded({"metadata": {}}), MERGE)
    with suppress(ApiError):
        client.connect(request, About(namespace, verb, object), PROBE_SECONDS)


def _probe(kind: str, account: str) -> dict[str, Any]:
    """What any policy is likely to let pass; what one refuses shows as well that the server judges requests again."""
    about = {"apiVersion": "v1", "kind": _KINDS[kind], "metadata": {"generateName": "halfstep-probe-"}}
    main = {
        "name": "main",
        "image": "probe",
        "securityContext": _CONFINED,
        "resources": {"requests": _AMOUNTS, "limits": _AMOUNTS},
    }
    spec = {"serviceAccountName": account, "automountServiceAccountToken": False, "restartPolicy": "Never", "containers": [main]}
    return about | ({"spec": spec} if kind == "pods" else {})


_KINDS = {"pods": "Pod", "configmaps": "ConfigMap"}
_CONFINED = {
    "runAsNonRoot": True, "runAsUser": 65534, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
_AMOUNTS = {"cpu": "1m", "memory": "4Mi"}
