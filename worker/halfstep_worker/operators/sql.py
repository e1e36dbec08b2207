"""Operator `sql`: statements on a named connection, in one session."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from halfstep.errors import InvalidTask
from halfstep_worker.operators.arguments import Argument, check_arguments, with_defaults
from halfstep_worker.operators.base import OperatorSettings
from halfstep_worker.operators.engines import Engines, interruptible
from halfstep_worker.operators.rows import rows_as_json
from halfstep_worker.operators.sql_errors import not_connected, refused
from halfstep_worker.operators.sql_text import SqlText, read_sql
from halfstep_worker.operators.sql_tokens import GRAMMARS, Grammar, grammar_of

ARGUMENTS = (
    Argument("connection", (str,), required=True),
    Argument("statement", (str,), required=True),
    Argument("parameters", (dict, list), default={}),
)
_COPY = re.compile(r"(?:^|;)\s*copy\b[^;]*\b(?:from|to)\s+(stdin|stdout)\b", re.IGNORECASE)
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
        texts = [read_sql(given["statement"], grammar) for grammar in self._grammars(given["connection"])]
        _check_any(texts, _sets(given["parameters"]))

    def run(self, args: dict[str, Any], /) -> object:
        """`{"rows": […]}` or `{"rows_affected": n}`.

        InvalidTask: no such connection. OperatorFailed: the database refused, in its own words but never with the URL.
        """
        given = with_defaults(ARGUMENTS, args)
        connection = self._settings.connection(given["connection"])
        engine, statement, sets = self._engines.of(connection), given["statement"], _sets(given["parameters"])
        text = read_sql(statement, grammar_of(engine.dialect.name))
        _check_parameters(text, sets)
        try:
            opened = engine.connect()
        except (SQLAlchemyError, UnicodeError, ValueError) as error:
            raise not_connected(connection, error) from None
        try:
            with opened as session, interruptible(), session.begin():
                return self._execute(session, text, sets)
        except (SQLAlchemyError, UnicodeError, ValueError) as error:
            raise refused(connection, error, statement=statement) from None

    def _grammars(self, name: str) -> Sequence[Grammar]:
        """That of the connection; where it is not known, as where a task is enqueued, any may be meant."""
        connection = self._settings.connections.get(name)
        return GRAMMARS if connection is None else [grammar_of(connection.parts.get_backend_name())]

    def _execute(self, session: sa.Connection, text: SqlText, sets: list[dict[str, Any]]) -> object:
        if session.dialect.name == "postgresql":
            session.execute(_NOTICE_DEATH)
        if len(sets) == 1 and _is_plain_read(text):
            # By a cursor of the server, so that a select of everything does not fill our memory before the limit is seen.
            session = session.execution_options(stream_results=True, max_row_buffer=100)
        result = session.execute(sa.text(text.template(sets[0])), sets if len(sets) > 1 else sets[0])
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


def _check_any(texts: Sequence[SqlText], sets: list[dict[str, Any]]) -> None:
    """InvalidTask, of the first text, if none of them fits."""
    refusals = []
    for text in texts:
        try:
            return _check_parameters(text, sets)
        except InvalidTask as error:
            refusals.append(error)
    raise refusals[0]


def _check_parameters(text: SqlText, sets: list[dict[str, Any]]) -> None:
    if found := _COPY.search(text.bare):
        other = "use INSERT, or COPY FROM a file or program of the server" if found[1].lower() == "stdin" else "use SELECT"
        raise InvalidTask(f"COPY with {found[1].upper()} needs a client that sends or takes the rows, and here is none; {other}.")
    for name in sorted(text.cast & sets[0].keys()):
        raise InvalidTask(f"Write CAST(:{name} AS …) instead of :{name}::…, which is ambiguous.")
    for values in sets:
        for name in sorted(text.wanted - values.keys()):
            raise InvalidTask(f"The statement has a parameter ':{name}' without a value; for a literal colon write '\\:{name}'.")
        for name in sorted((values.keys() - text.known) & text.colons):
            raise InvalidTask(
                f"':{name}' behind a value is the end of a slice or the value of a key; for a parameter write "
                f"': :{name}' there, or CAST(:{name} AS …) behind the name of a type."
            )
        for name in sorted(values.keys() - text.known):
            has = ", ".join(f":{known}" for known in sorted(text.known)) or "none"
            raise InvalidTask(f"The statement has no parameter ':{name}' outside of quotes and comments; it has {has}.")
        for name in sorted(sets[0].keys() - values.keys()):
            raise InvalidTask(f"The sets of parameters have different names: ':{name}' is not in each of them.")


def _is_plain_read(text: SqlText) -> bool:
    """Whether a server-side cursor can be declared for it: one statement that surely only reads. In doubt, no."""
    bare = text.bare.removesuffix(";")
    return bool(_READS.match(bare)) and not _WRITES.search(bare)
