"""What the demo shows while it runs: a live panel on a terminal, a line every other second elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from halfstep_cli.board import counted
from halfstep_cli.controller import Status
from halfstep_cli.demo.director import Progress

LINE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A moment of the demo; `seconds` since its start."""

    seconds: float
    progress: Progress
    status: Status


class Display(Protocol):
    """Shows pictures, between enter and exit."""

    def show(self, picture: Picture, /) -> None: ...

    def __enter__(self) -> Display: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def display_for(console: Console) -> Display:
    """The display that suits where the output goes."""
    return LivePanel(console) if console.is_terminal else PlainLines(console)


class LivePanel:
    """Redrawn in place, by the caller's thread: workers must be started from a process with one thread."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def show(self, picture: Picture) -> None:
        """Redraws."""
        self._live.update(panel(picture), refresh=True)

    def __enter__(self) -> LivePanel:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()


class PlainLines:
    """A line when the stage or the number of workers changes, and every two seconds."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._next = 0.0
        self._last: tuple[str, int] = ("", -1)

    def show(self, picture: Picture) -> None:
        """Prints a line if it is time."""
        key = picture.progress.stage, picture.status.workers + picture.status.draining
        if key != self._last or self._clock() >= self._next:
            self._last, self._next = key, self._clock() + LINE_SECONDS
            self._console.print(line(picture), highlight=False, soft_wrap=True)

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


def line(picture: Picture) -> str:
    """The picture in one line."""
    progress, status = picture.progress, picture.status
    words = f"{picture.seconds:5.1f} s  {progress.stage} {progress.ended}/{progress.total}"
    words += f"  {status.waiting} waiting, {status.running} running, {counted(status.workers, 'worker')}"
    words += f" (+{status.draining} draining)" if status.draining else ""
    return words + f"  {progress.rate:.0f} tasks/s, median wait {shown(progress.waited)}, run {shown(progress.ran)}"


def panel(picture: Picture) -> RenderableType:
    """The picture as a panel."""
    progress, status = picture.progress, picture.status
    numbers = Table.grid(padding=(0, 3))
    numbers.add_row("depth", f"{status.waiting} waiting", f"{status.running} running")
    numbers.add_row("workers", Text("■ " * status.workers + "□ " * status.draining or "none", style="green"), "")
    numbers.add_row("rate", f"{progress.rate:.0f} tasks/s", "")
    numbers.add_row("latency", f"{shown(progress.waited)} waiting", f"{shown(progress.ran)} running (medians)")
    bar = ProgressBar(total=max(1, progress.total), completed=progress.ended, width=50)
    rows = Table.grid()
    for row in (Text(f"{progress.stage}: {progress.ended} of {progress.total} tasks"), bar, numbers):
        rows.add_row(row)
    return Panel(rows, title="halfstep demo", subtitle=f"{picture.seconds:.1f} s", width=66)


def shown(seconds: float) -> str:
    """A duration for people: `12 ms`, `3.4 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
