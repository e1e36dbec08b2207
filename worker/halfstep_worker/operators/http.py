"""Operator `http`: one request, its redirects followed with care, its answer as JSON."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError

from halfstep.errors import InvalidTask
from halfstep_worker.connections import Connection
from halfstep_worker.operators.addresses import Gate, Resolve
from halfstep_worker.operators.arguments import Argument, check_arguments, with_defaults, word_for
from halfstep_worker.operators.base import OperatorFailed, OperatorSettings
from halfstep_worker.operators.http_request import METHODS, Request, check_headers, check_url, encode_body

ARGUMENTS = (
    Argument("method", (str,), default="GET"),
    Argument("url", (str,), required=True),
    Argument("headers", (dict,), default={}),
    Argument("body", ()),
    Argument("expect", (int, list)),
    Argument("timeout", (float,), default=30.0),
    Argument("connection", (str,)),
)
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_SHOWN_HEADERS = ("content-type", "content-length", "etag", "last-modified", "location", "retry-after")
_CHUNK = 64 * 1024
_POOLS = {"http": urllib3.HTTPConnectionPool, "https": urllib3.HTTPSConnectionPool}


class HttpOperator:
    """Sends a request and gives back status, some headers and the body."""

    name = "http"

    def __init__(self, settings: OperatorSettings, *, resolve: Resolve | None = None) -> None:
        self._settings = settings
        self._gate = Gate(settings.http_allow, resolve=resolve)

    def check(self, args: dict[str, Any], /) -> None:
        """InvalidTask for wrong args. Where a name leads is seen only when it is called."""
        check_arguments(self.name, ARGUMENTS, args)
        given = with_defaults(ARGUMENTS, args)
        if given["method"].upper() not in METHODS:
            raise InvalidTask(f"Argument 'method' of operator 'http' must be one of {', '.join(METHODS)}.")
        if given["timeout"] <= 0:
            raise InvalidTask("Argument 'timeout' of operator 'http' must be above 0 seconds.")
        if given["connection"] is None:
            check_url(given["url"])
        elif not given["url"].startswith("/") or given["url"].startswith("//"):
            raise InvalidTask("With a connection, argument 'url' of operator 'http' is a path that begins with a single /.")
        check_headers(given["headers"])
        _check_expected(given["expect"])

    def run(self, args: dict[str, Any], /) -> object:
        """`{"status", "headers", "body"}`.

        InvalidTask: an address or redirect that is refused. OperatorFailed: no answer, another status than expected, or an
        answer over the limit.
        """
        given = with_defaults(ARGUMENTS, args)
        end = time.monotonic() + given["timeout"]
        request = self._request(given)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(request, end)
            try:
                if not _leads_on(response, given["expect"]):
                    return self._answer(request, response, given["expect"], end)
                request = request.redirected(response.status, response.headers["location"])
            finally:
                response.close()
        raise OperatorFailed(f"{request.title} was redirected more than {MAX_REDIRECTS} times.")

    def _request(self, given: dict[str, Any]) -> Request:
        body, headers = encode_body(given["body"], given["headers"])
        request = Request(given["method"].upper(), given["url"], headers, body)
        return request if given["connection"] is None else _through(self._settings.connection(given["connection"]), request)

    def _send(self, request: Request, end: float) -> urllib3.BaseHTTPResponse:
        """Connects to an address that was checked, not to the name, which could lead elsewhere a moment later."""
        failure = "no address"
        for address in self._gate.addresses(request.host, request.port):
            try:
                return self._send_to(address, request, _left(request, end))
            except urllib3.exceptions.NewConnectionError:
                failure = "the connection was refused or there is no route"
            except (HTTPError, OSError, ValueError) as error:
                raise OperatorFailed(f"{request.title} got no answer: {_reason(error)}.") from None
        raise OperatorFailed(f"{request.title} got no answer: {failure}.")

    def _send_to(self, address: str, request: Request, seconds: float) -> urllib3.BaseHTTPResponse:
        secure = {"server_hostname": request.host, "assert_hostname": request.host} if request.parts.scheme == "https" else {}
        pool = _POOLS[request.parts.scheme](address, request.port, timeout=urllib3.Timeout(total=seconds), maxsize=1, **secure)
        headers = {"User-Agent": "halfstep", **request.headers, "Host": _host_header(request)}
        response: urllib3.BaseHTTPResponse = pool.urlopen(
            request.method,
            request.target,
            body=request.body,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
        )
        return response

    def _answer(self, request: Request, response: urllib3.BaseHTTPResponse, expect: Any, end: float) -> object:
        print(f"{request.title} answered {response.status}", flush=True)
        if not _is_expected(response.status, expect):
            raise OperatorFailed(f"{request.title} answered {response.status}, expected {_expected_words(expect)}.")
        content_type = response.headers.get("content-type", "")
        headers = {name: response.headers[name] for name in _SHOWN_HEADERS if name in response.headers}
        body = _decoded(self._read(request, response, end), content_type)
        return {"status": response.status, "headers": headers, "body": body}

    def _read(self, request: Request, response: urllib3.BaseHTTPResponse, end: float) -> bytes:
        content = bytearray()
        try:
            while chunk := response.read1(_CHUNK, decode_content=True):  # what is there: the time is looked at between
                content += chunk
                if len(content) > self._settings.result_bytes:
                    raise self._settings.too_large("ask for less, or fetch it in a script and write it where it belongs")
                _left(request, end)
        except (HTTPError, OSError) as error:
            raise OperatorFailed(f"The answer to {request.title} broke off: {_reason(error)}.") from None
        return bytes(content)


def _through(connection: Connection, request: Request) -> Request:
    """The request below a connection's base URL, with its user and password, or bearer token where it has no user."""
    base = urlsplit(connection.url)
    try:
        known = connection.parts
        netloc = base.netloc.rpartition("@")[2]
        url = check_url(urlunsplit((base.scheme, netloc, base.path.rstrip("/"), "", "")) + request.url)
    except InvalidTask:
        raise InvalidTask(f"The URL of connection '{connection.name}' or the path is not valid for operator 'http'.") from None
    headers = dict(request.headers)
    if known.password and not known.username:
        headers["Authorization"] = f"Bearer {known.password}"
    elif known.username:
        pair = f"{known.username}:{known.password or ''}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    return replace(request, url=url, headers=headers)


def _host_header(request: Request) -> str:
    host = f"[{request.host}]" if ":" in request.host else request.host
    return host if request.parts.port is None else f"{host}:{request.port}"


def _left(request: Request, end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise OperatorFailed(f"{request.title} took longer than its timeout.")
    return left


def _leads_on(response: urllib3.BaseHTTPResponse, expect: Any) -> bool:
    """Whether to follow: a redirect that the caller expects is an answer."""
    wanted = expect is not None and _is_expected(response.status, expect)
    return response.status in _REDIRECTS and "location" in response.headers and not wanted


def _check_expected(expect: Any) -> None:
    for status in expect if isinstance(expect, list) else [expect]:
        if status is not None and (type(status) is not int or not 100 <= status <= 599):
            shown = status if type(status) is int else word_for(status)
            raise InvalidTask(f"Argument 'expect' of operator 'http' holds status codes (100 to 599), not {shown}.")


def _is_expected(status: int, expect: Any) -> bool:
    if expect is None:
        return 200 <= status <= 299
    return status in expect if isinstance(expect, list) else status == expect


def _expected_words(expect: Any) -> str:
    if expect is None:
        return "200 to 299"
    return " or ".join(map(str, expect)) if isinstance(expect, list) else str(expect)


def _decoded(content: bytes, content_type: str) -> object:
    """JSON where the answer says so and is, else text; None where it is empty or no text."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        text = content.decode(_charset(content_type))
    except (LookupError, UnicodeError):
        return None
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text or None
    return text or None


def _charset(content_type: str) -> str:
    _, _, charset = content_type.lower().partition("charset=")
    return charset.split(";")[0].strip(" \"'") or "utf-8"


def _reason(error: Exception) -> str:
    """One line, without the address or URL that libraries put into theirs."""
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return "it took longer than its timeout"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"its certificate was refused ({_last_words(error)})"
    return _last_words(error)


def _last_words(error: Exception) -> str:
    cause = error.args[-1] if error.args else error
    return str(cause).strip().splitlines()[0].rstrip(".") if str(cause).strip() else type(error).__name__
