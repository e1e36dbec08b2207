"""What the server's errors mean to the user: one of our errors each, by SQLSTATE (PostgreSQL documentation, appendix A)."""

from __future__ import annotations

from halfstep.callers import names_of
from halfstep.errors import (
    AbortedTransaction,
    DatabaseUnavailable,
    DependentObjects,
    HalfstepError,
    InvalidTask,
    LockNotGranted,
    LoginRefused,
    NotPermitted,
    ReadOnlyTransaction,
    RefusedValue,
    SchemaMismatch,
    SerializationFailure,
    UnusableConnection,
)
from halfstep.signatures import mistakes

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

OURS = "HALFSTEP_DATABASE_URL"
THEIRS = "the address that the connection was made with"


def is_read_only(error: BaseException) -> bool:
    """After a failover a connection may lead to a standby, and would for ever."""
    return _told(_origin(error))[0] == "25006"


def meaning(error: BaseException, *, address: str = OURS) -> HalfstepError:
    """The error of ours that says what a driver's, or SQLAlchemy's of a driver, means to the user.

    address: where the user has said which server it is.
    """
    code, message = _told(_origin(error))
    match code:
        case "HS001":
            return InvalidTask(message)
        case "HS002":
            return NotPermitted(message)
        case "42501":
            return NotPermitted(f"This database role may not do this: {message}")
        case "42883":
            return _no_function(message)
        case "42725":
            return InvalidTask(f"Several functions take these arguments ({message}); name them (queue => …), or cast them.")
        case "3F000" | "42P01" | "42703":
            return SchemaMismatch(f"The database has no current halfstep schema ({message}); run `halfstep migrate`.")
        case "2BP01":
            return DependentObjects(
                f"What is to be dropped is still needed: {_detail(error) or message}. Drop what needs it, do this again, "
                "and make that anew."
            )
        case "55P03" | "40P01":
            return LockNotGranted(f"The database is in use: {message}.")
        case code if code[:2] in REFUSALS:
            return RefusedValue(message)
        case "" | "57P01" | "57P02" | "57P03" | "53300" | "28P01" | "28000" | "3D000":
            return unavailable(message, address=address)
        case code:
            return DatabaseUnavailable(f"The database answered with an error: {message} (SQLSTATE {code}).")


def callers_meaning(error: BaseException) -> HalfstepError | None:
    """The same on a connection that its caller has brought: it is the caller's transaction that is to be repeated or ended.

    None: the error is neither a driver's nor the network's.
    """
    origin = _origin(error)
    code, message = _told(origin)
    kinds = {*names_of(origin)}
    match code:
        case "25P02":
            return AbortedTransaction()
        case "25006":
            return ReadOnlyTransaction()
        case "40001" | "40P01":
            return SerializationFailure(
                f"The server could not keep your transaction apart from another ({message}); roll it back and repeat all of it."
            )
        case code if code[:2] == "08":
            return unavailable(message, address=THEIRS)
        case code if code:
            return meaning(origin, address=THEIRS)
    if kinds & {"sqlalchemy.PendingRollbackError", "django.TransactionManagementError"}:
        return AbortedTransaction()
    if "sqlalchemy.MissingGreenlet" in kinds:
        return UnusableConnection("This engine is asyncio's: `await halfstep.aio.enqueue(…)` takes it, with the same arguments.")
    if "builtins.RuntimeError" in kinds and " loop" in str(origin):  # asyncio's have no class of their own
        return UnusableConnection(
            "The connection was made in another event loop; pass one that is made in the loop that uses it."
        )
    if "psycopg_pool.PoolClosed" in kinds:
        return UnusableConnection(f"The pool can't be used ({message}); pass one that is open.")
    if kinds & {"builtins.OSError", "sqlalchemy.TimeoutError"} or _is_of_the_network(origin, kinds):
        return unavailable(message, address=THEIRS)
    if kinds & _MISUSES:
        return UnusableConnection(
            f"The connection can't be used ({message}); pass one that is open and that nothing else uses now."
        )
    return None


_MISUSES = {
    "asyncpg.InterfaceError",
    "django.Error",
    "django.SynchronousOnlyOperation",
    "pg8000.Error",
    "psycopg.Error",
    "psycopg2.Error",
    "sqlalchemy.Error",  # of its adapters for asyncio
    "sqlalchemy.InvalidRequestError",
}
"""Errors that the server has no part in."""


def unavailable(message: str, *, address: str = OURS) -> DatabaseUnavailable:
    """Why no connection could be made, or why it broke."""
    line = _first_line(message)
    if any(words in line for words in ("password", "authentication", "no pg_hba.conf entry")):
        return LoginRefused(f"The database can't be used: {line}; check the user and password in {address}.")
    if "does not exist" in line:
        return LoginRefused(f"The database can't be used: {line}; check the names in {address}.")
    return DatabaseUnavailable(f"The database can't be used: {line}; check {address} and that the server runs.")


def _no_function(message: str) -> HalfstepError:
    wrong = mistakes(message)
    if wrong:
        return InvalidTask(f"No function takes these arguments ({message}): {wrong}.")
    return SchemaMismatch(
        f"The database has no current halfstep schema ({message}); run `halfstep migrate`, or if it did run,"
        " name the arguments after args, and cast them as docs/reference/sql.md says."
    )


def _origin(error: BaseException) -> BaseException:
    """What a driver has said, below what SQLAlchemy and Django have made of it."""
    below = getattr(error, "orig", None) or error.__cause__
    wraps = any(kind.startswith(("sqlalchemy.", "django.")) for kind in names_of(error))
    return _origin(below) if wraps and isinstance(below, BaseException) else error


def _told(error: BaseException) -> tuple[str, str]:
    """The SQLSTATE, empty if the server has said nothing, and the sentence."""
    fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}  # of pg8000
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or fields.get("C") or ""
    return code, _first_line(fields.get("M") or error)


def _detail(error: BaseException) -> str:
    """What the server adds to its sentence, in one line; drivers keep it in different places."""
    origin = _origin(error)
    fields = origin.args[0] if origin.args and isinstance(origin.args[0], dict) else {}
    told = getattr(getattr(origin, "diag", None), "message_detail", None) or getattr(origin, "detail", None) or fields.get("D")
    return "; ".join(str(told or "").rstrip(".").splitlines())


def _is_of_the_network(error: BaseException, kinds: set[str]) -> bool:
    operational = any(kind.endswith(".OperationalError") for kind in kinds)
    return (
        operational or isinstance(error.__cause__, OSError) or "network error" in str(error)
    )  # pg8000's has no class of its own


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0].removeprefix("ERROR:").strip() if lines else "no answer"
