"""How commands are written: plain functions whose parameters say what they need.

A parameter of type `Session` gets the global options, one of type `typer.Context` typer's context; one whose type is
a dataclass becomes an option for each of its fields; all others are typer's. `add` makes a command of such a function,
with its examples in the help.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

from halfstep_cli.errors import report
from halfstep_cli.session import Session

LARGEST_ID = 2**63 - 1

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TaskId = Annotated[int, typer.Argument(metavar="ID", min=1, max=LARGEST_ID, help="The task's id.", show_default=False)]
TaskIds = Annotated[list[int], typer.Argument(metavar="ID…", min=1, max=LARGEST_ID, help="The tasks' ids.", show_default=False)]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.", show_default=False)]

Command = Callable[..., Any]

_FROM_CONTEXT = (Session, typer.Context)


def add(app: typer.Typer, name: str, function: Command, *, examples: Sequence[str]) -> None:
    """Makes `function` the command `name`; its docstring and the examples are the help, its first line the summary."""
    said = inspect.cleandoc(function.__doc__ or "")
    lines = "\n".join(f"  {example}" for example in examples)
    app.command(name, help=f"{said}\n\n\b\nExamples:\n{lines}", short_help=said.partition("\n")[0])(spread(function))


def spread(function: Command) -> Command:
    """The same function as typer wants it: every option a parameter, keyword-only. It may return an exit code."""
    hints = get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    groups = {name: kind for name, kind in hints.items() if kind is not Session and is_dataclass(kind)}

    def called(ctx: typer.Context, **values: Any) -> Any:
        context = {Session: ctx.obj, typer.Context: ctx}
        given = {name: context[kind] for name, kind in hints.items() if kind in _FROM_CONTEXT}
        taken = {name: _gathered(kind, values) for name, kind in groups.items()}
        try:
            return function(**given, **taken, **values)
        except BrokenPipeError as error:
            return report(error)  # here, as typer has a code of its own for it

    parameters = [parameter for known in inspect.signature(function).parameters.values() for parameter in _spread(known, hints)]
    parameters.insert(0, _parameter("ctx", typer.Context))
    called.__name__, called.__doc__ = function.__name__, function.__doc__
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _spread(known: inspect.Parameter, hints: dict[str, Any]) -> list[inspect.Parameter]:
    kind = hints[known.name]
    if kind in _FROM_CONTEXT:
        return []
    if is_dataclass(kind):
        within = get_type_hints(kind, include_extras=True)
        return [_parameter(field.name, within[field.name], field.default) for field in fields(kind)]
    return [_parameter(known.name, kind, known.default)]


def _parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def _gathered(kind: Any, values: dict[str, Any]) -> Any:
    return kind(**{field.name: values.pop(field.name) for field in fields(kind)})


@dataclass(frozen=True, slots=True)
class Globals:
    """What stands before the command."""

    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The queue's database. Default: HALFSTEP_DATABASE_URL, else that of a running `halfstep up`.",
            show_default=False,
        ),
    ] = None
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False
