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
_PORT = re.compile(r"\bport \d+")
_SETTING = re.compile(r"(?:-c\s*|--)[\w.-]+=((?:\\.|[^\s\\])*)", re.DOTALL)
# Values of options that tell nothing of the place, and stand in too many sentences.
_COMMON = re.compile(
    r"\d+|on|off|yes|no|true|false|any|disable|allow|prefer|require|verify-ca|verify-full"
    r"|read-write|read-only|primary|standby|prefer-standby|random",
    re.IGNORECASE,
)


def not_connected(connection: Connection, error: Exception) -> OperatorFailed:
    """There is no session. Drivers then quote host, user, database and options: all that is quoted is blotted out."""
    said = _first_line(error)
    said = _PORT.sub("port ***", _ADDRESS.sub("***", _QUOTED.sub(lambda found: f"{found[0][0]}***{found[0][0]}", said)))
    return _failed(connection, _without(said, _parts(connection)))


def refused(connection: Connection, error: Exception, *, statement: str) -> OperatorFailed:
    """The database refused. Parts of the URL are blotted out but where they are the statement's own words."""
    parts = [part for part in _parts(connection) if not _word(part).search(statement)]
    return _failed(connection, _without(_first_line(error), parts))


def _failed(connection: Connection, said: str) -> OperatorFailed:
    shown = visible_line(connection.without_secrets(said)).rstrip(".")[:SHOWN_CHARACTERS]
    return OperatorFailed(f"The database of connection '{connection.name}' answered: {shown}.")


def _first_line(error: Exception) -> str:
    said = error.orig if isinstance(error, DBAPIError) else error
    lines = [line.strip() for line in str(said).splitlines() if line.strip()] or [type(said).__name__]
    return lines[0].removeprefix("ERROR:").strip()


def _parts(connection: Connection) -> list[str]:
    """Host, port, user and database of the URL, and whatever else it holds, also piece by piece."""
    url = connection.parts
    given = [(name, text) for name, value in url.query.items() for text in _listed(value)]
    values = [piece for name, text in given for piece in _pieces(name, text)]
    ports = [str(url.port or ""), *(port for name, text in given if name == "port" for port in text.split(","))]
    return [part for part in (*(url.host or "").split(","), url.username, url.database, *ports, *values) if part]


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _pieces(name: str, text: str) -> list[str]:
    """An option's value, the values of the settings that it holds, and the items of each."""
    settings = [re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for value in _SETTING.findall(text)] if name == "options" else []
    items = [item.strip(" \"'") for value in (text, *settings) for item in value.split(",")]
    return [piece for piece in (text, *settings, *items) if not _COMMON.fullmatch(piece)]


def _word(part: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(part)}(?!\w)")


def _without(said: str, parts: list[str]) -> str:
    for part in sorted(set(parts), key=len, reverse=True):
        said = _word(part).sub("***", said)
    return said
