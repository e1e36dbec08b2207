"""`enqueue`: the door for people and shell scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from halfstep.errors import InvalidTask
from halfstep_cli.commands.arguments import read_args, read_labels
from halfstep_cli.commands.moments import read_delay, read_moment
from halfstep_cli.commands.waiting import wait_for
from halfstep_cli.commands.worker import words
from halfstep_cli.errors import ExitCode
from halfstep_cli.options import add
from halfstep_cli.session import Session

if TYPE_CHECKING:
    from halfstep.database import Database
    from halfstep.producer import NewTask, Options
    from halfstep_cli.known import KnownCode

SMALLINT, INTEGER = 1_000_000, 2**31 - 1

Operator = Annotated[
    str, typer.Argument(metavar="OPERATOR", help="bash, python, sql, http, script or yours.", show_default=False)
]
Args = Annotated[
    str,
    typer.Argument(metavar="ARGS_JSON", help="A JSON object; @FILE reads it from a file, - from stdin.", show_default=False),
]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What may be said of a task."""

    queue: Annotated[str | None, typer.Option("--queue", "-q", metavar="Q", help="Queue. Default: default.")] = None
    priority: Annotated[int | None, typer.Option(metavar="N", min=-INTEGER, max=INTEGER, help="Higher first. Default: 0.")] = None
    run_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Not before: ISO 8601 (your time zone if it names none), or +90s, +10m, +2h, +1d."),
    ] = None
    max_attempts: Annotated[int | None, typer.Option(metavar="N", help="Attempts if the body fails. Default: 3.")] = None
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="For one attempt. Default: none.")] = None
    unique_key: Annotated[str | None, typer.Option(metavar="KEY", help="At most one live task has this key.")] = None
    at_most_once: Annotated[bool, typer.Option("--at-most-once", help="Never start the body a second time.")] = False
    placement: Annotated[str | None, typer.Option(metavar="P", help="worker or pod. Default: worker; for operator pod: pod.")] = (
        None
    )
    cluster: Annotated[str | None, typer.Option(metavar="NAME", help="Which cluster the pod is for.")] = None
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Repeatable.")] = None

    def place(self, operator: str) -> str | None:
        """Where the task is to run; nothing: the default."""
        return self.placement or ("pod" if operator == "pod" else None)

    def as_options(self, operator: str, *, run_at: datetime | None) -> Options:
        """As the library takes them."""
        chosen = {
            "queue": self.queue,
            "priority": self.priority,
            "run_at": run_at,
            "max_attempts": self.max_attempts,
            "timeout": self.timeout,
            "unique_key": self.unique_key,
            "at_most_once": self.at_most_once,
            "placement": self.place(operator),
            "cluster": "" if self.cluster == "default" else self.cluster,
            "labels": read_labels(self.label) or None,
        }
        return cast("Options", {name: value for name, value in chosen.items() if value is not None})


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How this call goes about it."""

    count: Annotated[int, typer.Option(metavar="N", min=1, max=SMALLINT, help="How many of the same task.")] = 1
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 0 only if all succeeded.")] = False
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Don't check operator, args and function here.")] = False


@dataclass(frozen=True, slots=True)
class WorkersCode:
    """What workers are told of users' code, where whoever enqueues knows it; as the options of `halfstep worker`."""

    source: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="HALFSTEP_SOURCE", help="The workers' folder: look for the function there."),
    ] = None
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", envvar="HALFSTEP_IMPORT", help="A module that workers import."),
    ] = None
    allow: Annotated[
        list[str] | None, typer.Option(metavar="PACKAGE", envvar="HALFSTEP_ALLOW", help="A package that workers allow.")
    ] = None

    def known(self, session: Session) -> KnownCode:
        """What was said, or else what the `halfstep up` of the local database has told its workers."""
        from halfstep_cli.known import KnownCode

        imports, allow = words(self.imports), words(self.allow)
        told = KnownCode(str(self.source.absolute()) if self.source else None, imports, allow)
        return told if told.is_told else session.local_code()


def enqueue(session: Session, operator: Operator, args: Args, options: TaskOptions, call: CallOptions, code: WorkersCode) -> int:
    """Enqueue a task and print its id.

    What can be known here is checked here: the operator, its args, the times, and a function where the workers' code is known.
    """
    given = read_args(args)
    _check(operator, given, options, unchecked=call.unchecked)
    if operator == "python" and not call.unchecked and options.placement != "pod":
        _check_function(given["function"], code.known(session))
    with session.open() as database:
        # Before the ids are printed: Python ends a process by the signal, not with our exit code, if an interrupt met it
        # while it made a dataclass, as an import does; and whoever reads the ids may interrupt at once.
        from halfstep.reports import Reports

        task = _new_task(database, operator, given, options)
        ids = _enqueue(database, task, call.count)
        print("\n".join(map(str, ids)), flush=True)
        return wait_for(Reports(database), ids) if call.wait else ExitCode.FINE


def _check(operator: str, args: dict[str, Any], options: TaskOptions, *, unchecked: bool) -> None:
    """Refuses here what can be known here, before there is a connection."""
    read_labels(options.label)
    if options.run_at:
        read_moment(options.run_at, now=datetime.now().astimezone())
    if options.timeout is not None and not 0 < options.timeout <= 31_536_000:
        raise InvalidTask("The timeout must be more than 0 seconds and at most a year.")
    if not unchecked:
        from halfstep_worker.operators import check_args

        check_args(operator, args, placement=options.place(operator) or "worker")


def _check_function(function: str, known: KnownCode) -> None:
    if known.is_told:
        from halfstep_cli.known import check_function

        check_function(function, known)


def _new_task(database: Database, operator: str, args: Mapping[str, Any], options: TaskOptions) -> NewTask:
    from halfstep.producer import NewTask

    return NewTask(operator, args, options.as_options(operator, run_at=_run_at(database, options.run_at)))


def _run_at(database: Database, text: str | None) -> datetime | None:
    """A delay counts from the database's clock, as that is the one that makes the task due."""
    if not text:
        return None
    if read_delay(text) is None:
        return read_moment(text, now=datetime.now().astimezone())
    return read_moment(text, now=database.execute("SELECT clock_timestamp() AS now")[0]["now"])


def _enqueue(database: Database, task: NewTask, count: int) -> list[int]:
    from halfstep.producer import enqueue_many

    with database.transaction():
        return enqueue_many(database, [task] * count)


def register(app: typer.Typer) -> None:
    """enqueue."""
    examples = (
        """halfstep enqueue bash '{"command": "echo hello"}'""",
        """halfstep enqueue python '{"function": "shop.orders:check", "args": [42]}' --queue etl --wait""",
        """halfstep enqueue script @task.json --run-at +10m --max-attempts 5 --label team=ops""",
    )
    add(app, "enqueue", enqueue, examples=examples)
