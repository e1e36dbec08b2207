"""The command `halfstep demo`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from halfstep.errors import Conflict
from halfstep.visible import visible_line
from halfstep_cli.demo.display import display_for
from halfstep_cli.demo.files import standard_library, users_files
from halfstep_cli.demo.play import Outcome, play
from halfstep_cli.demo.report import print_report
from halfstep_cli.embedded import locks
from halfstep_cli.errors import ExitCode
from halfstep_cli.session import Session, default_data_dir
from halfstep_cli.station import open_station

_FILES = "Analyse the Python files below this folder. Default: the standard library of this Python."
Files = Annotated[Path | None, typer.Option(metavar="DIR", help=_FILES)]
_DATA = "Folder of the demo's own database. Default: ~/.local/share/halfstep/demo."
Data = Annotated[Path | None, typer.Option(metavar="DIR", help=_DATA)]


def demo(session: Session, files: Files = None, data: Data = None) -> int:
    """See it run: some hundred tasks on real files, with a database and workers of the demo's own."""
    console = Console()
    source = users_files(files) if files else standard_library()
    words = f"One task for each of {len(source.files)} Python files in {source.folder}"
    console.print(visible_line(words), highlight=False, soft_wrap=True, markup=False)
    if source.skipped:
        console.print(f"(left out: {source.skipped} files whose names are not UTF-8)")
    folder = (data or default_data_dir(session.environment) / "demo").absolute()
    with only_one(folder), open_station(folder) as station:
        outcome = play(station, source, display_for(console))
    return finish(console, folder, outcome)


def finish(console: Console, folder: Path, outcome: Outcome) -> int:
    """Prints the report and returns the exit code."""
    if not outcome.finished:
        console.print("Interrupted; the workers and the database have stopped.")
        return ExitCode.INTERRUPTED
    print_report(console, folder, outcome)
    return ExitCode.NO if outcome.failed else ExitCode.FINE


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """One demo at a time in a folder. Raises Conflict."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = locks.exclusive(folder / "demo.lock")
    if lock is None:
        raise Conflict(f"Another demo runs in {folder}; wait for it, or choose another folder: halfstep demo --data DIR.")
    try:
        yield
    finally:
        locks.release(lock)
