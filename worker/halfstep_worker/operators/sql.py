"""Operator `sql`: statements on a named connection, in one session."""

from __future__ import annotations

import json
import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from halfstep.errors import InvalidTask
from halfstep_worker.connections import Connection
from halfstep_worker.operators.arguments import Argument, check_arguments, with_defaults
from halfstep_worker.operators.base import OperatorFailed, OperatorSettings
from halfstep_worker.operators.engines import Engines, interruptible
from halfstep_worker.operators.rows import rows_as_json

ARGUMENTS = (
    Argument("connection", (str,), required=True),
    Argument("statement", (str,), required=True),
    Argument("parameters", (dict, list), default={}),
)
_CAST_OF_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)::")
_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_READS = re.compile(r"(select|values|table|with)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(insert|update|delete|merge|into)\b|;", re.IGNORECASE)
# The server notices within this time that its client was killed, and ends the statement. Servers before 14 don't know it.
_NOTICE_DEATH = sa.text(
    "SELECT set_config(name, '5s', true) FROM pg_catalog.pg_settings WHERE name = 'client_connection_check_interval'"
)


class SqlOperator:
    """Runs statements and commits. The result is the rows of the last one, or the number of rows affected."""

    name = "sql"

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._engines = Engines()

    def check(self, args: dict[str, Any], /) -> None:
        """InvalidTask for wrong args, or a parameter of the statement without a value."""
        check_arguments(self.name, ARGUMENTS, args)
        given = with_defaults(ARGUMENTS, args)
        _check_parameters(given["statement"], _sets(given["parameters"]))

    def run(self, args: dict[str, Any], /) -> object:
        """`{"rows": […]}` or `{"rows_affected": n}`.

        InvalidTask: no such connection. OperatorFailed: the database refused, in its own words but never with the URL.
        """
        given = with_defaults(ARGUMENTS, args)
        connection = self._settings.connection(given["connection"])
        engine = self._engines.of(connection)
        try:
            with engine.connect() as session, interruptible(), session.begin():
                return self._execute(session, given["statement"], _sets(given["parameters"]))
        except (SQLAlchemyError, UnicodeError, ValueError) as error:
            raise OperatorFailed(_sentence(connection, error)) from None

    def _execute(self, session: sa.Connection, statement: str, sets: list[dict[str, Any]]) -> object:
        if session.dialect.name == "postgresql":
            session.execute(_NOTICE_DEATH)
        if len(sets) == 1 and _is_plain_read(statement):
            # By a cursor of the server, so that a select of everything does not fill our memory before the limit is seen.
            session = session.execution_options(stream_results=True, max_row_buffer=100)
        result = session.execute(sa.text(statement), sets if len(sets) > 1 else sets[0])
        if not result.returns_rows:
            return {"rows_affected": max(0, result.rowcount)}
        with result:
            return {"rows": rows_as_json(list(result.keys()), result, self._settings)}


def _sets(parameters: dict[str, Any] | list[Any]) -> list[dict[str, Any]]:
    """The sets of values to run the statement with: an object is one, a list of objects many, a list of values is :1, :2, …"""
    if isinstance(parameters, dict):
        return [_bound(parameters)]
    if parameters and all(isinstance(item, dict) for item in parameters):
        return [_bound(item) for item in parameters]
    return [_bound({str(n): value for n, value in enumerate(parameters, start=1)})]


def _bound(values: dict[str, Any]) -> dict[str, Any]:
    """Objects travel as JSON text (`CAST(:x AS jsonb)`); lists as arrays of the database."""
    return {name: json.dumps(value) if isinstance(value, dict) else value for name, value in values.items()}


def _check_parameters(statement: str, sets: list[dict[str, Any]]) -> None:
    cast = _CAST_OF_PARAMETER.search(statement)
    if cast and cast[1] in sets[0]:
        raise InvalidTask(f"Write CAST(:{cast[1]} AS …) instead of :{cast[1]}::…, which is ambiguous.")
    wanted = sa.text(statement).compile().params
    for values in sets:
        missing = sorted(wanted.keys() - values.keys())
        if missing:
            name = missing[0]
            raise InvalidTask(f"The statement has a parameter ':{name}' without a value; for a literal colon write '\\:{name}'.")


def _is_plain_read(statement: str) -> bool:
    """Whether a server-side cursor can be declared for it: one statement that surely only reads. In doubt, no."""
    bare = _COMMENTS.sub(" ", statement).strip().removesuffix(";")
    return bool(_READS.match(bare)) and not _WRITES.search(bare)


def _sentence(connection: Connection, error: Exception) -> str:
    """The first line of what the database said. It may quote the URL or password: they are blotted out."""
    said = error.orig if isinstance(error, DBAPIError) else error
    lines = [line.strip() for line in str(said).splitlines() if line.strip()] or [type(said).__name__]
    first = connection.without_secrets(lines[0].removeprefix("ERROR:").strip())
    return f"The database of connection '{connection.name}' answered: {first.rstrip('.')}."
