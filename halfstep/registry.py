"""Functions that workers may call by name: the `@task` decorator and what it returns."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast, overload

from halfstep import producer
from halfstep.errors import InvalidTask
from halfstep.producer import Options

P = ParamSpec("P")
R = TypeVar("R")


class TaskFunction(Generic[P, R]):
    """A function under a name that workers know. Calling it runs it here; `enqueue` has a worker run it.

    `fault`: why it can't be a task, if so; then calls and enqueues of it are refused, and the rest of its module works.
    `isolation`: "fresh" if it wants a process of its own.
    """

    __wrapped__: Callable[P, R]
    __qualname__: str

    def __init__(
        self, function: Callable[P, R], *, name: str, options: Options, fault: str | None = None, isolation: str = "shared"
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self.options = options
        self.fault = fault
        self.isolation = isolation

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        self.check()
        return self.__wrapped__(*args, **kwargs)

    def check(self) -> None:
        """InvalidTask: the function has a fault."""
        if self.fault is not None:
            raise InvalidTask(self.fault)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # pickled by name, as functions are, so that multiprocessing works

    def with_options(self, **options: Unpack[Options]) -> TaskFunction[P, R]:
        """The same function, queued otherwise: `f.with_options(priority=9).enqueue(…)`. TypeError: unknown option."""
        merged = cast(Options, {**self.options, **_known(options)})
        return TaskFunction(self.__wrapped__, name=self.name, options=merged, fault=self.fault, isolation=self.isolation)

    def enqueue(self, *args: Any, connection: Any = None, **kwargs: Any) -> int:
        """Queue one call and return its task id.

        With a `connection` the task joins its transaction; without, HALFSTEP_DATABASE_URL is opened for it.
        A parameter of the function that is itself named `connection` can be passed by position only.
        InvalidTask: these arguments don't fit the function, or are not JSON; or the function has a fault.
        """
        self.check()
        if self.name.startswith("__main__:"):
            raise InvalidTask(
                f"Function '{self.name.removeprefix('__main__:')}' is written at a prompt, so no worker can find it; "
                "put it into a file of the workers' source folder."
            )
        check_call(self, name=self.name, args=args, kwargs=kwargs)
        call = {"function": self.name, "args": list(args), "kwargs": kwargs}
        return producer.enqueue(connection, "python", call, **self.options)


# Filled while modules are imported; read by the `python` operator.
registered: dict[str, TaskFunction[..., Any]] = {}


@overload
def task(function: Callable[P, R], /) -> TaskFunction[P, R]: ...


@overload
def task(
    *, name: str | None = None, isolation: str = "shared", **options: Unpack[Options]
) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...


def task(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    isolation: str = "shared",
    **options: Unpack[Options],
) -> TaskFunction[P, R] | Callable[[Callable[P, R]], TaskFunction[P, R]]:
    """Let workers call this function: `@task`, or `@task(queue="etl", timeout=60)`.

    `name` defaults to `module:qualname`. `isolation="fresh"` runs it first and last in a process of its own.
    A function that can't be a task (its name is taken by another one, it is async or
    nested, an option is unknown) is warned about where it is written, and refused when it is called or enqueued.
    """

    def decorate(function: Callable[P, R]) -> TaskFunction[P, R]:
        known = name or name_of(function)
        fault = _unknown(options) or _fault_of_isolation(isolation) or _fault_of(function, known, named=name is not None)
        return _register(TaskFunction(function, name=known, options=options, fault=fault, isolation=isolation))

    return decorate if function is None else decorate(function)


def name_of(function: Callable[..., object]) -> str:
    """`module:qualname`; a program's own functions count under its file's stem, as a worker imports it by that."""
    module = getattr(function, "__module__", None) or type(function).__module__
    qualname = getattr(function, "__qualname__", None) or type(function).__qualname__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None and spec.name != "__main__":  # python -m shop.jobs
            module = str(spec.name)
        elif file and not file.startswith("<"):  # as of stdin
            module = Path(file).stem
    return f"{module}:{qualname}"


def check_call(function: Callable[..., object], *, name: str, args: Any, kwargs: Mapping[str, Any]) -> None:
    """InvalidTask if `function(*args, **kwargs)` does not fit the function's signature."""
    try:
        signature = _signature(function)
    except (TypeError, ValueError):
        return  # something callable without a signature: the call itself will tell
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidTask(f"Function '{name}' can't be called with these arguments: {error}.") from None


@functools.lru_cache(maxsize=1024)
def _signature(function: Callable[..., object]) -> inspect.Signature:
    return inspect.signature(function)


def _fault_of_isolation(isolation: str) -> str | None:
    return None if isolation in ("shared", "fresh") else f"A task's isolation is 'shared' or 'fresh', not {isolation!r}."


def _fault_of(function: Callable[..., object], name: str, *, named: bool) -> str | None:
    if not callable(function) or not (named or hasattr(function, "__qualname__")):
        return f"What is registered as '{name}' is no function with a name; decorate one, or give it a name: @task(name=…)."
    if not named and "<" in function.__qualname__:
        return f"Function '{function.__qualname__}' is nested, so no worker can find it; move it to the module's top level."
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return f"Function '{name}' is async; tasks are plain functions: call asyncio.run() inside it."
    return None


def _register(added: TaskFunction[P, R]) -> TaskFunction[P, R]:
    """Two different functions of one name are both at fault: a worker could not tell which is meant."""
    known = registered.get(added.name)
    if known is not None and _place(known) != _place(added) and not added.name.startswith("__main__:"):
        twice = f"Two functions are registered as '{added.name}'; give one of them another name: @task(name=…)."
        added.fault = added.fault or twice
        known.fault = known.fault or twice
    registered[added.name] = added
    if added.fault is not None:
        warnings.warn(added.fault, RuntimeWarning, stacklevel=_outside())
    return added


def _outside() -> int:
    """The stack level, as `warnings.warn` in our caller counts it, of whoever wrote `@task`."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        level, frame = level + 1, frame.f_back
    return level - 1


def _place(function: TaskFunction[..., Any]) -> tuple[str, int] | int:
    """Where it is written: a file imported twice (as a program and as a module) declares the same function twice."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else id(function.__wrapped__)


def _known(options: Options) -> Options:
    if unknown := _unknown(options):
        raise TypeError(unknown)
    return options


def _unknown(options: Options) -> str | None:
    unknown = sorted(set(options) - set(Options.__annotations__))
    known = ", ".join(sorted(Options.__annotations__))
    return f"A task has no option '{unknown[0]}'; known: {known}." if unknown else None
