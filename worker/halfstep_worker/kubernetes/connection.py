"""The way to one API server: its configuration, its credentials, and single requests that have an end. Nothing is sent twice."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from halfstep.errors import InvalidSettings
from halfstep_worker.kubernetes.answers import ApiError, Reply, retry_after_of

CONNECT_SECONDS = 5.0
RELOAD_SECONDS = 5.0
KNOWN_SECONDS = 60.0
POOL_SIZE = 32
PIECE_BYTES = 64 * 1024
SOCKET_OPTIONS: list[tuple[int, int, int | bytes]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    # What a closed connection has not delivered yet is dropped. Otherwise the system would go on sending it for minutes,
    # and a create call given up long ago could arrive when the network heals.
    (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
]
_POOL = re.compile(r"^HTTPS?Connection(?:Pool)?\(host='([^']*)', port=(\d+)\): ")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. path: without the host. A body leaves only before the call's end."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"


def load_configuration(*, kubeconfig: str | None, context: str | None) -> Any:
    """The client library's configuration: of a kubeconfig file, or of the pod that we run in. Raises InvalidSettings."""
    from kubernetes import client, config  # reads much of the library: only launchers pay for it

    made: Any = client.Configuration()
    load: Any = config
    try:
        if kubeconfig is None:
            load.load_incluster_config(client_configuration=made)
        else:
            load.load_kube_config(kubeconfig, context, client_configuration=made)
    except Exception as error:  # the file may hold anything, and the library raises whatever it stumbles on
        source = "this pod's service account" if kubeconfig is None else f"kubeconfig {kubeconfig!r}, context {context!r}"
        raise InvalidSettings(f"The cluster's access could not be read from {source}: {error}") from error
    made.socket_options = SOCKET_OPTIONS
    made.connection_pool_maxsize = POOL_SIZE
    return made


UNSENDABLE = "the token or password holds what no header can, such as the end of a line; mend it where the kubeconfig has it from"


def current_context(kubeconfig: str) -> str | None:
    """The context that the file calls its current one; None if that can't be told. Read once: whoever turns to another cluster
    with `kubectl config use-context` does not mean a launcher that runs, and no pod of its own is there.
    """
    from kubernetes import config

    load: Any = config
    try:
        _, active = load.list_kube_config_contexts(kubeconfig)
        return str(active["name"])
    except Exception:  # whatever is wrong with the file, `load_configuration` says it
        return None


class Connection:
    """Thread-safe. load: gives the client library's configuration; called again when credentials are refused."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, int]] = Counter()
        self._loaded_at = 0.0
        self.complaint: str | None = None
        """Why the configuration could not be read again when credentials were refused."""
        self._use(load())

    def call(self, request: Request, *, seconds: float) -> Reply:
        """The whole answer, whatever its status, within `seconds`. Raises ApiError if there is none."""
        ends = time.monotonic() + seconds
        response = self.open(request, seconds=seconds)
        try:
            return rest_of(response, seconds=ends - time.monotonic())
        except ApiError as error:
            raise ApiError(str(error), unknown=request.body is not None) from error

    def open(self, request: Request, *, seconds: float, silence: float | None = None) -> urllib3.BaseHTTPResponse:
        """The answer's head; the body is read by `pieces`. Raises ApiError if none comes.

        seconds: until when the request must have left, and the head be there. silence: longest time without a byte afterwards.
        """
        if seconds <= 0:
            raise ApiError("There was no time left for the call")
        body = None if request.body is None else _Body(request.body, time.monotonic() + seconds)
        try:
            response = self._send(request, body, urllib3.Timeout(total=seconds, connect=min(CONNECT_SECONDS, seconds)))
        except (HTTPError, OSError, _TooLateError) as error:
            self._count(request.method, 0)
            raise ApiError(_sentence(error), unknown=body is not None and body.left) from error
        self._count(request.method, response.status)
        if silence is not None:
            _limit(response, time.monotonic() + silence)
        return response

    def counts(self) -> dict[tuple[str, int], int]:
        """Requests since the start by (method, status); status 0: no answer."""
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        """Closes what is idle. Connections in use close when they are given back."""
        self._rest.pool_manager.clear()

    def _send(self, request: Request, body: _Body | None, timeout: urllib3.Timeout) -> urllib3.BaseHTTPResponse:
        headers = {"User-Agent": "halfstep", "Accept": "application/json, */*", **self._credentials()}
        if body is not None:
            headers |= {"Content-Type": request.content_type, "Content-Length": str(body.size)}
        query = f"?{urlencode(request.query)}" if request.query else ""
        sent: urllib3.BaseHTTPResponse = self._rest.pool_manager.urlopen(
            request.method, self._host + request.path + query, body=body, headers=headers, timeout=timeout,
            retries=False, redirect=False, preload_content=False,
        )  # fmt: skip
        return sent

    def _credentials(self) -> dict[str, str]:
        """Refreshed by the library where they have run out: it may read a file or run a program, so one thread at a time."""
        with self._lock:
            try:
                settings = self._configuration.auth_settings().values()
            except Exception as error:
                raise ApiError(f"The credentials could not be refreshed: {error}") from error
        found = {setting["key"]: setting["value"].strip() for setting in settings if setting["value"]}
        if not all(value.isascii() and value.isprintable() for value in found.values()):  # never shown: it is a secret
            raise ApiError(f"The credentials can't be sent: {UNSENDABLE}")
        return found

    def reload(self, *, known: bool = False) -> None:
        """Credentials were refused, or nobody answers: their source may have changed. Every `RELOAD_SECONDS` at most.

        known: the server knows whom they are of. That they are the wrong ones is then less likely: every `KNOWN_SECONDS`.
        """
        with self._lock:
            if time.monotonic() < self._loaded_at + (KNOWN_SECONDS if known else RELOAD_SECONDS):
                return
            try:
                self._use(self._load())
                self.complaint = None
            except InvalidSettings as error:  # half written, perhaps; the next refusal tries again
                self.complaint = str(error)
                self._loaded_at = time.monotonic()

    def _use(self, configuration: Any) -> None:
        from kubernetes.client.rest import RESTClientObject

        self._configuration = configuration
        self._rest = RESTClientObject(configuration)  # only for its pool: it knows certificates and proxies
        self._host = configuration.host.rstrip("/")
        self._loaded_at = time.monotonic()

    def _count(self, method: str, status: int) -> None:
        with self._lock:
            self._counts[method, status] += 1


def pieces(response: urllib3.BaseHTTPResponse, *, ends: float | None = None) -> Iterator[bytes]:
    """The body as it comes. ends: monotonic time at which it must be complete. Raises ApiError; the connection is then closed."""
    complete = False
    try:
        _limit(response, ends)
        while piece := response.read1(PIECE_BYTES):
            yield piece
            _limit(response, ends)
        complete = True
    except (HTTPError, OSError, ValueError, AttributeError) as error:  # the last two: closed by another thread meanwhile
        raise ApiError(_sentence(error)) from error
    finally:
        response.release_conn() if complete else response.close()


def rest_of(response: urllib3.BaseHTTPResponse, *, seconds: float) -> Reply:
    """The whole answer of which the head has come. Raises ApiError if it is not complete in time."""
    body = b"".join(pieces(response, ends=time.monotonic() + seconds))
    return Reply(response.status, body, retry_after_of(response.headers.get("Retry-After")))


class _TooLateError(Exception):
    """The time for sending was over before the connection stood."""


class _Body:
    """The body of one request. It leaves only while there is time, and remembers that it did.

    Looking up the host's name has no time-out of its own; without this a create call could leave long after its end.
    """

    def __init__(self, data: bytes, ends: float) -> None:
        self._data = data
        self._ends = ends
        self.size = len(data)
        self.left = False

    def __iter__(self) -> Iterator[bytes]:
        if time.monotonic() >= self._ends:
            raise _TooLateError("the connection took too long")
        self.left = True
        yield self._data


def _limit(response: urllib3.BaseHTTPResponse, ends: float | None) -> None:
    """The next read from the socket does not last beyond `ends` (monotonic)."""
    if ends is None:
        return
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer took too long")
    sock = getattr(response.connection, "sock", None)
    if sock is not None:
        sock.settimeout(left)


def _sentence(error: Exception) -> str:
    inner = error.args[-1] if isinstance(error, HTTPError) and error.args else error
    said = _POOL.sub(r"\1:\2: ", str(inner) or type(error).__name__)
    return f"The API server does not answer: {said}"
