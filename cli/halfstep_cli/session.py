"""Which database a command talks to, and how it gets there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from halfstep.errors import DatabaseUnavailable, HalfstepError, InvalidSettings, NotPermitted

if TYPE_CHECKING:
    from halfstep.database import Database
    from halfstep_cli.known import KnownCode

URL = "HALFSTEP_DATABASE_URL"
DIRECT_URL = "HALFSTEP_DIRECT_DATABASE_URL"
CODE = "code.json"
"""Beside the local database's URL: what its workers are told of users' code."""


def default_data_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Where `halfstep up` keeps its database unless it is told otherwise: $XDG_DATA_HOME/halfstep."""
    known = os.environ if environment is None else environment
    home = known.get("XDG_DATA_HOME") or Path(known.get("HOME") or Path.home()) / ".local" / "share"
    return Path(home) / "halfstep"


@dataclass(frozen=True, slots=True)
class Session:
    """The global options of one call."""

    database: str | None = field(default=None, repr=False)
    debug: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    @property
    def url(self) -> str:
        """The queue's database. InvalidSettings if nobody named one."""
        return self._given or self._local_url()

    @property
    def direct_url(self) -> str:
        """An address that does not go through a pooler, for migrations and LISTEN; usually the same."""
        return (self.database or "").strip() or self.environment.get(DIRECT_URL, "").strip() or self.url

    @contextmanager
    def open(self, *, direct: bool = False, checked: bool = True) -> Iterator[Database]:
        """A connection. `checked`: raises SchemaMismatch unless this halfstep may use the schema."""
        from halfstep.database import ConnectionSettings, Database
        from halfstep.ownership import TrustedDatabase

        url, kind = self.direct_url if direct else self.url, TrustedDatabase if checked else Database
        with closing(kind(url, ConnectionSettings("halfstep command"))) as database:
            if checked:
                self._check(database)
            yield database

    def _check(self, database: Database) -> None:
        from halfstep.migrate import check_schema

        try:
            check_schema(database)
        except NotPermitted:
            return  # a producer may not read the version; what it calls tells what is wrong
        except DatabaseUnavailable as error:
            raise self._explained(error) from error

    def _explained(self, error: HalfstepError) -> HalfstepError:
        if self._given or self.environment.get(DIRECT_URL):
            return error
        return DatabaseUnavailable(
            f"The database of `halfstep up` does not answer at the address in {self._local}; start it: halfstep up."
        )

    @property
    def _given(self) -> str:
        return (self.database or "").strip() or self.environment.get(URL, "").strip()

    @property
    def _local(self) -> Path:
        return default_data_dir(self.environment) / "url"

    def local_code(self) -> KnownCode:
        """What the workers of the local `halfstep up` know, where its database is the one that is used."""
        from halfstep_cli.known import KnownCode

        return KnownCode() if self._given else KnownCode.read(self._local.with_name(CODE))

    def _local_url(self) -> str:
        try:
            return self._local.read_text(encoding="utf-8").strip()
        except OSError:
            raise InvalidSettings(
                f"There is no database: set {URL}, pass --database URL, or start one here: halfstep up."
            ) from None
