"""Operator `http`: one request, its redirects followed with care, its answer as JSON."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError

from halfstep.errors import InvalidTask
from halfstep.limits import LONGEST_SECONDS
from halfstep.visible import visible_line
from halfstep_worker.connections import Blot, Connection
from halfstep_worker.operators.addresses import Gate, Resolve
from halfstep_worker.operators.arguments import Argument, check_arguments, with_defaults
from halfstep_worker.operators.base import OperatorFailed, OperatorSettings
from halfstep_worker.operators.http_answer import SHOWN_BYTES, beginning, decoded, delay_asked, header_text, location_of
from halfstep_worker.operators.http_connection import is_unpacked, left, pool_for, reason_of
from halfstep_worker.operators.http_expected import check_expected, expected_words, is_expected
from halfstep_worker.operators.http_path import climbs
from halfstep_worker.operators.http_request import (
    METHODS,
    SECRET_HEADERS,
    Base,
    Request,
    check_headers,
    check_length,
    check_url,
    encode_body,
    without,
)  # fmt: skip

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


@dataclass(frozen=True, slots=True)
class Call:
    """What holds for a request and all that its redirects lead to. end: by `time.monotonic()`; blot: takes out secrets."""

    expect: Any
    end: float
    blot: Blot

    def failed(self, sentence: str, *, delay: float | None = None) -> OperatorFailed:
        """The error, without secrets and harmless to a terminal."""
        return OperatorFailed(visible_line(self.blot(sentence)), delay=delay)


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
        if not given["timeout"] > 0:
            raise InvalidTask("Argument 'timeout' of operator 'http' must be above 0 seconds.")
        if given["timeout"] > LONGEST_SECONDS:
            raise InvalidTask(f"Argument 'timeout' of operator 'http' must be at most {LONGEST_SECONDS:.0f} seconds, a year.")
        if given["connection"] is None:
            check_url(given["url"])
        else:
            _check_path(given["url"])
        check_headers(given["headers"])
        check_expected(given["expect"])

    def run(self, args: dict[str, Any], /) -> object:
        """`{"status", "headers", "body"}`.

        InvalidTask: an address or redirect that is refused. OperatorFailed: no answer, another status than expected (with the
        delay that the answer asks for), or an answer over the limit.
        """
        given = with_defaults(ARGUMENTS, args)
        end = time.monotonic() + given["timeout"]
        connection = None if given["connection"] is None else self._settings.connection(given["connection"])
        request = _request(given, connection)
        call = Call(given["expect"], end, _blot(request.headers, connection))
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(request, call)
            try:
                if not _leads_on(response, call.expect):
                    return self._answer(request, response, call)
                request = request.redirected(response.status, location_of(response.headers.getlist("location")))
            finally:
                response.close()
        raise call.failed(f"{request.title} was redirected more than {MAX_REDIRECTS} times.")

    def _send(self, request: Request, call: Call) -> urllib3.BaseHTTPResponse:
        """Connects to an address that was checked, not to the name, which could lead elsewhere a moment later."""
        failure = "no address"
        seconds = _left(request, call)
        title = visible_line(call.blot(request.host_title))
        for address in self._gate.addresses(request.host, request.port, title=title, seconds=seconds):
            try:
                _left(request, call)
                return _send_to(address, request, call.end)
            except urllib3.exceptions.NewConnectionError:
                failure = "the connection was refused or there is no route"
            except (HTTPError, OSError, ValueError) as error:
                reason = reason_of(error).replace(request.host, "***") if request.base else reason_of(error)
                raise call.failed(f"{request.title} got no answer: {reason}.") from None
        raise call.failed(f"{request.title} got no answer: {failure}.")

    def _answer(self, request: Request, response: urllib3.BaseHTTPResponse, call: Call) -> object:
        print(visible_line(call.blot(f"{request.title} answered {response.status}")), flush=True)
        content_type = response.headers.get("content-type", "")
        if not is_expected(response.status, call.expect):
            words = f"{request.title} answered {response.status}, expected {expected_words(call.expect)}"
            content, whole = _beginning(response)
            said = beginning(content, content_type, blot=call.blot if whole else call.blot.cut)
            delay = delay_asked(response.status, response.headers)
            raise call.failed(f"{words}; it says: {said}" if said else f"{words}.", delay=delay)
        headers = {name: header_text(response.headers[name]) for name in _SHOWN_HEADERS if name in response.headers}
        body = decoded(self._read(request, response, call), content_type)
        return {"status": response.status, "headers": headers, "body": body}

    def _read(self, request: Request, response: urllib3.BaseHTTPResponse, call: Call) -> bytes:
        content = bytearray()
        try:
            while chunk := response.read1(_CHUNK, decode_content=True):  # what is there: the time is looked at between
                content += chunk
                if len(content) > self._settings.result_bytes:
                    raise self._settings.too_large("ask for less, or fetch it in a script and write it where it belongs")
                _left(request, call)
        except (HTTPError, OSError, ValueError) as error:
            raise call.failed(f"The answer to {request.title} broke off: {reason_of(error)}.") from None
        if not is_unpacked(response):
            raise call.failed(f"The answer to {request.title} broke off: its packed body is not complete.")
        return bytes(content)


def _request(given: Mapping[str, Any], connection: Connection | None) -> Request:
    body, headers = encode_body(given["body"], given["headers"])
    request = Request(given["method"].upper(), given["url"], headers, body)
    if connection is not None:
        return _through(connection, request)
    check_url(request.url)
    return request


def _through(connection: Connection, request: Request) -> Request:
    """The request below a connection's base URL, with its user and password, or bearer token where it has no user."""
    _check_path(request.url)
    try:
        base, known = urlsplit(connection.url), connection.parts
        netloc = base.netloc.rpartition("@")[2]
        home = check_url(urlunsplit((base.scheme, netloc, base.path.rstrip("/"), "", "")))
        url = check_url(home + request.url)
    except (InvalidTask, ValueError):
        raise InvalidTask(f"The URL of connection '{connection.name}' or the path is not valid for operator 'http'.") from None
    headers, login = dict(request.headers), ""
    if known.password and not known.username:
        login = f"Bearer {known.password}"
    elif known.username:
        login = "Basic " + base64.b64encode(f"{known.username}:{known.password or ''}".encode()).decode()
    if login:
        headers = without(headers, frozenset({"authorization"})) | {"Authorization": login}
    return replace(request, url=url, headers=headers, base=Base(connection.name, home))


def _send_to(address: str, request: Request, end: float) -> urllib3.BaseHTTPResponse:
    pool = pool_for(request.parts.scheme, address, request.port, host=request.host, end=end)
    headers = urllib3.HTTPHeaderDict({"User-Agent": "halfstep"})
    headers.update(request.headers)
    headers["Host"] = _host_header(request)
    response: urllib3.BaseHTTPResponse = pool.urlopen(
        request.method,
        request.target,
        body=request.body,
        headers=headers,
        retries=False,
        redirect=False,
        assert_same_host=False,
        preload_content=False,
        timeout=urllib3.Timeout(total=left(end)),
    )
    return response


def _beginning(response: urllib3.BaseHTTPResponse) -> tuple[bytes, bool]:
    """The first bytes of a body, as far as they come within the call's time, and whether they are all of it."""
    content = bytearray()
    with suppress(HTTPError, OSError, ValueError):
        while len(content) <= SHOWN_BYTES and (chunk := response.read1(SHOWN_BYTES, decode_content=True)):
            content += chunk
        return bytes(content[:SHOWN_BYTES]), len(content) <= SHOWN_BYTES and is_unpacked(response)
    return bytes(content[:SHOWN_BYTES]), False


def _blot(headers: Mapping[str, str], connection: Connection | None) -> Blot:
    """For the secrets of the connection, and those that the headers hold."""
    secrets = [value for name, value in headers.items() if name.lower() in SECRET_HEADERS]
    secrets += [value.partition(" ")[2] for value in secrets]
    return Blot.of(secrets) | (connection.blot if connection else Blot())


def _check_path(url: str) -> None:
    """InvalidTask: not a path below a connection's base."""
    check_length(url, what="Argument 'url' of operator 'http'")
    if not url.startswith("/") or url.startswith("//"):
        raise InvalidTask("With a connection, argument 'url' of operator 'http' is a path that begins with a single /.")
    if climbs(url.partition("?")[0].partition("#")[0]):
        raise InvalidTask(
            "With a connection, argument 'url' of operator 'http' stays below the connection's URL: leave out '..'."
        )


def _host_header(request: Request) -> str:
    host = f"[{request.host.partition('%')[0]}]" if ":" in request.host else request.host
    return host if request.parts.port is None else f"{host}:{request.port}"


def _left(request: Request, call: Call) -> float:
    try:
        return left(call.end)
    except TimeoutError:
        raise call.failed(f"{request.title} took longer than its timeout.") from None


def _leads_on(response: urllib3.BaseHTTPResponse, expect: Any) -> bool:
    """Whether to follow: a redirect that the caller expects is an answer."""
    wanted = expect is not None and is_expected(response.status, expect)
    return response.status in _REDIRECTS and "location" in response.headers and not wanted
