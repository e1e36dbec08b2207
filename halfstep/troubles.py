"""What keeps launchers from getting on with their clusters, as they tell it in SQL. For people: nothing is decided by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from halfstep.database import Database
from halfstep.records import records
from halfstep.reports import Report, as_report


@dataclass(frozen=True, slots=True)
class TroubleRow:
    """One trouble. cluster, namespace: `""` for the default one, and for all. seconds: how long it has been going on."""

    cluster: str
    namespace: str
    part: str
    sentence: str
    seconds: float


class TroubleBook:
    """Every call is one commit. Raises DatabaseUnavailable, and RefusedValue as `Queue` does."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def write(self, worker: str, rows: Sequence[TroubleRow]) -> None:
        """These are the launcher's now, and no others. Nothing is written of one without a lease."""
        self.database.run("write_troubles", worker=worker, troubles=records(asdict(row) for row in rows))

    def list(self) -> list[Report]:
        """Those of launchers that live, the oldest first."""
        return [as_report(row) for row in self.database.run("list_troubles")]
