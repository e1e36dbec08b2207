"""Operator `script`: a file of the source folder, as it lies there. No packaging."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from halfstep.errors import InvalidTask, Missing
from halfstep_worker.children.home import home
from halfstep_worker.operators.arguments import Argument, check_arguments, with_defaults
from halfstep_worker.operators.base import OperatorSettings
from halfstep_worker.operators.last_line import LastLine
from halfstep_worker.operators.programs import run_program
from halfstep_worker.operators.source import check_relative, locate
from halfstep_worker.operators.sql import SqlOperator
from halfstep_worker.operators.starting import Program

ARGUMENTS = (
    Argument("path", (str,), required=True),
    Argument("parameters", (dict, list), default={}),
    Argument("connection", (str,)),
)
_PROGRAMS = {".py": ("python", [sys.executable]), ".sh": ("bash", ["bash"]), ".R": ("Rscript", ["Rscript"])}
_KINDS = ".py, .sh, .R and .sql"
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_CONNECTION_COMMENT = re.compile(r"\s*--\s*connection:\s*(\S+)\s*$")


class ScriptOperator:
    """Runs a .py, .sh or .R file as a program, or the statements of a .sql file on a named connection."""

    name = "script"

    def __init__(self, settings: OperatorSettings, sql: SqlOperator) -> None:
        self._settings = settings
        self._sql = sql

    def check(self, args: dict[str, Any], /) -> None:
        """InvalidTask for wrong args, a path that leads out of the source folder, or an unknown kind of file."""
        check_arguments(self.name, ARGUMENTS, args)
        check_relative(args["path"])
        suffix = PurePosixPath(args["path"]).suffix
        if suffix != ".sql" and suffix not in _PROGRAMS:
            raise InvalidTask(f"Script {args['path']!r} is of no known kind; known: {_KINDS}.")
        if suffix != ".sql" and args.get("connection") is not None:
            raise InvalidTask("Argument 'connection' of operator 'script' is for .sql files only.")
        if suffix != ".sql" and isinstance(args.get("parameters"), dict):
            _check_names(args["parameters"])

    def run(self, args: dict[str, Any], /) -> object:
        """The script's result: see docs/reference/operators.md. OperatorFailed: it exited with another code than 0."""
        given = with_defaults(ARGUMENTS, args)
        file = locate(self._settings.source, given["path"])
        if PurePosixPath(given["path"]).suffix == ".sql":
            return self._run_sql(file, given)
        program = self._program(PurePosixPath(given["path"]).suffix, file, given["parameters"])
        return self._result(run_program(program, keep=self._settings.result_bytes))

    def _program(self, suffix: str, file: Path, parameters: dict[str, Any] | list[Any]) -> Program:
        name, command = _PROGRAMS[suffix]
        modules = os.pathsep.join(filter(None, (str(self._settings.source), home().environment.get("PYTHONPATH"))))
        env = {"HALFSTEP_PARAMETERS": json.dumps(parameters), "PYTHONUNBUFFERED": "1", "PYTHONPATH": modules}
        return Program(name, [*command, str(file), *_as_arguments(parameters)], self._settings.source, env)

    def _run_sql(self, file: Path, given: dict[str, Any]) -> object:
        statement = _read(file)
        connection = given["connection"] or _connection_of(statement)
        if connection is None:
            raise InvalidTask(
                f"Script {given['path']!r} names no connection; give the argument 'connection', "
                "or let the file begin with the line `-- connection: NAME`."
            )
        args = {"connection": connection, "statement": statement, "parameters": given["parameters"]}
        self._sql.check(args)
        return self._sql.run(args)

    def _result(self, last: LastLine) -> object:
        """The last line if it is a JSON object or list; whether it is storable JSON is checked with all results."""
        if last.text[:1] not in ("{", "["):
            return {"exit_code": 0}
        if last.is_cut:
            raise self._settings.too_large("print less, or write it to a file or table")
        try:
            return json.loads(last.text)
        except (ValueError, RecursionError):
            return {"exit_code": 0}


def _check_names(parameters: Mapping[str, Any]) -> None:
    for name in parameters:
        if not _PARAMETER.fullmatch(name):
            raise InvalidTask(f"{name!r} is no name for a script's parameter: letters, digits, `_`, `-` and `.` only.")


def _as_arguments(parameters: dict[str, Any] | list[Any]) -> list[str]:
    if isinstance(parameters, list):
        return [_as_text(value) for value in parameters]
    return [word for name, value in parameters.items() for word in (f"--{name}", _as_text(value))]


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidTask(f"Script {file.name!r} is not UTF-8 text.") from None
    except FileNotFoundError:  # replaced at this moment
        raise Missing(f"There is no file {file.name!r} in the source folder.") from None


def _connection_of(statement: str) -> str | None:
    first, _, _ = statement.partition("\n")
    found = _CONNECTION_COMMENT.match(first)
    return found[1] if found else None
