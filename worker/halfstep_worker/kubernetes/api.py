"""The calls that a launcher makes to one cluster. Plain JSON both ways: objects of the client library cost memory and time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from halfstep_worker.kubernetes.answers import (
    DEFAULT_ACCOUNT,
    ApiError,
    Reply,
    created,
    is_absent,
    is_status,
    is_webhook_away,
    message_of,
    reason_of,
    trouble_of,
)
from halfstep_worker.kubernetes.connection import Connection, Request, load_configuration, rest_of
from halfstep_worker.kubernetes.names import FINALIZER, KEEP, MADE
from halfstep_worker.kubernetes.objects import inside, listed
from halfstep_worker.kubernetes.streams import Stream
from halfstep_worker.kubernetes.throttle import Throttle
from halfstep_worker.kubernetes.trouble import ADMISSION, Troubles
from halfstep_worker.kubernetes.values import Created, CreateOutcome, Pod, Taken, TryLater

CALL_SECONDS = 10.0
LIST_SECONDS = 30.0
SERVER_SHARE = 0.8
"""Of what is left of a create call's time, the part that the server gets: it must have given up before we do."""
PAUSE_SECONDS = 1.0
PROBE_SECONDS = 5.0
PAGE_PODS = 250
EVENTS = "events"
EVENT_SECONDS = 3.0
MOST_EVENTS = 100


@dataclass(frozen=True, slots=True)
class PodPage:
    """Part of a list. version: of the whole list, where a watch goes on. more: names the next page, empty after the last."""

    pods: list[Pod]
    version: str
    more: str


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which part of which log. since: whole seconds since 1970 (the kubelet knows no finer), None: from the start."""

    namespace: str
    pod: str
    container: str
    since: int | None = None
    limit_bytes: int | None = None
    timestamps: bool = True

    def parameters(self) -> dict[str, str]:
        """The query of the request."""
        query = {"container": self.container, "timestamps": "true" if self.timestamps else "false"}
        if self.since is not None:
            query["sinceTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.since))
        if self.limit_bytes is not None:
            query["limitBytes"] = str(self.limit_bytes)
        return query


@dataclass(frozen=True, slots=True)
class About:
    """What a request is about, in the words of RBAC. namespace: where."""

    namespace: str
    verb: str
    object: str = "pods"

    @property
    def part(self) -> str:
        """Such as "create pods" or "get pods/log"."""
        return f"{self.verb} {self.object}"


class ClusterApi:
    """One cluster, for any number of threads. kubeconfig None: the cluster that we run in. Raises InvalidSettings.

    account: the service account of pods whose tasks name none.
    qps, burst: how fast it is called, all threads together. When the server answers 429, nobody calls for as long as it asks.
    """

    def __init__(
        self, name: str, *, kubeconfig: str | None, context: str | None = None, qps: float = 200.0, burst: int = 400,
        account: str = DEFAULT_ACCOUNT,
    ) -> None:  # fmt: skip
        self.name = name
        self._account = account
        self.throttle = Throttle(qps, burst)
        self.troubles = Troubles(name)
        self._connection = Connection(lambda: load_configuration(kubeconfig=kubeconfig, context=context))

    def create_pod(self, namespace: str, manifest: Mapping[str, Any], *, seconds: float) -> CreateOutcome:
        """One try, that is over within `seconds` here and at the server. It never raises for what the server says."""
        return self._create("pods", namespace, manifest, seconds)

    def create_config_map(self, namespace: str, manifest: Mapping[str, Any], *, seconds: float) -> CreateOutcome:
        """As `create_pod`."""
        return self._create("configmaps", namespace, manifest, seconds)

    def get_pod(self, namespace: str, name: str) -> Pod | None:
        """The pod, or None where there is none. Raises ApiError."""
        return self._get("pods", namespace, name, CALL_SECONDS)

    def delete_pod(self, namespace: str, name: str, *, uid: str | None, grace: int | None = None) -> bool:
        """Asks for its deletion. False: this pod (by uid) does not exist any more. grace: seconds, None: the pod's own."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        reply = self._call(Request("DELETE", _path("pods", namespace, name), body=_json(options)), About(namespace, "delete"))
        if not (reply.ok or is_absent(reply) or reply.status == 409):
            raise reply.error(f"Deleting pod {name}")
        return reply.ok

    def release_pod(self, namespace: str, name: str, *, keep: bool, uid: str | None = None) -> bool:
        """Takes our finalizer off, and no other; `keep` marks the pod as left on purpose. False: this pod does not exist."""
        metadata: dict[str, Any] = {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}
        if keep:
            metadata["labels"] = {KEEP: "true"}
        if uid:
            metadata["uid"] = uid
        return self._patch(namespace, name, {"metadata": metadata}, doing=f"Releasing pod {name}")

    def end_pod(self, namespace: str, name: str, *, uid: str) -> bool:
        """Its node ends what still runs in it, with the pod's grace; the object stays. False: this pod does not exist."""
        wanted = {"metadata": {"uid": uid}, "spec": {"activeDeadlineSeconds": 1}}
        return self._patch(namespace, name, wanted, doing=f"Ending pod {name}")

    def pod_events(self, namespace: str, uid: str) -> list[Pod]:
        """Some of the events of one pod, in no order. Raises ApiError, also at once if others wait for their turn."""
        if self.throttle.wait() > 0:
            raise ApiError(f"The rate limit of cluster {self.name!r} is reached")
        query = {"fieldSelector": f"involvedObject.uid={uid}", "limit": str(MOST_EVENTS)}
        reply = self._call(Request("GET", _path("events", namespace), query), About(namespace, "list", EVENTS), EVENT_SECONDS)
        if not reply.ok:
            raise reply.error(f"Listing events in namespace {namespace!r}")
        return listed(reply.json(), "items")

    def mark_pod(self, namespace: str, name: str, *, uid: str, marks: Mapping[str, Any]) -> bool:
        """Puts labels, annotations and finalizers back. False: this pod (by uid) does not exist, or takes no finalizer now."""
        body = _json({"metadata": {**marks, "uid": uid}})
        patch = Request("PATCH", _path("pods", namespace, name), body=body, content_type=_MERGE)
        reply = self._call(patch, About(namespace, "patch"))
        if not (reply.ok or is_absent(reply) or reply.status in (409, 422)):
            raise reply.error(f"Marking pod {name}")
        return reply.ok

    def list_pods(self, namespace: str, *, selector: str, page: str = "", limit: int = PAGE_PODS) -> PodPage:
        """One page of the list as it is now (no older copy). Raises ApiError; status 410: begin again at the first page."""
        query = {"labelSelector": selector, "limit": str(limit), "timeoutSeconds": str(int(LIST_SECONDS))}
        if page:
            query["continue"] = page
        reply = self._call(Request("GET", _path("pods", namespace), query), About(namespace, "list"), LIST_SECONDS)
        if not reply.ok:
            raise reply.error(f"Listing pods in namespace {namespace!r}")
        answer = reply.json()
        about = answer["metadata"]
        return PodPage(answer.get("items") or [], about["resourceVersion"], about.get("continue") or "")

    def watch_pods(self, namespace: str, *, selector: str, version: str, seconds: float, silence: float) -> Stream:
        """What happens to the pods after `version`; the server ends the stream after `seconds` (rounded up). Raises ApiError.

        silence: so many seconds without a byte break the stream.
        """
        query = {
            "watch": "true", "labelSelector": selector, "resourceVersion": version, "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(seconds))),
        }  # fmt: skip
        doing = f"Watching pods in namespace {namespace!r}"
        return self._stream(_path("pods", namespace), query, About(namespace, "watch"), silence, doing=doing)

    def read_log(self, query: LogQuery, *, seconds: float) -> Stream:
        """The log's lines, complete within `seconds`. Raises ApiError; 400: not started, 404: the pod is gone."""
        path = _path("pods", query.namespace, query.pod) + "/log"
        doing = f"Reading the log of container {query.container!r}"
        about = About(query.namespace, "get", "pods/log")
        return self._stream(path, query.parameters(), about, seconds, ends=time.monotonic() + seconds, doing=doing)

    def probe(self, namespace: str, kind: str) -> None:
        """Whether such things would be made again: a dry run, of which nothing stays. `troubles` learns what it comes to."""
        if not self.throttle.take():
            return
        request = Request("POST", _path(kind, namespace), {"dryRun": "All"}, _json(_probe(kind, self._account)))
        with suppress(ApiError):
            self._connect(request, About(namespace, "create", kind), PROBE_SECONDS)

    def counts(self) -> dict[tuple[str, int], int]:
        """Requests since the start by (method, status); status 0: no answer."""
        return self._connection.counts()

    def close(self) -> None:
        """Who waits for the rate limit gives up; idle connections close."""
        self.throttle.close()
        self._connection.close()

    def _patch(self, namespace: str, name: str, wanted: Mapping[str, Any], *, doing: str) -> bool:
        patch = Request("PATCH", _path("pods", namespace, name), body=_json(wanted), content_type=_MERGE)
        reply = self._call(patch, About(namespace, "patch"))
        another = reply.status == 422 and "metadata.uid" in message_of(reply.body)  # a patch can't name it another way
        if not (reply.ok or is_absent(reply) or reply.status == 409 or another):
            raise reply.error(doing)
        return reply.ok

    def _create(self, kind: str, namespace: str, manifest: Mapping[str, Any], seconds: float) -> CreateOutcome:
        ends = time.monotonic() + seconds
        where = f"cluster {self.name!r}, namespace {namespace!r}"
        if not self.throttle.take(seconds=seconds / 2):
            return TryLater(f"The rate limit of {where} is reached.", max(self.throttle.wait(), PAUSE_SECONDS))
        left = ends - time.monotonic()
        query = {"timeout": f"{max(1, int(left * SERVER_SHARE * 1000))}ms"}
        about = About(namespace, "create", kind)
        try:
            reply = self._connect(Request("POST", _path(kind, namespace), query, _json(manifest)), about, left)
        except ApiError as error:
            return TryLater(f"{error} ({where}).", PAUSE_SECONDS, error.unknown)
        if reply.status == 409 and reason_of(reply.body) == "AlreadyExists":
            return self._existing(kind, namespace, manifest, ends)
        return created(reply, where=where, account=self._account)

    def _existing(self, kind: str, namespace: str, manifest: Mapping[str, Any], ends: float) -> CreateOutcome:
        """An earlier try succeeded, ours or another launcher's. It counts as created even if it is gone again: never twice."""
        wanted = manifest["metadata"]
        try:
            found = self._get(kind, namespace, wanted["name"], ends - time.monotonic())
        except ApiError as error:
            return TryLater(f"{wanted['name']} exists, but could not be read: {error}", PAUSE_SECONDS, unknown=True)
        if found is None:
            return Created("", existed=True)
        if _is_the_same(found, wanted):
            return Created(found["metadata"]["uid"], existed=True)
        what = "pod" if kind == "pods" else "ConfigMap"
        where = f"in namespace {namespace!r} of cluster {self.name!r}"
        return Taken(f"Another {what} has the name {wanted['name']} {where}, and no launcher made it.", found)

    def _get(self, kind: str, namespace: str, name: str, seconds: float) -> dict[str, Any] | None:
        reply = self._call(Request("GET", _path(kind, namespace, name)), About(namespace, "get", kind), seconds)
        if is_absent(reply):
            return None
        if not reply.ok:
            raise reply.error(f"Reading {name}")
        found: dict[str, Any] = reply.json()
        return found

    def _call(self, request: Request, about: About, seconds: float = CALL_SECONDS) -> Reply:
        ends = time.monotonic() + seconds
        self._wait_in_turn(seconds / 2)
        reply = self._connect(request, about, ends - time.monotonic())
        if reply.ok and not reply.body.lstrip().startswith(b"{"):
            raise ApiError(f"That was no API server's answer: {message_of(reply.body)[:500]}", status=reply.status, unknown=True)
        return reply

    def _stream(
        self, path: str, query: dict[str, str], about: About, silence: float, *, doing: str, ends: float | None = None
    ) -> Stream:  # fmt: skip
        self._wait_in_turn(CALL_SECONDS / 2)
        request, seconds = Request("GET", path, query), min(CALL_SECONDS, silence)
        try:
            response = self._connection.open(request, seconds=seconds, silence=silence)
            if response.status == 200:
                self.troubles.over(about.namespace, about.part)
                return Stream(response, ends=ends)
            reply = rest_of(response, seconds=CALL_SECONDS)
        except ApiError as error:
            self._unanswered(about, error)
            raise
        self._heed(reply)
        self._note(about, reply)
        raise reply.error(doing)

    def _wait_in_turn(self, seconds: float) -> None:
        if not self.throttle.take(seconds=seconds):
            raise ApiError(f"The rate limit of cluster {self.name!r} is reached", retry_after=self.throttle.wait())

    def _connect(self, request: Request, about: About, seconds: float) -> Reply:
        if seconds <= 0:
            raise ApiError("There was no time left for the call")  # which says nothing of the server
        try:
            reply = self._connection.call(request, seconds=seconds)
        except ApiError as error:
            self._unanswered(about, error)
            raise
        self._heed(reply)
        self._note(about, reply)
        return reply

    def _note(self, about: About, reply: Reply) -> None:
        """Whether this part gets on, and a line in the log for what the server refused."""
        if about.object == EVENTS:  # nothing needs them: whoever reads them says that it may not
            return
        where, part = about.namespace, about.part
        trouble = trouble_of(reply, account=self._account)
        if trouble is not None:
            self._connection.reload(known=reply.status in (403, 404) and b"system:anonymous" not in reply.body)
            trouble += f" {self._connection.complaint}" if reply.status == 401 and self._connection.complaint else ""
            # What stands before the API server may dislike this request only: that it does so for others shows with time.
            sure = is_status(reply)
            self.troubles.met(where, part, self._sentence(about, f"with {reply.status}: {trouble}"), sure=sure)
        elif is_webhook_away(reply):
            told = self._sentence(about, f"with {reply.status}: {message_of(reply.body)}. A webhook that it has to ask is away.")
            self.troubles.met(where, ADMISSION, told, sure=True)
        elif reply.status == 429:
            pass
        elif reply.status >= 500 or (reply.status in (400, 403) and about.verb not in ("create", "get")):
            told = self._sentence(about, f"with {reply.status}: {message_of(reply.body)}. It is asked again.")
            self.troubles.met(where, part, told, sure=False)
        else:
            self.troubles.over(where, part)
            if reply.ok and about.verb == "create":
                self.troubles.over(where, ADMISSION)
        if reply.status >= 300 and not _is_everyday(about, reply):
            self.troubles.refused(where, part, reply.status, message_of(reply.body))

    def _unanswered(self, about: About, error: ApiError) -> None:
        error.access = True
        if about.object == EVENTS:
            return
        if self.troubles.met(about.namespace, about.part, self._sentence(about, f"not at all: {error}."), sure=False):
            self._connection.reload()
            self.troubles.refused(about.namespace, about.part, 0, str(error))

    def _sentence(self, about: About, rest: str) -> str:
        where = f"cluster {self.name!r}, namespace {about.namespace!r}"
        return f"The API server of {where} answers {about.part!r} {rest}"

    def _heed(self, reply: Reply) -> None:
        if reply.status == 429:
            self.throttle.pause(PAUSE_SECONDS if reply.retry_after is None else reply.retry_after)


def _is_everyday(about: About, reply: Reply) -> bool:
    """An answer that calls meet while all is well: it is there already, gone, not begun, or another one by now."""
    usual = {"create": (409,), "get": (400,), "list": (410,), "watch": (410,), "delete": (409,), "patch": (409, 422)}
    return is_absent(reply) or reply.status in usual[about.verb]


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


def _is_the_same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """By the mark; of what a pod owns, also by its uid, which nobody could know before the pod was there."""
    about = found["metadata"]
    owners = {owner.get("uid") for owner in listed(about, "ownerReferences")}
    made = inside(about, "annotations").get(MADE) == wanted["annotations"][MADE]
    return owners >= {owner["uid"] for owner in wanted["ownerReferences"]} if "ownerReferences" in wanted else made


_MERGE = "application/strategic-merge-patch+json"


def _path(kind: str, namespace: str, name: str | None = None) -> str:
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/{kind}"
    return path if name is None else f"{path}/{quote(name, safe='')}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
