"""The calls that a launcher makes to one cluster. Plain JSON both ways: objects of the client library cost memory and time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from halfstep_worker.kubernetes.answers import DEFAULT_ACCOUNT, ApiError, is_absent, message_of
from halfstep_worker.kubernetes.client import CALL_SECONDS, MERGE, Client, encoded, path_of
from halfstep_worker.kubernetes.connection import Request
from halfstep_worker.kubernetes.creates import create, probe, touch
from halfstep_worker.kubernetes.diagnosis import EVENTS, About
from halfstep_worker.kubernetes.names import FINALIZER, KEEP
from halfstep_worker.kubernetes.objects import listed
from halfstep_worker.kubernetes.streams import Stream
from halfstep_worker.kubernetes.values import CreateOutcome, Pod

LIST_SECONDS = 30.0
PAGE_PODS = 250
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


class ClusterApi:
    """One cluster, for any number of threads. kubeconfig None: the cluster that we run in. Raises InvalidSettings.

    account: the service account of pods whose tasks name none.
    qps, burst: how fast it is called, all threads together. When the server answers 429, nobody calls for as long as it asks.
    """

    def __init__(
        self, name: str, *, kubeconfig: str | None, context: str | None = None, qps: float = 200.0, burst: int = 400,
        account: str = DEFAULT_ACCOUNT,
    ) -> None:  # fmt: skip
        self._client = Client(name, kubeconfig=kubeconfig, context=context, qps=qps, burst=burst, account=account)
        self.name = name
        self.throttle = self._client.throttle
        self.troubles = self._client.troubles

    def create_pod(self, namespace: str, manifest: Mapping[str, Any], *, seconds: float) -> CreateOutcome:
        """One try, that is over within `seconds` here and at the server. It never raises for what the server says."""
        return create(self._client, "pods", namespace, manifest, seconds)

    def create_config_map(self, namespace: str, manifest: Mapping[str, Any], *, seconds: float) -> CreateOutcome:
        """As `create_pod`."""
        return create(self._client, "configmaps", namespace, manifest, seconds)

    def get_pod(self, namespace: str, name: str) -> Pod | None:
        """The pod, or None where there is none. Raises ApiError."""
        return self._client.get("pods", namespace, name, CALL_SECONDS)

    def delete_pod(self, namespace: str, name: str, *, uid: str | None, grace: int | None = None) -> bool:
        """Asks for its deletion. False: this pod (by uid) does not exist any more. grace: seconds, None: the pod's own."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        request = Request("DELETE", path_of("pods", namespace, name), body=encoded(options))
        reply = self._client.call(request, About(namespace, "delete"))
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
        reply = self._client.call(
            Request("GET", path_of("events", namespace), query), About(namespace, "list", EVENTS), EVENT_SECONDS
        )
        if not reply.ok:
            raise reply.error(f"Listing events in namespace {namespace!r}")
        return listed(reply.json(), "items")

    def mark_pod(self, namespace: str, name: str, *, uid: str, marks: Mapping[str, Any]) -> bool:
        """Puts labels, annotations and finalizers back. False: this pod (by uid) does not exist, or takes no finalizer now."""
        body = encoded({"metadata": {**marks, "uid": uid}})
        patch = Request("PATCH", path_of("pods", namespace, name), body=body, content_type=MERGE)
        reply = self._client.call(patch, About(namespace, "patch"))
        if not (reply.ok or is_absent(reply) or reply.status in (409, 422)):
            raise reply.error(f"Marking pod {name}")
        return reply.ok

    def list_pods(self, namespace: str, *, selector: str, page: str = "", limit: int = PAGE_PODS) -> PodPage:
        """One page of the list as it is now (no older copy). Raises ApiError; status 410: begin again at the first page.

        selector: by labels; empty: all pods.
        """
        query = {"limit": str(limit), "timeoutSeconds": str(int(LIST_SECONDS))} | (
            {"labelSelector": selector} if selector else {}
        )
        if page:
            query["continue"] = page
        reply = self._client.call(Request("GET", path_of("pods", namespace), query), About(namespace, "list"), LIST_SECONDS)
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
        return self._client.stream(path_of("pods", namespace), query, About(namespace, "watch"), silence, doing=doing)

    def read_log(self, query: LogQuery, *, seconds: float) -> Stream:
        """The log's lines, complete within `seconds`. Raises ApiError; 400: not started, 404: the pod is gone."""
        path = path_of("pods", query.namespace, query.pod) + "/log"
        doing = f"Reading the log of container {query.container!r}"
        about = About(query.namespace, "get", "pods/log")
        return self._client.stream(path, query.parameters(), about, seconds, ends=time.monotonic() + seconds, doing=doing)

    def probe(self, namespace: str, kind: str) -> None:
        """Whether such things would be made again: a dry run, of which nothing stays. `troubles` learns what it comes to."""
        probe(self._client, namespace, kind)

    def touch(self, namespace: str, part: str) -> None:
        """Whether a part that needs a pod gets on again: asked of one that does not exist, as a dry run. As `probe`."""
        touch(self._client, namespace, part)

    def counts(self) -> dict[tuple[str, int], int]:
        """Requests since the start by (method, status); status 0: no answer."""
        return self._client.counts()

    def close(self) -> None:
        """Who waits for the rate limit gives up; idle connections close."""
        self._client.close()

    def _patch(self, namespace: str, name: str, wanted: Mapping[str, Any], *, doing: str) -> bool:
        patch = Request("PATCH", path_of("pods", namespace, name), body=encoded(wanted), content_type=MERGE)
        reply = self._client.call(patch, About(namespace, "patch"))
        another = reply.status == 422 and "metadata.uid" in message_of(reply.body)  # a patch can't name it another way
        if not (reply.ok or is_absent(reply) or reply.status == 409 or another):
            raise reply.error(doing)
        return reply.ok
