"""Named connections: URLs with secrets, read once by the worker, used by operators, never printed."""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
import yaml
from sqlalchemy.exc import ArgumentError

from halfstep.errors import InvalidSettings

PREFIX = "HALFSTEP_CONNECTION_"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_LOG = logging.getLogger("halfstep")


@dataclass(frozen=True, slots=True)
class Connection:
    """A name and its URL. Neither `str` nor `repr` shows the URL, as a password or token stands in it."""

    name: str
    url: str = field(repr=False)

    def __str__(self) -> str:
        return f"connection '{self.name}'"

    @property
    def parts(self) -> sa.URL:
        """The URL taken apart. InvalidSettings naming the connection, never its value."""
        try:
            parts = sa.make_url(self.url)
        except (ArgumentError, ValueError):
            raise InvalidSettings(f"The URL of connection '{self.name}' can't be read; it looks like {_EXAMPLE}.") from None
        if not parts.host and not parts.database and not parts.query:
            raise InvalidSettings(f"The URL of connection '{self.name}' names no host; it looks like {_EXAMPLE}.")
        return parts

    @property
    def blot(self) -> Blot:
        """Of its URL, password and bearer token."""
        parts = self.parts
        login = base64.b64encode(f"{parts.username or ''}:{parts.password or ''}".encode()).decode() if parts.password else ""
        return Blot.of([self.url, parts.render_as_string(hide_password=False), parts.password, login, *_hidden(parts)])

    def without_secrets(self, text: str) -> str:
        """`text` with this connection's URL, password and bearer token replaced by ***, however they are written."""
        return self.blot(text)


@dataclass(frozen=True, slots=True)
class Blot:
    """Takes secrets out of texts."""

    forms: tuple[str, ...] = field(default=(), repr=False)
    """All that they are written in, the longest first."""

    @classmethod
    def of(cls, secrets: Iterable[object]) -> Blot:
        """For these secrets, without those that are empty."""
        forms = {form for secret in secrets if secret for form in forms_of(str(secret))}
        return cls(tuple(sorted(forms, key=len, reverse=True)))

    def __or__(self, other: Blot) -> Blot:
        """For the secrets of both."""
        return Blot(tuple(sorted({*self.forms, *other.forms}, key=len, reverse=True)))

    def __call__(self, text: str) -> str:
        """`text` with *** in place of each secret."""
        for form in self.forms:
            text = text.replace(form, "***")
        return text

    def cut(self, text: str) -> str:
        """The same for a text that was cut off somewhere: what may be the beginning of a secret at its end is left out."""
        text = self(text.rstrip("\ufffd"))  # half a character
        ends = (size for form in self.forms for size in range(1, len(form)) if text.endswith(form[:size]))
        return text[: len(text) - max(ends, default=0)]


_EXAMPLE = "postgresql://user:password@host:5432/name or https://user:password@host"


def load_connections(environment: Mapping[str, str], file: Path | None = None) -> dict[str, Connection]:
    """Connections by name, from HALFSTEP_CONNECTION_<NAME>=url and a YAML file of `name: url`; the environment wins.

    Names are lower-cased. InvalidSettings names what is wrong, never a URL.
    """
    urls: dict[str, object] = _from_file(file) if file else {}
    urls.update({key[len(PREFIX) :]: url for key, url in environment.items() if key.startswith(PREFIX)})
    found = [_connection(name, url) for name, url in urls.items()]
    return {connection.name: connection for connection in found}


def _connection(name: str, url: object) -> Connection:
    known = name.lower()
    if not _NAME.fullmatch(known):
        shown = "A key" if ":" in known else f"'{known}'"  # a URL in the wrong place must not be shown either
        raise InvalidSettings(f"{shown} is no name for a connection: letters, digits, _ and - only.")
    if not isinstance(url, str) or not url.strip():
        raise InvalidSettings(f"Connection '{known}' has no URL; it looks like {_EXAMPLE}.")
    connection = Connection(known, url.strip())
    _ = connection.parts
    return connection


def _from_file(file: Path) -> dict[str, object]:
    try:
        with file.open(encoding="utf-8") as stream:
            _warn_if_readable_by_others(file, stream.fileno())
            content = yaml.safe_load(stream)
    except OSError as error:
        raise InvalidSettings(f"The connections file {file} can't be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"The connections file {file} is no YAML{_line_of(error)}; it holds lines `name: url`.") from None
    if not isinstance(content, dict | None):
        raise InvalidSettings(f"The connections file {file} must hold lines `name: url`.")
    return {str(name): url for name, url in (content or {}).items()}


def _line_of(error: Exception) -> str:
    """Only the place: the parser's own message quotes the line, and secrets with it."""
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1})" if mark else ""


def _warn_if_readable_by_others(file: Path, descriptor: int) -> None:
    if os.fstat(descriptor).st_mode & (stat.S_IRGRP | stat.S_IROTH):
        _LOG.warning("The connections file %s can be read by other users; run: chmod 600 %s", file, file)


def forms_of(secret: str) -> set[str]:
    """The secret as servers and drivers write it back: as it is, in JSON, in a URL, in HTML, in Python, and as a host."""
    text = secret.encode(errors="surrogatepass")
    urls = {quote(text, safe=""), quote(text), quote_plus(text)}
    pages = {html.escape(secret), html.escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")}
    return {
        *(secret, secret.lower(), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]),
        *urls,
        *(re.sub("%..", lambda found: found[0].lower(), url) for url in urls),
        *pages,
        *_in_python(secret),
    }


def _in_python(secret: str) -> set[str]:
    """Alone, and in a text with both kinds of quotes; as ASCII, which is JavaScript's, too; and as bytes."""
    data = secret.encode(errors="surrogatepass")
    alone = {repr(secret)[1:-1], ascii(secret)[1:-1], repr(data)[2:-1]}
    return alone | {repr("'\"" + secret)[4:-1], ascii("'\"" + secret)[4:-1], repr(b"'\"" + data)[5:-1]}


def _hidden(parts: sa.URL) -> list[str]:
    values = parts.query.get("password", ())
    return [values] if isinstance(values, str) else list(values)
