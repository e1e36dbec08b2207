"""Requests to one API server: each in its turn, and each answer noted."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from halfstep_worker.kubernetes.answers import ApiError, Reply, is_absent, message_of
from halfstep_worker.kubernetes.connection import Connection, Request, current_context, load_configuration, rest_of
from halfstep_worker.kubernetes.diagnosis import About, Diagnosis
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.streams import Stream
from halfstep_worker.kubernetes.throttle import Throttle
from halfstep_worker.kubernetes.trouble import Troubles

CALL_SECONDS = 10.0
PAUSE_SECONDS = 1.0
SAID_CHARACTERS = 500
MERGE = "application/strategic-merge-patch+json"


class Client:
    """For any number of threads. When the server answers 429, nobody calls for as long as it asks.

    The arguments are those of `ClusterApi`.
    """

    def __init__(
        self, name: str, *, kubeconfig: str | None, context: str | None, qps: float, burst: int, account: str
    ) -> None:  # fmt: skip
        self.name = name
        self.account = account
        self.throttle = Throttle(qps, burst)
        self.troubles = Troubles(name)
        context = current_context(kubeconfig) if kubeconfig is not None and context is None else context
        self._connection = Connection(lambda: load_configuration(kubeconfig=kubeconfig, context=context))
        self._diagnosis = Diagnosis(name, self._connection, self.troubles, account)

    def counts(self) -> dict[tuple[str, int], int]:
        """Requests since the start by (method, status); status 0: no answer."""
        return self._connection.counts()

    def close(self) -> None:
        """Who waits for the rate limit gives up; idle connections close."""
        self.throttle.close()
        self._connection.close()

    def get(self, kind: str, namespace: str, name: str, seconds: float) -> dict[str, Any] | None:
        """The object, or None where there is none. Raises ApiError."""
        reply = self.call(Request("GET", path_of(kind, namespace, name)), About(namespace, "get", kind), seconds)
        if is_absent(reply):
            return None
        if not reply.ok:
            raise reply.error(f"Reading {name}")
        found: dict[str, Any] = reply.json()
        about = inside(found, "metadata")
        if about.get("name") != name or not about.get("uid"):
            raise _no_server(reply)
        return found

    def call(self, request: Request, about: About, seconds: float = CALL_SECONDS) -> Reply:
        """The answer, whatever its status, when it is our turn. Raises ApiError where there is none of an API server."""
        ends = time.monotonic() + seconds
        self._wait_in_turn(seconds / 2)
        reply = self.connect(request, about, ends - time.monotonic())
        if reply.ok and not reply.body.lstrip().startswith(b"{"):
            raise _no_server(reply)
        return reply

    def stream(
        self, path: str, query: dict[str, str], about: About, silence: float, *, doing: str, ends: float | None = None
    ) -> Stream:  # fmt: skip
        """An answer of status 200 as it comes. silence: so many seconds without a byte break it. Raises ApiError."""
        self._wait_in_turn(CALL_SECONDS / 2)
        request, seconds = Request("GET", path, query), min(CALL_SECONDS, silence)
        try:
            response = self._connection.open(request, seconds=seconds, silence=silence)
            if response.status == 200:
                self.troubles.over(about.namespace, about.part)
                return Stream(response, ends=ends)
            reply = rest_of(response, seconds=CALL_SECONDS)
        except ApiError as error:
            self._diagnosis.unanswered(about, error)
            raise
        self._heed(reply)
        self._diagnosis.note(about, reply)
        raise reply.error(doing)

    def connect(self, request: Request, about: About, seconds: float) -> Reply:
        """The answer, by somebody who has waited for a turn. Raises ApiError where there is none."""
        if seconds <= 0:
            raise ApiError("There was no time left for the call")  # which says nothing of the server
        try:
            reply = self._connection.call(request, seconds=seconds)
        except ApiError as error:
            self._diagnosis.unanswered(about, error)
            raise
        self._heed(reply)
        self._diagnosis.note(about, reply)
        return reply

    def _wait_in_turn(self, seconds: float) -> None:
        if not self.throttle.take(seconds=seconds):
            raise ApiError(f"The rate limit of cluster {self.name!r} is reached", retry_after=self.throttle.wait())

    def _heed(self, reply: Reply) -> None:
        if reply.status == 429:
            self.throttle.pause(PAUSE_SECONDS if reply.retry_after is None else reply.retry_after)


def _no_server(reply: Reply) -> ApiError:
    said = message_of(reply.body)[:SAID_CHARACTERS]
    return ApiError(f"That was no API server's answer: {said}", status=reply.status, unknown=True)


def path_of(kind: str, namespace: str, name: str | None = None) -> str:
    """Of the objects of a kind, or of one of them."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/{kind}"
    return path if name is None else f"{path}/{quote(name, safe='')}"


def encoded(value: Mapping[str, Any]) -> bytes:
    """The body of a request."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
