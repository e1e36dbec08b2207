"""`logs`: what a task's body printed, also while it runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halfstep.errors import NotFound
from halfstep.visible import visible
from halfstep_cli.options import TaskId, add
from halfstep_cli.output import note, plain, show_json_line
from halfstep_cli.session import Session

if TYPE_CHECKING:
    from halfstep.reports import Reports

POLL_SECONDS = 0.5
LIVE = ("scheduled", "ready", "running")

Line = dict[str, Any]
Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Which lines, and how."""

    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False
    attempt: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only this attempt. Default: all.")] = None
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Begin each line with its time and stream.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line: attempt, at, stream, text.")] = False
    raw: Annotated[bool, typer.Option("--raw", help="On a terminal, pass on what would steer it, as colours do.")] = False


def logs(session: Session, task: TaskId, options: LogOptions) -> None:
    """Print what a task wrote.

    To stdout and stderr, in the order in which the worker read it. A line that is not ended yet is shown as far as it goes.
    On a terminal, what would steer it is made visible; into a pipe or file all goes as it was written.
    """
    with session.open() as database:
        from halfstep.reports import Reports

        reader = Reader(Reports(database), task, options.attempt)
        with closing(Printer(options)) as printer:
            for line in reader.follow() if options.follow else reader.read():
                printer.print(line)


class Reader:
    """Reads one task's log from where it stopped reading. `attempt` None: of all attempts."""

    def __init__(self, reports: Reports, task: int, attempt: int | None = None) -> None:
        self._reports = reports
        self._task = task
        self._attempt = attempt
        self._position: Position = (attempt or 0, -1)

    def read(self) -> Iterator[Line]:
        """The lines there are. Raises NotFound for a task or an attempt that is not there."""
        self._look()
        yield from self._lines()

    def follow(self) -> Iterator[Line]:
        """The lines there are and those that come, until the task or the chosen attempt has ended."""
        while True:
            ended = self._look()  # before reading: what is written before an end is read after it
            yield from self._lines()
            if ended:
                return
            threading.Event().wait(POLL_SECONDS)

    def _lines(self) -> Iterator[Line]:
        before = None
        while before != self._position:
            before = self._position
            for position, line in self._reports.log(self._task, after=before):
                if self._attempt is not None and position[0] > self._attempt:
                    return
                self._position = position
                yield line

    def _look(self) -> bool:
        """Whether nothing more can come."""
        task = self._reports.show(self._task)
        live, number = task["state"] in LIVE, self._attempt
        if number is not None and number > task["attempt"] and not live:
            raise NotFound(f"Task {self._task} had {task['attempt']} attempts, so there is no attempt {number}.")
        return not live or (number is not None and task["attempt"] > number)


class Printer:
    """Prints lines as they were written: one that goes on is joined with the next of its stream, if nothing came between."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._as_it_is = options.raw or not sys.stdout.isatty()
        self._attempt = 0
        self._open: str | None = None  # the stream whose line stands there without its end

    def print(self, line: Line) -> None:
        """The next line."""
        if self._options.json:
            show_json_line(line | {"at": _moment(line["at"], UTC).isoformat()})
            return
        if line["attempt"] != self._attempt:
            self.close()
            self._attempt = line["attempt"]
            note(f"-- attempt {self._attempt}")
        if self._open != line["stream"]:
            self.close()
            self._begin(line)
        self._open = line["stream"] if line.get("goes_on") else None
        print(self._text(line), end="" if self._open else "\n", flush=self._options.follow)

    def _begin(self, line: Line) -> None:
        if self._options.timestamps:
            at = _moment(line["at"]).isoformat(sep=" ", timespec="milliseconds")
            print(at, plain(line["stream"]), end=" ")

    def _text(self, line: Line) -> str:
        return str(line["text"]) if self._as_it_is else visible(str(line["text"]), keep="\t")

    def close(self) -> None:
        """What was not ended ends here."""
        if self._open:
            self._open = None
            print(flush=self._options.follow)


def _moment(at: Any, zone: tzinfo | None = None) -> datetime:
    """The time of a line; the beginning of 1970 for what is none."""
    try:
        return datetime.fromtimestamp(at, UTC).astimezone(zone)
    except (TypeError, ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC).astimezone(zone)


def register(app: typer.Typer) -> None:
    """logs."""
    add(app, "logs", logs, examples=("halfstep logs 42", "halfstep logs 42 -f", "halfstep logs 42 --attempt 1 --timestamps"))
