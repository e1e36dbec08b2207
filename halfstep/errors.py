"""Every error a user can meet. The docstring is the sentence shown when an error is raised without one.

A class exists only where a caller would act differently: refuse the input, wait for the server, migrate, look elsewhere.
The command maps each class to an exit code (docs/reference/exit-codes.md).
"""

from __future__ import annotations


class HalfstepError(Exception):
    """Halfstep could not do this."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


class InvalidTask(HalfstepError):
    """The task was refused: its input is not valid."""


class Missing(InvalidTask):
    """What the task names is not here, or not yet: a deploy may bring it."""


class NotPermitted(HalfstepError):
    """This database role may not do this; ask for `halfstep grant producer ROLE --queue QUEUE`."""


class NotFound(HalfstepError):
    """There is no task, queue or worker of that name."""


class Conflict(HalfstepError):
    """The task's state, or the holder of its unique key, does not allow this."""


class LostClaim(HalfstepError):
    """Another worker holds this task now; its result was not recorded."""


class DatabaseUnavailable(HalfstepError):
    """The database does not answer; check HALFSTEP_DATABASE_URL and that the server runs."""


class LockNotGranted(DatabaseUnavailable):
    """The database is in use: a lock was not granted in time. Try again."""


class LoginRefused(DatabaseUnavailable):
    """The database refuses this login; check the user, password and database name in HALFSTEP_DATABASE_URL."""


class UnusableConnection(HalfstepError):
    """What was passed is no connection that halfstep can use."""


class AbortedTransaction(HalfstepError):
    """Your transaction is aborted by an earlier error; roll it back (or to a savepoint before that error) and begin again."""


class ReadOnlyTransaction(HalfstepError):
    """Your transaction is read-only, so nothing can be enqueued in it; begin one that may write, on the primary server."""


class SerializationFailure(HalfstepError):
    """The server could not keep your transaction apart from another one; roll it back and repeat all of it."""


class RefusedValue(HalfstepError):
    """The server refused a value in this statement; nothing of the statement was done."""


class SchemaMismatch(HalfstepError):
    """The database's schema and this version of halfstep do not fit; run `halfstep migrate` or upgrade halfstep."""


class DependentObjects(SchemaMismatch):
    """Objects of somebody's depend on what is to be dropped."""


class ForeignSchema(SchemaMismatch):
    """The schema halfstep is not this role's own: what stands in it is not executed."""


class InvalidSettings(HalfstepError):
    """A setting is missing or not valid."""
