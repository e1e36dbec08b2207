"""Whose the schema is. Who owns a function decides what its callers do, so nothing is executed for an owner who is not trusted.

The owner of the schema owns everything in it, and nobody else makes anything there. A session trusts an owner that it is itself,
or was granted to inherit. A superuser is a member of every role, which says nothing: it trusts other superusers and whoever owns
the database, and so does who can become a superuser. Whoever owns the database trusts superusers only. It counts who has logged
in and whom they became (SET ROLE), both: either's rights are within reach of what is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from halfstep.database import Database, Row
from halfstep.errors import ForeignSchema, NotPermitted, SchemaMismatch
from halfstep.events import emit

if TYPE_CHECKING:
    import sqlalchemy as sa

PINNED = "pg_catalog, pg_temp"
"""The search path of whatever runs as the schema's owner: what others have made in `public` can't stand in for anything."""
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """What a session is to the schema. mine: it is the owner; trusted: it may execute what stands there; wary: only because of
    who the owner is; books: there is a table of migrations. superuser: what the session is, or became by SET ROLE, or `""`.
    """

    owner: str
    role: str
    mine: bool
    trusted: bool
    wary: bool
    books: bool
    superuser: str


def standing(database: Database, *, trusts: str | None = None) -> Standing | None:
    """None: there is no schema. trusts: an owner who is trusted, as somebody has said so.

    Raises ForeignSchema if the session must not execute what is in it.
    """
    rows = database.run("schema_owner")
    if not rows:
        return None
    row = rows[0]
    owner, mighty, good = row["owner"], row["mighty"], row["grand"] or row["owner"] == trusts
    if mighty and not good:
        raise ForeignSchema(
            f"The schema halfstep belongs to role {owner}, who is neither a superuser nor owns this database: what stands "
            f"in it would run with the rights of {mighty}. Log in as {owner}, or drop the schema if you don't know it."
        )
    if row["books"] is not None and (row["books"] not in ("r", "p") or row["strange"]):
        raise ForeignSchema(
            f"halfstep.migration, of role {owner}, is no table of halfstep's; drop the schema if you don't know it."
        )
    trusted = good or row["mine"] or row["member"]
    return Standing(owner, row["role"], row["mine"], trusted, bool(mighty), row["books"] is not None, row["superuser"] or "")


class TrustedDatabase(Database):
    """A connection for those who go on for long: there is none without a schema whose owner may be trusted.

    An error that a lost or another schema gives closes it, so that the next statement begins with a new look. Who trusts only
    because of who the owner is, as a superuser, looks before each statement or transaction.
    """

    _wary = False

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """As `Database.execute`. Raises SchemaMismatch without a schema, and ForeignSchema."""
        try:
            return super().execute(sql, parameters)
        except (SchemaMismatch, NotPermitted):
            self.close()
            raise

    def script(self, text: str) -> None:
        """As `Database.script`. Raises as `execute` does."""
        try:
            super().script(text)
        except (SchemaMismatch, NotPermitted):
            self.close()
            raise

    def _connected(self) -> sa.Connection:
        if self._wary and not self.in_transaction and self._connection is not None:
            self._look()
        return super()._connected()

    def _connect(self) -> sa.Connection:
        self._connection = super()._connect()
        self._look()
        return self._connection

    def _look(self) -> None:
        self._wary = False  # to look is to run a statement, too
        try:
            found = standing(self)
            if found is None:
                raise SchemaMismatch("The database has no schema halfstep; run `halfstep migrate`.")
        except BaseException:
            self.close()
            raise
        self._wary = found.wary


def warn_of_superuser(database: Database) -> None:
    """Says so where a program has far more rights than it needs."""
    found = standing(database)
    if found and found.superuser:
        emit("database.superuser", role=found.superuser)


def check_owner(database: Database, *, migrates: bool = False, trusts: str | None = None) -> None:
    """Raises ForeignSchema unless everything there is the owner's. migrates: who that is has to be the current role.

    trusts: as for `standing`.
    """
    found = standing(database, trusts=trusts)
    if found is None:
        return
    if not found.mine and (migrates or not found.trusted):
        raise ForeignSchema(
            f"The schema halfstep belongs to role {found.owner}, not to {found.role}: migrate as {found.owner}, who is to own "
            f"what a migration makes; if you trust that role, with: halfstep migrate --owner {found.owner}"
        )
    if found_objects := foreign_objects(database):
        raise ForeignSchema(
            f"Not everything in the schema halfstep is owned by {found.owner}: {named(found_objects)}. Drop it, or have its "
            f"owner changed (ALTER … OWNER TO {found.owner}) once you know what it is."
        )
    if others := makers(database):
        raise ForeignSchema(
            f"Others may make objects in the schema halfstep: {', '.join(others)}. "
            f"Take that back: REVOKE CREATE ON SCHEMA halfstep FROM {', '.join(others)};"
        )


def foreign_objects(database: Database) -> list[Row]:
    """`object` and `owner` of what somebody else than the schema's owner owns there, triggers' and defaults' functions too."""
    return database.run("foreign_objects")


def makers(database: Database) -> list[str]:
    """Who else may make objects in the schema, as a REVOKE names them."""
    return [grantee(row["role"]) for row in database.run("makers")]


def foreign_rights(database: Database) -> list[Row]:
    """`object`, `role` (`""`: everybody), `privileges`, and `revoke` (what a REVOKE names) of what others may do there.

    Without what a producer needs, and the view that is made for scalers.
    """
    return database.run("foreign_rights")


def named(found: list[Row]) -> str:
    """The first of them, for a sentence."""
    words = [f"{row['object']} of {row['owner']}" for row in found[:SHOWN]]
    return ", ".join(words) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def grantee(role: str) -> str:
    """A role as GRANT and REVOKE name it; `""` is everybody."""
    return '"' + role.replace('"', '""') + '"' if role else "PUBLIC"
