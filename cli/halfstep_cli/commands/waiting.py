"""Waiting for tasks to end, for `enqueue --wait`: polls the states, shows progress, tells what failed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from halfstep_cli.errors import ExitCode
from halfstep_cli.output import is_terminal, note, plain

if TYPE_CHECKING:
    from halfstep.reports import Reports

SHORTEST, LONGEST = 0.02, 0.5
BATCH = 5_000
"""Tasks that one poll asks about."""
TOLD = 20
"""Failures that are told one by one."""
PATIENCE = 3.0
"""Seconds without any end after which it is said why the first task waits."""
LIVE = ("scheduled", "ready", "running")


class Display(Protocol):
    """Shows how far it is."""

    def __call__(self, ended: int, /) -> None: ...


@dataclass(slots=True)
class Watch:
    """What is known of the tasks."""

    waiting: list[int]
    ended: dict[int, str] = field(default_factory=dict)

    def look(self, reports: Reports) -> bool:
        """One poll; whether any more have ended. A task that is nowhere any more counts as ended: gone."""
        batch = self.waiting[:BATCH]
        states = dict.fromkeys(batch, "gone") | reports.states(batch)
        done = {task: state for task, state in states.items() if state not in LIVE}
        self.ended.update(done)
        self.waiting = [task for task in self.waiting if task not in done]
        return bool(done)

    @property
    def unsuccessful(self) -> list[int]:
        """Those that ended otherwise than well, by id."""
        return sorted(task for task, state in self.ended.items() if state != "succeeded")


def wait_for(reports: Reports, tasks: Sequence[int]) -> ExitCode:
    """Returns when all have ended: FINE if all succeeded, else NO, with the others' errors on stderr."""
    watch = Watch(sorted(set(tasks)))
    with _display(len(watch.waiting)) as show:
        _poll(reports, watch, show)
    _tell(reports, watch)
    return ExitCode.NO if watch.unsuccessful else ExitCode.FINE


def _poll(reports: Reports, watch: Watch, show: Display) -> None:
    pause, moved, told = SHORTEST, time.monotonic(), False
    while watch.look(reports) or watch.waiting:
        show(len(watch.ended))
        if not watch.waiting:
            return
        if not told and time.monotonic() - moved > PATIENCE and not watch.ended:
            told = _tell_why(reports, watch.waiting[0])
        threading.Event().wait(pause)
        pause = min(LONGEST, pause * 1.5)


def _tell_why(reports: Reports, task: int) -> bool:
    why = reports.show(task)["why"]
    if why and not why.startswith("running on "):
        note(f"Task {task}: {why.rstrip('.')}.")
    return True


def _tell(reports: Reports, watch: Watch) -> None:
    for task in watch.unsuccessful[:TOLD]:
        state = watch.ended[task]
        error = None if state == "gone" else reports.show(task)["error"]
        note(f"Task {task} {state}: {plain(error)}" if error else f"Task {task} {state}.")
    if len(watch.unsuccessful) > TOLD:
        note(f"… and {len(watch.unsuccessful) - TOLD} more; see: halfstep tasks --state failed")


def _display(total: int) -> AbstractContextManager[Display]:
    return _Bar(total) if is_terminal(sys.stderr) else nullcontext(lambda ended: None)


class _Bar:
    """A progress bar on stderr."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("tasks", total=total)

    def __enter__(self) -> Display:
        self._progress.start()
        return self.show

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, ended: int) -> None:
        """So many have ended."""
        self._progress.update(self._task, completed=ended)
