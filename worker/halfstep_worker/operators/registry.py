"""The operators of one worker: loaded once in the zygote, run in its children."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any

from halfstep.errors import InvalidSettings, InvalidTask
from halfstep_worker.children import home
from halfstep_worker.operators.base import Operator, OperatorSettings
from halfstep_worker.operators.discovery import builtin_operators, distribution_of, installed_operators

_LOG = logging.getLogger("halfstep")


class Registry:
    """Operators by name, and `problems`: for each that could not be loaded, a sentence that says why."""

    def __init__(self, operators: Mapping[str, Operator], problems: Mapping[str, str]) -> None:
        self._operators = dict(operators)
        self.problems = dict(problems)

    def names(self) -> list[str]:
        """The operators that can run, sorted."""
        return sorted(self._operators)

    def check(self, operator: str, args: dict[str, Any]) -> None:
        """InvalidTask: unknown operator, or args that can never work."""
        self._of(operator).check(args)

    def run(self, operator: str, args: dict[str, Any]) -> object:
        """Check, then run; the body's JSON value. InvalidTask: no retry can help."""
        found = self._of(operator)
        found.check(args)
        return found.run(args)

    def _of(self, operator: str) -> Operator:
        found = self._operators.get(operator)
        if found is None:
            unknown = f"There is no operator '{operator}' on this worker; known: {', '.join(self.names())}."
            raise InvalidTask(self.problems.get(operator, unknown))
        return found


def load(settings: Mapping[str, Any]) -> Registry:
    """For the zygote: puts the source folder first on `sys.path`, imports the named modules, makes all operators.

    `settings` has the fields of `OperatorSettings` as keys. InvalidSettings: no such folder, or a module can't be imported.
    An installed operator that can't be loaded is one of the registry's problems, and the others work.
    """
    home.remember()
    read = OperatorSettings.read(settings)
    if read.source is not None and sys.path[:1] != [str(read.source)]:
        sys.path.insert(0, str(read.source))
    for module in read.imports:
        _import(module)
    operators, problems = builtin_operators(read), {}
    for point in installed_operators():
        try:
            operators[point.name] = _installed(point, operators, settings)
        except InvalidSettings as error:
            problem = problems[point.name] = str(error)
            _LOG.warning("%s", problem)
    return Registry(operators, problems)


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:
        raise InvalidSettings(f"Module '{module}' could not be imported: {type(error).__name__}: {error}.") from error


def _installed(point: EntryPoint, taken: Mapping[str, Operator], settings: Mapping[str, Any]) -> Operator:
    """The operator of an entry point; InvalidSettings names the package that it comes from."""
    title = f"Operator '{point.name}' of package '{distribution_of(point)}'"
    if point.name in taken:
        raise InvalidSettings(f"{title} was not loaded: there is another operator of that name.")
    try:
        operator = _made(point.load(), settings)
    except Exception as error:
        raise InvalidSettings(f"{title} could not be loaded: {type(error).__name__}: {error}.") from error
    if getattr(operator, "name", None) != point.name or not _works(operator):
        raise InvalidSettings(f"{title} was not loaded: it needs name = '{point.name}', check(args) and run(args).")
    return operator


def _made(factory: Any, settings: Mapping[str, Any]) -> Operator:
    """A class or function without parameters, or with one that takes the settings."""
    parameters = inspect.signature(factory).parameters.values()
    wants_settings = any(parameter.default is parameter.empty and parameter.kind <= 1 for parameter in parameters)
    made: Operator = factory(settings) if wants_settings else factory()
    return made


def _works(operator: object) -> bool:
    return callable(getattr(operator, "check", None)) and callable(getattr(operator, "run", None))
