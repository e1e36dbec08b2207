"""Operator `bash`: a shell command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from halfstep.errors import InvalidTask
from halfstep.limits import LOG_LINE_BYTES
from halfstep_worker.operators.arguments import Argument, check_arguments, check_strings, with_defaults
from halfstep_worker.operators.base import OperatorSettings
from halfstep_worker.operators.programs import run_program
from halfstep_worker.operators.source import check_relative, locate
from halfstep_worker.operators.starting import Program

ARGUMENTS = (
    Argument("command", (str,), required=True),
    Argument("env", (dict,), default={}),
    Argument("cwd", (str,), default="."),
)


class BashOperator:
    """Runs `bash -c command`. The result is the exit code, always 0, and the last line of stdout."""

    name = "bash"

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings

    def check(self, args: dict[str, Any], /) -> None:
        """InvalidTask for wrong args."""
        check_arguments(self.name, ARGUMENTS, args)
        check_environment(self.name, args.get("env") or {})
        check_relative(args.get("cwd") or ".")

    def run(self, args: dict[str, Any], /) -> object:
        """OperatorFailed: bash ended with another code than 0, or by a signal."""
        given = with_defaults(ARGUMENTS, args)
        program = Program("bash", ["bash", "-c", given["command"]], self._folder(given["cwd"]), given["env"])
        last = run_program(program, keep=LOG_LINE_BYTES)
        return {"exit_code": 0, "last_line": last.text}

    def _folder(self, cwd: str) -> Path | None:
        if cwd == "." and self._settings.source is None:
            return None
        return locate(self._settings.source, cwd, folder=True)


def check_environment(operator: str, env: dict[str, Any]) -> None:
    """InvalidTask unless `env` maps names to strings."""
    check_strings(operator, "env", env)
    for name in env:
        if not name or "=" in name:
            raise InvalidTask(f"{name!r} in argument 'env' of operator '{operator}' is no name for a variable.")
