"""Which operators there are, without importing anyone's code: for the command line, which checks before it enqueues."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from halfstep.errors import InvalidTask
from halfstep_worker.operators.arguments import check_arguments
from halfstep_worker.operators.base import Operator, OperatorSettings
from halfstep_worker.operators.bash import BashOperator
from halfstep_worker.operators.http import HttpOperator
from halfstep_worker.operators.pod import NEEDS_POD, PodOperator, checked_settings
from halfstep_worker.operators.python import PythonOperator
from halfstep_worker.operators.script import ScriptOperator
from halfstep_worker.operators.sql import SqlOperator

GROUP = "halfstep.operators"


def builtin_operators(settings: OperatorSettings) -> dict[str, Operator]:
    """The operators that come with halfstep, by name."""
    sql = SqlOperator(settings)
    operators: list[Operator] = [
        BashOperator(settings),
        HttpOperator(settings),
        PodOperator(),
        PythonOperator(settings),
        ScriptOperator(settings, sql),
        sql,
    ]
    return {operator.name: operator for operator in operators}


def installed_operators() -> list[EntryPoint]:
    """The entry points of installed packages, in a fixed order; nothing is imported."""
    return sorted(entry_points(group=GROUP), key=lambda point: (point.name, distribution_of(point)))


def distribution_of(point: EntryPoint) -> str:
    """The name of the package that an entry point comes from."""
    return point.dist.name if point.dist else "an unknown package"


def known_operators() -> list[str]:
    """The names of all operators installed here, sorted."""
    return sorted({*_BUILTINS, *(point.name for point in installed_operators())})


def check_args(operator: str, args: dict[str, Any], *, placement: str | None = None) -> None:
    """InvalidTask if the operator is unknown here or its args can never work. Of others' operators, only the name is checked.

    With placement "pod", the args of other operators than `pod` may hold settings of their pod under the key `pod`. Without a
    placement, whether operator and placement fit is left to the worker.
    """
    if placement == "worker" and operator == "pod":
        raise InvalidTask(NEEDS_POD)
    if placement == "pod" and operator != "pod":
        args = checked_settings(args)
    if operator in _BUILTINS:
        _BUILTINS[operator].check(args)
    elif operator not in known_operators():
        raise InvalidTask(f"There is no operator '{operator}' here; known: {', '.join(known_operators())}.")
    elif not isinstance(args, dict):
        check_arguments(operator, (), args)


# For checks only, which need no settings.
_BUILTINS = builtin_operators(OperatorSettings())
