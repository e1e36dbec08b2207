"""Operator `python`: a function registered with @task, or any function of an allow-listed package."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from halfstep.errors import InvalidTask
from halfstep.registry import check_call, registered
from halfstep_worker.operators.arguments import Argument, check_arguments
from halfstep_worker.operators.base import OperatorFailed, OperatorSettings

ARGUMENTS = (
    Argument("function", (str,), required=True),
    Argument("args", (list,), default=[]),
    Argument("kwargs", (dict,), default={}),
)


class PythonOperator:
    """Calls a Python function with JSON arguments; its JSON value is the result."""

    name = "python"

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._found: dict[str, Callable[..., object]] = {}

    def check(self, args: dict[str, Any], /) -> None:
        """InvalidTask for wrong args; whether the function exists is known only where user code is."""
        check_arguments(self.name, ARGUMENTS, args)

    def run(self, args: dict[str, Any], /) -> object:
        """What the function returns. InvalidTask: it is not allowed, not found, or can't be called like this."""
        name, positional, named = args["function"], args.get("args") or [], args.get("kwargs") or {}
        function = self._found.get(name) or self._find(name)
        check_call(function, name=name, args=positional, kwargs=named)
        try:
            return function(*positional, **named)
        except InvalidTask as error:  # of the body's own making, say from enqueue(): this task's input was fine
            raise OperatorFailed(f"InvalidTask: {error}") from error

    def _find(self, name: str) -> Callable[..., object]:
        module, _, qualname = name.partition(":") if ":" in name else name.rpartition(".")
        function = self._registered(name, module, qualname) or self._allowed(name, module, qualname)
        if function is None:
            raise InvalidTask(
                f"Function '{name}' is not registered with @task and its package is not allowed; "
                "register it in a module of the source folder, or allow its package on the worker."
            )
        if inspect.iscoroutinefunction(function):
            raise InvalidTask(f"Function '{name}' is async; call asyncio.run() in a plain function.")
        self._found[name] = function
        return function

    def _registered(self, name: str, module: str, qualname: str) -> Callable[..., object] | None:
        wanted = f"{module}:{qualname}"
        if not {name, wanted} & registered.keys() and _lies_in(self._settings.source, module):
            importlib.import_module(module)
        found = registered.get(name) or registered.get(wanted)
        return found.__wrapped__ if found else None

    def _allowed(self, name: str, module: str, qualname: str) -> Callable[..., object] | None:
        if not self._allows(module):
            return None
        found = None if _is_private(module) else _public(_imported(name, module), qualname)
        if not callable(found) or isinstance(found, type) or not self._allows(getattr(found, "__module__", None) or ""):
            raise InvalidTask(f"There is no public function '{qualname}' defined in module '{module}'.")
        return found

    def _allows(self, module: str) -> bool:
        return any(is_under(module, package) for package in self._settings.allow)


def is_under(module: str, package: str) -> bool:
    """Whether a dotted module name is the package or lies in it: `a.b` lies in `a`, `ab` does not."""
    return module == package or module.startswith(package + ".")


def _imported(name: str, module: str) -> ModuleType:
    """The module; InvalidTask if it does not exist. An error inside it is raised as it is."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and is_under(module, error.name):
            raise InvalidTask(f"Function '{name}' can't be found: there is no module '{error.name}'.") from None
        raise


def _public(module: ModuleType, qualname: str) -> object:
    """The attribute, walking through the module's own classes only; None if there is none, or a name is private."""
    found: object = None if _is_private(qualname) else module
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
