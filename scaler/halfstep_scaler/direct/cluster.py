"""The few calls to the Kubernetes API, each with an end. Nothing is sent twice by itself. The only module of this room that
knows the client library, which is loaded only where it is used."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError

from halfstep.errors import HalfstepError, InvalidSettings
from halfstep_scaler.direct.steering import Json, Name

CALL_SECONDS = 5.0
CONNECT_SECONDS = 2.0
PAGE_SIZE = 500
MOST_PAGES = 400
"""More objects than a cluster holds of one kind; a server that always names another page is none."""
MERGE = "application/merge-patch+json"
UNSENDABLE = "the token or password holds what no header can, such as the end of a line; mend it where the kubeconfig has it from"


class ApiError(HalfstepError):
    """The API server did not do this. status: of HTTP, 0 if there was no answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Conflict(ApiError):
    """Somebody has changed it since it was read."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Of a Deployment. version: of the whole object, its status too. selector: of its pods' labels."""

    replicas: int
    version: str
    selector: str


class Cluster:
    """For any number of threads. kubeconfig None: the cluster that we run in. Raises InvalidSettings; its calls ApiError."""

    def __init__(self, kubeconfig: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._lock = threading.Lock()
        self._load()

    def scaled_object(self, name: Name) -> Json | None:
        """None where there is none."""
        path = f"/apis/keda.sh/v1alpha1/namespaces/{quote(name.namespace)}/scaledobjects/{quote(name.name)}"
        try:
            found: Json = self._call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def scaled_objects(self, namespace: str = "") -> list[Json]:
        """Those of one namespace, or all."""
        within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        return self._list(f"/apis/keda.sh/v1alpha1{within}/scaledobjects", {})

    def scale(self, namespace: str, deployment: str) -> Scale:
        """As it is now."""
        return _scale(self._call("GET", _scale_path(namespace, deployment)))

    def set_replicas(self, namespace: str, deployment: str, number: int, *, version: str) -> Scale:
        """Raises Conflict if the Deployment, or the state of its pods as it knows it, is not that of `version` any more."""
        patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": number}}
        return _scale(self._call("PATCH", _scale_path(namespace, deployment), body=patch))

    def pods(self, namespace: str, selector: str) -> list[Json]:
        """All of them."""
        return self._list(f"/api/v1/namespaces/{quote(namespace)}/pods", {"labelSelector": selector})

    def _list(self, path: str, query: Mapping[str, str]) -> list[Json]:
        found: list[Json] = []
        more = ""
        for _ in range(MOST_PAGES):
            page = self._call("GET", path, {**query, "limit": str(PAGE_SIZE)} | ({"continue": more} if more else {}))
            try:
                found += page.get("items") or []
                more = page["metadata"].get("continue") or ""
            except (AttributeError, KeyError, TypeError) as error:
                raise ApiError(f"The answer to GET {path} is no list of objects.", status=200) from error
            if not more:
                return found
        raise ApiError(f"The answer to GET {path} has no end: {MOST_PAGES} pages came, and each names another.", status=200)

    def annotate(self, namespace: str, pod: str, *, uid: str, values: Mapping[str, str | None]) -> bool:
        """None takes an annotation off. False: this pod (by uid) does not exist any more."""
        patch = {"metadata": {"uid": uid, "annotations": dict(values)}}
        try:
            self._call("PATCH", f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}", body=patch)
        except ApiError as error:
            if error.status in (404, 409, 422):
                return False
            raise
        return True

    def close(self) -> None:
        """Closes idle connections."""
        self._pool.clear()

    def _load(self) -> None:
        from kubernetes import client, config
        from kubernetes.client.rest import RESTClientObject

        made: Any = client.Configuration()
        load: Any = config
        try:
            if self._kubeconfig is None:
                load.load_incluster_config(client_configuration=made)
            else:
                load.load_kube_config(self._kubeconfig, client_configuration=made)
        except Exception as error:  # the file may hold anything, and the library raises whatever it stumbles on
            source = "this pod's service account" if self._kubeconfig is None else f"kubeconfig {self._kubeconfig!r}"
            raise InvalidSettings(f"This needs the API server; {source} can't be used: {error}") from error
        self._configuration = made
        self._pool: Any = RESTClientObject(made).pool_manager  # it knows certificates and proxies

    def _call(self, method: str, path: str, query: Mapping[str, str] | None = None, *, body: Json | None = None) -> Any:
        answer = self._send(method, path + (f"?{urlencode(query)}" if query else ""), body)
        if answer.status == 401:
            self._renew()
        if not 200 <= answer.status < 300:
            refused = Conflict if answer.status == 409 else ApiError
            raise refused(f"{method} {path} was answered with status {answer.status}: {_said(answer.data)}", status=answer.status)
        try:
            return json.loads(answer.data)
        except (ValueError, RecursionError) as error:
            raise ApiError(f"The answer to {method} {path} is no JSON.", status=answer.status) from error

    def _send(self, method: str, path: str, body: Json | None) -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=CALL_SECONDS)
        try:
            headers = {"User-Agent": "halfstep-scaler", "Accept": "application/json", **self._credentials()}
            if body is not None:
                headers["Content-Type"] = MERGE
            sent: urllib3.BaseHTTPResponse = self._pool.urlopen(
                method, self._configuration.host.rstrip("/") + path, headers=headers, retries=False, redirect=False,
                body=None if body is None else json.dumps(body), timeout=timeout,
            )  # fmt: skip
        except (HTTPError, OSError) as error:
            raise ApiError(f"The API server does not answer ({type(error).__name__}).") from error
        return sent

    def _credentials(self) -> dict[str, str]:
        """The library reads a rotated token anew."""
        with self._lock:
            try:
                settings = self._configuration.auth_settings().values()
            except Exception as error:  # it may read files and run programs
                raise ApiError(f"The credentials can't be renewed: {error}") from error
        found = {one["key"]: one["value"].strip() for one in settings if one["value"]}
        if not all(value.isascii() and value.isprintable() for value in found.values()):  # never shown: it is a secret
            raise ApiError(f"The credentials can't be sent: {UNSENDABLE}.")
        return found

    def _renew(self) -> None:
        with self._lock:
            try:
                self._load()
            except InvalidSettings as error:
                raise ApiError(str(error), status=401) from error


def _scale_path(namespace: str, deployment: str) -> str:
    return f"/apis/apps/v1/namespaces/{quote(namespace)}/deployments/{quote(deployment)}/scale"


def _scale(found: Json) -> Scale:
    status = found.get("status") or {}
    return Scale(found.get("spec", {}).get("replicas", 0), found["metadata"]["resourceVersion"], status.get("selector", ""))


def _said(body: bytes) -> str:
    try:
        return str(json.loads(body).get("message"))[:500]
    except (ValueError, AttributeError):
        return body[:200].decode(errors="replace")
