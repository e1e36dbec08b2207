"""One HTTP request as a value, where it leads, and what a redirect makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from halfstep.errors import InvalidTask
from halfstep.visible import visible_line
from halfstep_worker.operators.http_path import is_below

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PORTS = {"http": 80, "https": 443}
LONGEST_URL = 8_192
"""Characters. Longer ones are not read at all, as some of it takes the square of their length in time."""
_LONGEST_HOST = 253
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")
# Ours to set: a caller who sets them could smuggle a second request or another host behind the check.
_RESERVED = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})
SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Not sent on to another place, and never shown."""


@dataclass(frozen=True, slots=True)
class Base:
    """Where a connection leads: its name, and the URL that all its paths are below, without a login or a slash at its end."""

    name: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """Method, absolute URL, headers and body. The headers may hold secrets, so none of it but `title` is ever shown.

    base: that of the connection, whose login goes nowhere else.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    base: Base | None = None

    @property
    def parts(self) -> SplitResult:
        """The URL taken apart."""
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """The host, in the letters that stand in certificates."""
        return ascii_host(self.parts)

    @property
    def port(self) -> int:
        """The port, or the scheme's own."""
        return self.origin[2]

    @property
    def target(self) -> str:
        """Path and query."""
        return (self.parts.path or "/") + (f"?{self.parts.query}" if self.parts.query else "")

    @property
    def title(self) -> str:
        """For logs and errors: no query, which may hold a secret, and nothing of a connection's URL."""
        if self.base and self.is_at_home:
            below = self.parts.path[len(urlsplit(self.base.url).path) :]
            return f"{self.method} {visible_line(below)} of connection '{self.base.name}'"
        if self.base and self._is_at_its_host:
            return f"{self.method} {visible_line(self.parts.path)} at the host of connection '{self.base.name}'"
        return visible_line(f"{self.method} {self.parts.scheme}://{self.parts.netloc}{self.parts.path}")

    @property
    def host_title(self) -> str:
        """The host, in a sentence about it."""
        return f"The host of connection '{self.base.name}'" if self.base and self._is_at_its_host else f"Host '{self.host}'"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Secrets go to this scheme, host and port, and to no other."""
        return origin_of(self.parts)

    @property
    def is_at_home(self) -> bool:
        """Whether it goes below the base of its connection; with none, anywhere."""
        if self.base is None:
            return True
        base = urlsplit(self.base.url)
        return self.origin == origin_of(base) and is_below(base.path, self.parts.path)

    @property
    def _is_at_its_host(self) -> bool:
        """Whether it goes to the connection's host, also by another path, port or scheme, as a redirect may say."""
        return self.base is not None and self.host == ascii_host(urlsplit(self.base.url))

    def redirected(self, status: int, location: str) -> Request:
        """The request that follows a redirect. InvalidTask: it leads off http and https, or is no URL."""
        what = "The redirect"
        check_length(location, what=what)
        try:
            url = urljoin(self.url, location)
        except ValueError:  # whose words quote it
            raise InvalidTask(f"{what} is not a valid URL.") from None
        check_url(url, what=what)
        next_one = replace(self, url=url)
        if next_one.origin != self.origin or not next_one.is_at_home:
            next_one = replace(next_one, headers=without(next_one.headers, SECRET_HEADERS))
        becomes_get = self.method != "HEAD" if status == 303 else self.method == "POST" and status in (301, 302)
        if becomes_get:
            headers = {name: value for name, value in next_one.headers.items() if not name.lower().startswith("content-")}
            return replace(next_one, method="GET", body=None, headers=headers)
        return next_one


def origin_of(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port."""
    return parts.scheme, ascii_host(parts), parts.port or PORTS[parts.scheme]


def check_url(url: str, *, what: str = "Argument 'url' of operator 'http'") -> str:
    """The URL itself if it can be called. InvalidTask without quoting it, as it may hold a secret."""
    check_length(url, what=what)
    try:
        parts = urlsplit(url)
        port = parts.port
        ascii_host(parts)
    except ValueError:
        raise InvalidTask(f"{what} is not a valid URL.") from None
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise InvalidTask(f"{what} must begin with http://HOST or https://HOST.")
    if parts.username is not None or parts.password is not None:
        raise InvalidTask(f"{what} holds a user or password; put them into a named connection, so that they are not stored.")
    if _UNSAFE.search(url):
        raise InvalidTask(f"{what} has a space or control character; percent-encode it.")
    return url


def check_length(url: str, *, what: str) -> None:
    """InvalidTask: longer than LONGEST_URL."""
    if len(url) > LONGEST_URL:
        raise InvalidTask(f"{what} is longer than {LONGEST_URL:,} characters, and is not read.")


def ascii_host(parts: SplitResult) -> str:
    """The host in ASCII. ValueError: it can't be written so."""
    host = parts.hostname or ""
    if len(host) > _LONGEST_HOST:
        raise ValueError("no name is so long")
    if ":" in host:
        ip_address(host)
        return host.replace("%25", "%")  # a zone, as URLs write it
    written = host if host.isascii() else host.encode("idna").decode()
    if written and not _HOST.fullmatch(written):
        raise ValueError("no host")
    return written


def check_headers(headers: Mapping[str, Any]) -> None:
    """InvalidTask, naming the header but not its value."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidTask(f"{name!r} is no name for a header.")
        if name.lower() in _RESERVED:
            raise InvalidTask(f"Header '{name}' is set by the operator itself; leave it out.")
        if not isinstance(value, str) or not value.isprintable() or not _is_latin(value):
            raise InvalidTask(f"Header '{name}' must be a string of printable Latin-1 characters.")


def without(headers: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    """The headers but those named, in any letter case."""
    return {name: value for name, value in headers.items() if name.lower() not in names}


def encode_body(body: object, headers: Mapping[str, str]) -> tuple[bytes | None, dict[str, str]]:
    """The bytes of a body and the headers with it: a string as it is, any other JSON value as JSON."""
    if body is None or isinstance(body, str):
        return (None if body is None else body.encode("utf-8", errors="replace")), dict(headers)
    named = any(name.lower() == "content-type" for name in headers)
    return json.dumps(body).encode(), dict(headers) | ({} if named else {"Content-Type": "application/json"})


def _is_latin(value: str) -> bool:
    return all(ord(character) < 256 for character in value)
