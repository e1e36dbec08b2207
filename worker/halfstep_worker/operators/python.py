"""Operator `python`: a function registered with @task, or any function of an allow-listed package."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from halfstep.context import NotAlone, running
from halfstep.errors import InvalidTask, Missing
from halfstep.registry import TaskFunction, check_call, registered
from halfstep_worker.operators.arguments import Argument, check_arguments
from halfstep_worker.operators.base import OperatorFailed, OperatorSettings
from halfstep_worker.operators.modules import import_user_module

ARGUMENTS = (
    Argument("function", (str,), required=True),
    Argument("args", (list,), default=[]),
    Argument("kwargs", (dict,), default={}),
)


class Found(NamedTuple):
    """A function that may be called. alone: it wants a process that has run nothing before."""

    function: Callable[..., object]
    alone: bool = False


class PythonOperator:
    """Calls a Python function with JSON arguments; its JSON value is the result."""

    name = "python"

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._found: dict[str, Found] = {}

    def check(self, args: dict[str, Any], /) -> None:
        """InvalidTask for wrong args; whether the function exists is known only where user code is."""
        check_arguments(self.name, ARGUMENTS, args)

    def run(self, args: dict[str, Any], /) -> object:
        """What the function returns.

        InvalidTask: it is not allowed, has a fault, or can't be called like this. Missing: it is not there, or not yet.
        OperatorFailed: its module could not be imported.
        """
        name, positional, named = args["function"], args.get("args") or [], args.get("kwargs") or {}
        function, alone = self._found.get(name) or self.find(name)
        if alone and (context := running()) and not context.link.alone():
            raise NotAlone
        try:
            return function(*positional, **named)
        except TypeError as error:
            if error.__traceback__ and not error.__traceback__.tb_next:  # raised by the call, not in the function
                check_call(function, name=name, args=positional, kwargs=named)
            raise
        except InvalidTask as error:  # of the body's own making, say from enqueue(): this task's input was fine
            raise OperatorFailed(f"InvalidTask: {error}") from error

    def find(self, name: str) -> Found:
        """The function of that name, its module imported if it may be. Raises as `run` does."""
        module, _, qualname = name.partition(":") if ":" in name else name.rpartition(".")
        found = self._registered(name, module, qualname) or self._allowed(name, module, qualname)
        if found is None:
            raise self._unknown(name, module)
        if inspect.iscoroutinefunction(found.function):
            raise InvalidTask(f"Function '{name}' is async; call asyncio.run() in a plain function.")
        self._found[name] = found
        return found

    def _registered(self, name: str, module: str, qualname: str) -> Found | None:
        wanted = f"{module}:{qualname}"
        if not {name, wanted} & registered.keys() and self._imports(module):
            import_user_module(module, self._settings.source)
        found = registered.get(name) or registered.get(wanted)
        return _checked(found) if found else None

    def _imports(self, module: str) -> bool:
        """Whether a task may have this module imported: its own functions are known only then."""
        return module in self._settings.imports or _lies_in(self._settings.source, module)

    def _allowed(self, name: str, module: str, qualname: str) -> Found | None:
        if not self._allows(module):
            return None
        hidden = _is_private(module) or _is_private(qualname)
        found = None if hidden else _public(_imported(name, module, self._settings.source), qualname)
        if not callable(found) or isinstance(found, type) or not self._allows(getattr(found, "__module__", None) or ""):
            kind = Missing if found is None and not hidden else InvalidTask
            raise kind(f"There is no public function '{qualname}' defined in module '{module}'.")
        return _checked(found) if isinstance(found, TaskFunction) else Found(found)

    def _unknown(self, name: str, module: str) -> InvalidTask:
        """A deploy may bring anything but functions of Python's own modules."""
        final = module.partition(".")[0] in sys.stdlib_module_names and not self._imports(module)
        return (InvalidTask if final else Missing)(
            f"Function '{name}' is not registered with @task and its package is not allowed; "
            "register it in a module of the source folder, or allow its package on the worker."
        )

    def _allows(self, module: str) -> bool:
        return any(is_under(module, package) for package in self._settings.allow)


def is_under(module: str, package: str) -> bool:
    """Whether a dotted module name is the package or lies in it: `a.b` lies in `a`, `ab` does not."""
    return module == package or module.startswith(package + ".")


def _checked(found: TaskFunction[..., Any]) -> Found:
    found.check()
    return Found(found.__wrapped__, alone=found.isolation == "fresh")


def _imported(name: str, module: str, source: Path | None) -> ModuleType:
    """The module; Missing if it does not exist, OperatorFailed for an error inside it."""
    try:
        return import_user_module(module, source)
    except Missing as error:
        missing = getattr(error.__cause__, "name", None)
        if isinstance(error.__cause__, ModuleNotFoundError) and missing and is_under(module, missing):
            raise Missing(f"Function '{name}' can't be found: there is no module '{missing}'.") from None
        raise


def _public(module: ModuleType, qualname: str) -> object:
    """The attribute, walking through the module's own classes only; None if there is none."""
    found: object = module
    for part in qualname.split("."):
        if not (found is module or isinstance(found, type)):
            return None
        found = getattr(found, part, None)
    return found


def _is_private(dotted: str) -> bool:
    return any(part.startswith("_") for part in dotted.split("."))


def _lies_in(source: Path | None, module: str) -> bool:
    """Whether importing `module` runs a file of the source folder (and not one that a link there leads out to)."""
    parts = module.split(".")
    if source is None or not all(part.isidentifier() for part in parts):
        return False
    place = source.joinpath(*parts)
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file.resolve().is_relative_to(source)
    return False
