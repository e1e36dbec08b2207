"""`halfstep up`: a database and as many local workers as the work needs, from none to as many as allowed and back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from halfstep.database import ConnectionSettings
from halfstep.demand import Bounds
from halfstep.errors import DatabaseUnavailable, InvalidSettings
from halfstep.ownership import TrustedDatabase
from halfstep.queue import Queue
from halfstep_cli.board import Board
from halfstep_cli.controller import COOLDOWN_SECONDS, STEP_SECONDS, Controller, QueueWork
from halfstep_cli.crew import Crew, WorkerSpec
from halfstep_cli.known import KnownCode
from halfstep_cli.options import add
from halfstep_cli.revival import Revival
from halfstep_cli.session import CODE, URL, Session, default_data_dir
from halfstep_cli.station import ANY_QUEUE, LIMITED, Station, open_station
from halfstep_cli.stopping import StopSignals

AWAY_SECONDS = 1.0
"""Between two tries while the database does not answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database is."""

    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the database and the workers' logs. Default: ~/.local/share/halfstep."),
    ] = None
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A database to use instead. Default: HALFSTEP_DATABASE_URL, unless --data is given."),
    ] = field(default=None, repr=False)

    def url(self, session: Session) -> str | None:
        """The database that was named; None: the embedded one."""
        named = self.database or session.database
        return named or (None if self.data else session.environment.get(URL)) or None

    def folder(self, session: Session) -> Path:
        """The data folder, absolute."""
        return (self.data or default_data_dir(session.environment)).absolute()


@dataclass(frozen=True, slots=True)
class Size:
    """How many workers."""

    workers: Annotated[int | None, typer.Option(metavar="N", help="At most so many workers. Default: one for each core.")] = None
    minimum: Annotated[int, typer.Option("--min", metavar="N", help="At least so many workers.")] = 0
    slots: Annotated[int, typer.Option(metavar="N", help="Bodies that a worker runs at once.")] = 2

    def bounds(self) -> Bounds:
        """Checked; as many workers as cores if no maximum is given. Raises InvalidSettings."""
        most = max(self.minimum, len(os.sched_getaffinity(0))) if self.workers is None else self.workers
        if self.slots < 1:
            raise InvalidSettings(f"--slots must be at least 1, not {self.slots}.")
        if most < 1 or not 0 <= self.minimum <= most:
            raise InvalidSettings(f"--workers must be at least 1 and --min between 0 and that, not {most} and {self.minimum}.")
        return Bounds(slots=self.slots, minimum=self.minimum, maximum=most)


@dataclass(frozen=True, slots=True)
class Served:
    """What the workers serve and know."""

    source: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of your scripts and modules.")] = None
    imports: Annotated[
        list[str] | None, typer.Option("--import", metavar="MODULE", help="Module with @task functions; may be repeated.")
    ] = None
    allow: Annotated[
        list[str] | None, typer.Option(metavar="PACKAGE", help="Package whose functions need no @task; may be repeated.")
    ] = None
    queues: Annotated[str | None, typer.Option(metavar="A,B", help="Serve only these queues.")] = None

    def spec(self, slots: int) -> WorkerSpec:
        """What the workers are told. Raises InvalidSettings if there is no such source folder."""
        if self.source is not None and not self.source.is_dir():
            raise InvalidSettings(f"The source folder {self.source} does not exist or is no folder.")
        source = self.source.absolute() if self.source else None
        return WorkerSpec("", slots, names_of(self.queues), source, self.imports or (), self.allow or ())


@dataclass(frozen=True, slots=True)
class Manner:
    """How it runs and shows itself."""

    exit_when_idle: Annotated[
        bool, typer.Option("--exit-when-idle", help="End once nothing waits and nothing runs; what is due later is left.")
    ] = False
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False


def register(app: typer.Typer) -> None:
    """Adds `up` to the command."""
    add(app, "up", up, examples=["halfstep up", "halfstep up --data ./data --workers 4 --source ./tasks"])


def up(session: Session, place: Place, size: Size, served: Served, manner: Manner) -> None:
    """Run tasks here: a database, and workers that come and go with the queue. Ctrl-C drains and stops."""
    bounds, spec = size.bounds(), served.spec(size.slots)
    board = Board(manner.as_json)
    with open_station(place.folder(session), place.url(session)) as station, StopSignals() as stop:
        board.started(station)
        with closing(TrustedDatabase(station.url, ConnectionSettings(LIMITED if spec.queues else ANY_QUEUE))) as database:
            crew = Crew(spec.at(station.url), station.worker_logs)
            controller = Controller(QueueWork(Queue(database), spec.queues), crew, bounds)
            with told(spec, station):
                keep_up(controller, crew, Watch(board, Revival(station)), Until(stop, manner.exit_when_idle))
    board.says("stopped", "Stopped.")


@contextmanager
def told(spec: WorkerSpec, station: Station) -> Iterator[None]:
    """Whoever enqueues to the local database may know what its workers know, as long as they are there."""
    code = KnownCode(str(spec.source) if spec.source else None, spec.imports, spec.allow)
    file = station.folder / CODE
    if not (station.embedded and code.is_told):
        yield
        return
    code.write(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Until:
    """When `up` ends: at a signal, or also when nothing is left to do."""

    stop: StopSignals
    idle: bool = False

    def reached(self, controller: Controller) -> bool:
        """Whether it is time."""
        return self.stop.asked or (self.idle and controller.idle_seconds > COOLDOWN_SECONDS)


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told what happens to the database, and who mends it."""

    board: Board
    revival: Revival

    def away(self, error: DatabaseUnavailable) -> float:
        """The database does not answer; how long to wait before the next step."""
        try:
            if self.revival.attempt():
                self.board.says("database_restarted", "PostgreSQL had ended; it was started again, and tasks go on.")
                return 0.0
        except DatabaseUnavailable as still:
            error = still
        self.board.says("database_away", f"{error} Trying again.")
        return AWAY_SECONDS


def keep_up(controller: Controller, crew: Crew, watch: Watch, until: Until) -> None:
    """The loop: a step of the controller now and then. Leaves no worker behind."""
    try:
        while not until.reached(controller):
            until.stop.wait(_step(controller, crew, watch))
    finally:
        if crew.pids:
            watch.board.says("leaving", "Draining the workers; a second signal stops them at once.")
        crew.leave(until.stop)


def _step(controller: Controller, crew: Crew, watch: Watch) -> float:
    """One step; how long to wait before the next. A database that is away may come back, and broken code may be mended."""
    try:
        status = controller.step()
    except DatabaseUnavailable as error:
        return watch.away(error)
    if crew.trouble:
        watch.board.says("workers_fail", crew.trouble)
    else:
        watch.board.status(status)
    return STEP_SECONDS


def names_of(queues: str | None) -> Sequence[str]:
    """The names in `a,b`."""
    return [name.strip() for name in (queues or "").split(",") if name.strip()]
