"""Where local work happens: a data folder and its database, the embedded one or one that was given; migrated and ready."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from halfstep.database import Database, parse_url
from halfstep.migrate import migrate
from halfstep_cli.embedded import EmbeddedServer
from halfstep_cli.output import note

ANY_QUEUE = "halfstep up"
"""What a `halfstep up` whose workers take every queue's tasks calls its connection, and so who looks knows that it runs."""
LIMITED = "halfstep up --queues"


@dataclass(frozen=True, slots=True)
class Station:
    """folder: logs, and the embedded server's files. url: how to log in; never shown. server: the embedded one, if it is used."""

    folder: Path
    url: str = field(repr=False)
    server: EmbeddedServer | None = None

    @property
    def embedded(self) -> bool:
        """Whether the database is a server of ours."""
        return self.server is not None

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return parse_url(self.url).set(drivername="postgresql").render_as_string(hide_password=True)

    @property
    def worker_logs(self) -> Path:
        """The folder of the workers' own output."""
        return self.folder / "workers"


@contextmanager
def open_station(folder: Path, url: str | None = None) -> Iterator[Station]:
    """Starts the embedded server of `folder`, or uses the database at `url`; leaves when the block ends.

    Raises DatabaseUnavailable, InvalidSettings, NotPermitted (the role may not migrate), SchemaMismatch.
    """
    if url is not None:
        _migrate(url)
        yield Station(folder, url)
        return
    with EmbeddedServer(folder, prepare=_migrate) as server:
        yield Station(folder, server.url, server)


def _migrate(url: str) -> None:
    database = Database(url)
    try:
        migrate(database, say=note)
    finally:
        database.close()
