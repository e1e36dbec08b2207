"""The commands `halfstep bench drain` and `halfstep bench latency`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from halfstep_cli.bench.ground import Team
from halfstep_cli.embedded import discard
from halfstep_cli.options import Json, add
from halfstep_cli.session import URL, Session
from halfstep_cli.station import open_station

WORDS = {
    "tasks": "tasks",
    "seconds": "seconds",
    "tasks_per_second": "tasks/s",
    "bare_tasks_per_second": "tasks/s of the exchange statement alone",
    "lost": "lost",
    "repeated": "run more than once",
    "p50_ms": "ms, median",
    "p95_ms": "ms, 95 of 100",
    "p99_ms": "ms, 99 of 100",
    "max_ms": "ms, longest",
}

Tasks = Annotated[int, typer.Option(metavar="N", min=1, max=5_000_000, help="How many tasks.")]
NoNotify = Annotated[bool, typer.Option("--no-notify", help="Workers hear no notifications and only poll.")]


@dataclass(frozen=True, slots=True)
class TeamOptions:
    """Which workers."""

    workers: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="How many workers.")] = 2
    slots: Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Bodies that a worker runs at once.")] = 1


def group() -> typer.Typer:
    """`bench` and its commands."""
    words = "Measure this machine. The tasks stay in history until retention takes them."
    app = typer.Typer(name="bench", help=words, no_args_is_help=True)
    add(app, "drain", drain, examples=["halfstep bench drain --tasks 100000", "halfstep bench drain --slots 4 --json"])
    add(app, "latency", latency, examples=["halfstep bench latency --tasks 500", "halfstep bench latency --tasks 20 --no-notify"])
    return app


def drain(session: Session, team: TeamOptions, tasks: Tasks = 20_000, as_json: Json = False) -> None:
    """How many no-op tasks a second are taken, run in a child process and finished; beside it, the exchange statement alone."""
    from halfstep_cli.bench.drain import drain as measure

    with database(session) as url:
        _print(asdict(measure(url, tasks, Team(team.workers, team.slots), _say)), as_json)


def latency(session: Session, tasks: Tasks = 500, no_notify: NoNotify = False, as_json: Json = False) -> None:
    """How soon a single task starts on an idle worker."""
    from halfstep_cli.bench.latency import latency as measure

    with database(session) as url:
        _say(f"{tasks} tasks, one after the other …")
        _print(asdict(measure(url, tasks, Team(workers=1, slots=1, notify=not no_notify))), as_json)


@contextmanager
def database(session: Session) -> Iterator[str]:
    """The URL of the database that was named, or of an embedded one that is thrown away afterwards."""
    named = session.database or session.environment.get(URL)
    if named:
        yield named
        return
    with temporary_database(_say) as url:
        yield url


@contextmanager
def temporary_database(say: Any) -> Iterator[str]:
    """The URL of an embedded database, migrated, that is thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="halfstep-bench-") as top:
        say("No database was named: a temporary one is made.")
        folder = Path(top) / "data"
        Path(top).chmod(0o711)  # as root the server runs as another user, who has to pass
        try:
            with open_station(folder) as station:
                yield station.url
        finally:
            discard(folder)


def _print(figures: dict[str, float], as_json: bool) -> None:
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    if as_json:
        typer.echo(json.dumps(rounded))
        return
    for name, value in rounded.items():
        typer.echo(f"{value:>12,}  {WORDS[name]}")


def _say(words: str) -> None:
    typer.echo(words, err=True)
