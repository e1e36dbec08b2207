"""The operators of one worker: loaded once in the zygote, run in its children."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from halfstep.errors import InvalidSettings, InvalidTask, Missing
from halfstep_worker.children import home
from halfstep_worker.children.imports import Unforkable
from halfstep_worker.children.leftovers import Watch
from halfstep_worker.children.tracing import traced
from halfstep_worker.operators.base import Operator, OperatorFailed, OperatorSettings
from halfstep_worker.operators.discovery import builtin_operators, distribution_of, installed_operators
from halfstep_worker.operators.modules import import_user_module

Step = Callable[[], None]
_LOG = logging.getLogger("halfstep")


class Registry:
    """Operators by name, and `problems`: for each that could not be loaded, a sentence that says why.

    `arriving`: what each child has to import by itself, by its subject.
    """

    def __init__(self, operators: Mapping[str, Operator]) -> None:
        self._operators = dict(operators)
        self.problems: dict[str, str] = {}
        self.arriving: dict[str, Step] = {}

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

    def arrive(self) -> None:
        """In a new child: do the imports that were left to it. What fails is tried again, and told, by the tasks that need it."""
        for step in self.arriving.values():
            with suppress(BaseException):  # a child that can't do this can do other things
                step()

    def add(self, point: EntryPoint, settings: Mapping[str, Any]) -> None:
        """Make an installed operator; if that fails it is one of the problems, and the others work."""
        try:
            self._operators[point.name] = _installed(point, self._operators, settings)
            self.problems.pop(point.name, None)
        except InvalidSettings as error:
            problem = self.problems[point.name] = str(error)
            _LOG.warning("%s", problem)

    def _of(self, operator: str) -> Operator:
        found = self._operators.get(operator) or self._arrived(operator)
        if found is None:
            unknown = f"There is no operator '{operator}' on this worker; known: {', '.join(self.names())}."
            raise InvalidTask(self.problems.get(operator, unknown))
        return found

    def _arrived(self, operator: str) -> Operator | None:
        """One that could not be made when this child was new; OperatorFailed: nor can it be now."""
        step = self.arriving.get(f"Operator '{operator}'")
        if step is None:
            return None
        step()
        if operator in self.problems:
            raise OperatorFailed(self.problems[operator])
        return self._operators[operator]


def load(settings: Mapping[str, Any]) -> Registry:
    """For the zygote: puts the source folder first on `sys.path`, imports the named modules, makes all operators.

    `settings` has the fields of `OperatorSettings` as keys. Where children are to be forked it also has `apart`, subjects that
    each of them imports by itself, and `traced`, one whose fault is to be found. InvalidSettings: no such folder, or a module
    can't be imported. Unforkable: children can't be forked after this import. An installed operator that can't be loaded is one
    of the registry's problems, and the others work.
    """
    home.remember()
    read = OperatorSettings.read(settings)
    apart: Sequence[str] | None = settings.get("apart")
    if read.source is not None and sys.path[:1] != [str(read.source)]:
        sys.path.insert(0, str(read.source))
    registry = Registry(builtin_operators(read))
    watch = Watch() if apart is not None else None
    for subject, step in _steps(read, registry, settings):
        if apart and subject in apart:
            registry.arriving[subject] = step
        elif watch:
            _watched(subject, step, watch, trace=subject == settings.get("traced"))
        else:
            step()
    return registry


def _watched(subject: str, step: Step, watch: Watch, *, trace: bool) -> None:
    with traced(watch) if trace else nullcontext() as found:
        step()
    if left := watch.left():
        raise Unforkable(subject, left, owner=next(iter(found.owners), None) if found else None)


def _steps(read: OperatorSettings, registry: Registry, settings: Mapping[str, Any]) -> Iterator[tuple[str, Step]]:
    """What imports others' code, each with a name for people."""
    for module in read.imports:
        yield f"Module '{module}'", partial(_import, module, read.source)
    for point in installed_operators():
        yield f"Operator '{point.name}'", partial(registry.add, point, settings)


def _import(module: str, source: Path | None) -> None:
    try:
        import_user_module(module, source)
    except (Missing, OperatorFailed) as error:
        raise InvalidSettings(str(error)) from None


def _installed(point: EntryPoint, taken: Mapping[str, Operator], settings: Mapping[str, Any]) -> Operator:
    """The operator of an entry point; InvalidSettings names the package that it comes from."""
    title = f"Operator '{point.name}' of package '{distribution_of(point)}'"
    if point.name in taken:
        raise InvalidSettings(f"{title} was not loaded: there is another operator of that name.")
    try:
        operator = _made(point.load(), settings)
    except (Exception, SystemExit) as error:
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
