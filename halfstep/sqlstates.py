"""What the server's errors mean to the user: one of our errors each, by SQLSTATE (PostgreSQL documentation, appendix A)."""

from __future__ import annotations

import psycopg2
from sqlalchemy.exc import DBAPIError

from halfstep.errors import (
    DatabaseUnavailable,
    HalfstepError,
    InvalidTask,
    LockNotGranted,
    LoginRefused,
    NotPermitted,
    RefusedValue,
    SchemaMismatch,
)

REFUSALS = {
    "0A": "not supported: on some versions of the server an escape in JSON for a character that the database's encoding lacks",
    "21": "cardinality: two records for one row, which go apart when the batch is halved",
    "22": "data exception: what is no JSON, no number in range, no character of the encoding (22P05, 22021), no time",
    "23": "integrity: a constraint, also one that the database's owner has added",
    "44": "a view's check option, likewise",
    "54": "a limit of the server: nesting too deep for its stack, a value too large for a row or an index",
    "P0": "raised by a trigger that the database's owner has added",
}
"""Classes that refuse what was said: said again, it is refused again. Whoever sent a batch looks for the culprit.

All others are trouble of the server's or of ours, and the same statement may pass another time: connections (08), read-only
and broken transactions (25), deadlocks and serialization (40), no schema or no right (3F, 42), resources (53: also memory, as
what was refused for want of it may be all right), locks and prerequisites (55), operators and time-outs (57), disks (58),
internal errors (XX).
"""


def explain(error: DBAPIError) -> HalfstepError:
    """The error of ours that says what a driver's error means to the user."""
    return meaning(error.orig) if isinstance(error.orig, psycopg2.Error) else DatabaseUnavailable(_first_line(error.orig))


def is_read_only(error: DBAPIError) -> bool:
    """After a failover a connection may lead to a standby, and would for ever."""
    return getattr(error.orig, "pgcode", None) == "25006"


def meaning(error: psycopg2.Error) -> HalfstepError:
    """The same of an error that comes from the driver itself."""
    message = _first_line(error)
    match error.pgcode or "":
        case "HS001":
            return InvalidTask(message)
        case "HS002":
            return NotPermitted(message)
        case "42501":
            return NotPermitted(f"This database role may not do this: {message}")
        case "3F000" | "42P01" | "42883" | "42703":
            return SchemaMismatch(f"The database has no current halfstep schema ({message}); run `halfstep migrate`.")
        case "55P03" | "40P01":
            return LockNotGranted(f"The database is in use: {message}.")
        case code if code[:2] in REFUSALS:
            return RefusedValue(message)
        case "" | "57P01" | "57P02" | "57P03" | "53300" | "28P01" | "28000" | "3D000":
            return unavailable(message)
        case code:
            return DatabaseUnavailable(f"The database answered with an error: {message} (SQLSTATE {code}).")


def unavailable(message: str) -> DatabaseUnavailable:
    """Why no connection could be made."""
    line = _first_line(message)
    if any(words in line for words in ("password", "authentication", "no pg_hba.conf entry")):
        return LoginRefused(f"The database can't be used: {line}; check the user and password in HALFSTEP_DATABASE_URL.")
    if "does not exist" in line:
        return LoginRefused(f"The database can't be used: {line}; check the names in HALFSTEP_DATABASE_URL.")
    return DatabaseUnavailable(f"The database can't be used: {line}; check HALFSTEP_DATABASE_URL and that the server runs.")


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0].removeprefix("ERROR:").strip() if lines else "no answer"
