"""Named connections: URLs with secrets, read once by the worker, used by operators, never printed."""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import stat
from collections.abc import Mapping
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

    def without_secrets(self, text: str) -> str:
        """`text` with this connection's URL, password and bearer token replaced by ***, however they are written."""
        parts = self.parts
        login = base64.b64encode(f"{parts.username or ''}:{parts.password or ''}".encode()).decode() if parts.password else ""
        secrets = [self.url, parts.render_as_string(hide_password=False), parts.password, login, *_hidden(parts)]
        forms = {form for secret in secrets if secret for form in forms_of(str(secret))}
        for secret in sorted(forms, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


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
    """The secret as servers and drivers write it back: as it is, in JSON, in a URL, in HTML, and in Python."""
    written = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], html.escape(secret), repr(secret)[1:-1]}
    return {secret, *written, quote(secret, safe=""), quote(secret), quote_plus(secret)}


def _hidden(parts: sa.URL) -> list[str]:
    values = parts.query.get("password", ())
    return [values] if isinstance(values, str) else list(values)
