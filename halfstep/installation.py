"""The installation's id, which all our objects in clusters are labelled with, and whether this database is the one that has it.

A restored dump has the id of the database that it was taken from. Two of them on one cluster would take each other's pods for
strangers, so a launcher works only where the id is at home.
"""

from __future__ import annotations

from dataclasses import dataclass

from halfstep.database import Database
from halfstep.errors import Conflict, NotPermitted

ELSEWHERE = (
    "This database was restored or copied from another one, and has its installation id: two launchers would take each other's "
    "pods for strangers. For a copy: halfstep renew-id. If the other one is gone for good: halfstep renew-id --moved."
)

# A dump that was restored without its grants leaves what PostgreSQL gives to everybody.
_CLOSED = "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA halfstep FROM PUBLIC"


@dataclass(frozen=True, slots=True)
class Installation:
    """id: of the database. home: where it was given, None if no launcher has begun yet. here: this place; None: the server
    does not tell.
    """

    id: str
    home: str | None
    here: str | None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the id was given to another database than this one."""
        return self.home is not None and self.here is not None and not _is_same(self.home, self.here)


def read_installation(database: Database) -> Installation:
    """What the database says. Raises HalfstepError."""
    try:
        row = database.run("home")[0]
    except NotPermitted:  # of pg_control_system, which some providers close
        return Installation(str(database.run("installation")[0]["id"]), None, None)
    return Installation(row["id"], row["home"], row["here"])


def check_home(installation: Installation) -> None:
    """Raises Conflict where the id is another database's."""
    if installation.is_elsewhere:
        raise Conflict(ELSEWHERE)


def settle(database: Database) -> str:
    """For a launcher that begins: the id, at home here from now on. Raises Conflict where it is another database's."""
    found = read_installation(database)
    check_home(found)
    if found.here is not None and found.home != found.here:
        database.run("settle", here=found.here)
    return found.id


def keep_id(database: Database) -> None:
    """The database has moved here, and the one that it was is gone."""
    with database.transaction():
        database.script(_CLOSED)
        database.run("settle", here=read_installation(database).here)


def renew_id(database: Database) -> tuple[str, int]:
    """A new id for a copy; also how many tasks ran in pods of the other one. Whoever works has to have left."""
    with database.transaction():
        database.script(_CLOSED)
        row = database.run("renew_id", here=read_installation(database).here)[0]
    return row["id"], row["running"]


def _is_same(home: str, here: str) -> bool:
    """Also after pg_upgrade, which makes another server and keeps the tables' oids."""
    server, database, version, tables = home.split("/")
    server_here, database_here, version_here, tables_here = here.split("/")
    return (server, database) == (server_here, database_here) or (tables == tables_here and int(version_here) > int(version))
