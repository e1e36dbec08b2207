"""What a database or its driver said, in one sentence that shows nothing of the connection's URL."""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError

from halfstep.visible import visible_line
from halfstep_worker.connections import Connection
from halfstep_worker.operators.base import OperatorFailed

SHOWN_CHARACTERS = 1_000
_QUOTED = re.compile(r"\"[^\"]*\"|(?<!\w)'[^']*'")
_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])|(?<![\w:])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:%\w+)?")
_NAMES = ("host", "hostaddr", "user", "dbname", "service")
_PORT = re.compile(r"\bport \d+")


def not_connected(connection: Connection, error: Exception) -> OperatorFailed:
    """There is no session. Drivers then quote host, user, database and options: all that is quoted is blotted out."""
    said = _first_line(error)
    said = _PORT.sub("port ***", _ADDRESS.sub("***", _QUOTED.sub(lambda found: f"{found[0][0]}***{found[0][0]}", said)))
    return _failed(connection, _without(said, _parts(connection)))


def refused(connection: Connection, error: Exception, *, statement: str) -> OperatorFailed:
    """The database refused. Parts of the URL are blotted out but where they are the statement's own words."""
    parts = [part for part in _parts(connection, options=False) if part not in statement]
    return _failed(connection, _without(_first_line(error), parts))


def _failed(connection: Connection, said: str) -> OperatorFailed:
    shown = visible_line(connection.without_secrets(said)).rstrip(".")[:SHOWN_CHARACTERS]
    return OperatorFailed(f"The database of connection '{connection.name}' answered: {shown}.")


def _first_line(error: Exception) -> str:
    said = error.orig if isinstance(error, DBAPIError) else error
    lines = [line.strip() for line in str(said).splitlines() if line.strip()] or [type(said).__name__]
    return lines[0].removeprefix("ERROR:").strip()


def _parts(connection: Connection, *, options: bool = True) -> list[str]:
    """Host, user and database of the URL; `options`: also whatever else it holds."""
    url = connection.parts
    given = [text for name, value in url.query.items() if options or name in _NAMES for text in _listed(value)]
    hosts = [host for text in (url.host or "", *given) for host in text.split(",")]
    return [part for part in (*hosts, *given, url.username, url.database) if part]


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _without(said: str, parts: list[str]) -> str:
    for part in sorted(set(parts), key=len, reverse=True):
        said = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "***", said)
    return said
