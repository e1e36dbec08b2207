"""What an administrator does: queues and their limits, producers, partitions and retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from halfstep.database import Database, Row
from halfstep.errors import DatabaseUnavailable, DependentObjects, InvalidSettings, NotFound, SchemaMismatch
from halfstep.names import check_queue_name

AHEAD_DAYS = 7
STALE_ROWS = 5_000
ATTACH_SECONDS = 0.7
"""Longest that the default partition is held while it is looked through for rows of a new one: ends that go there wait."""


@dataclass(slots=True)
class Pruned:
    """What `prune` did. `busy`: partitions that somebody was reading; they are left for the next time."""

    dropped: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    rows: int = 0


class Administration:
    """Needs the role that owns the schema."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def set_queue(
        self,
        name: str,
        *,
        weight: int | None = None,
        operators: Sequence[str] | None = None,
        any_operator: bool = False,
        placements: Sequence[str] | None = None,
        any_placement: bool = False,
    ) -> None:
        """Makes or changes a queue: its weight among others, which operators and which placements it takes (`any_…`: all again).

        Raises InvalidSettings for a bad name or weight.
        """
        check_queue_name(name)
        if weight is not None and not 1 <= weight <= 1000:
            raise InvalidSettings(f"A queue's weight is 1 to 1000, not {weight}.")
        if placements is not None and not set(placements) <= {"worker", "pod"}:
            raise InvalidSettings(f"The placements are worker and pod, not {', '.join(placements)}.")
        self.database.run(
            "set_queue", queue=name, weight=weight, operators=operators and list(operators), any_operator=any_operator,
            placements=placements and list(placements), any_placement=any_placement,
        )  # fmt: skip

    def fix_queues(self, fixed: bool) -> None:
        """fixed: a task for a queue that was not made by `set_queue` is refused."""
        self.database.run("fix_queues", fixed=fixed)

    def grant_producer(self, role: str, queues: Sequence[str]) -> list[str]:
        """The role may enqueue to these queues, and do nothing else. Raises NotFound if there is no such role.

        Returns where else it may enqueue: earlier grants were to its name, maybe before a role of that name was dropped.
        """
        self._check_role(role)
        with self.database.transaction():
            self.database.script(
                f"GRANT USAGE ON SCHEMA halfstep TO {quoted(role)};GRANT EXECUTE ON FUNCTION {self._doors()} TO {quoted(role)}"
            )
            for queue in queues:
                self.set_queue(queue)
                self.database.run("grant_producer", role=role, queue=queue)
            return [row["queue"] for row in self.database.run("granted_queues", role=role) if row["queue"] not in queues]

    def revoke_producer(self, role: str) -> None:
        """The role may not enqueue any more. A role that is gone may have left grants to its name, which the next one of that
        name would have. Raises NotFound if there is neither.
        """
        if not self.database.run("role_exists", role=role):
            if not self.database.run("granted_queues", role=role):
                raise NotFound(f"There is no database role {role}.")
            self.database.run("revoke_producer", role=role)
            return
        with self.database.transaction():
            self.database.run("revoke_producer", role=role)
            self.database.script(
                f"REVOKE ALL ON FUNCTION {self._doors()} FROM {quoted(role)};REVOKE USAGE ON SCHEMA halfstep FROM {quoted(role)}"
            )

    def history_days(self, days: int | None = None) -> int:
        """How many days of history are kept; sets it when given."""
        if days is not None and days < 1:
            raise InvalidSettings("History is kept for at least 1 day.")
        return int(self.database.run("history_days", days=days)[0]["history_days"])

    def prune(self, *, lock_seconds: float = 0.2) -> Pruned:
        """Makes the partitions of the coming week and drops those past retention, without making a finish wait.

        An old partition is emptied under a lock of its own; dropping the empty table waits at most `lock_seconds` for readers.
        """
        done = Pruned()
        self._add_partitions(done, lock_seconds)
        for row in self.database.run("old_partitions"):
            self._drop(row["name"], done, lock_seconds)
        done.rows = self._delete_strays(lock_seconds)
        return done

    def pod_places(self) -> list[tuple[str, str]]:
        """(cluster, namespace) of all pods that the database remembers; cluster `""` is the default one."""
        return [(row["cluster"], row["namespace"]) for row in self.database.run("pod_places")]

    def drop_schema(self) -> None:
        """Deletes all that halfstep has in this database, for good; it may take a while. Who uses it is told by an error."""
        with self.database.transaction():
            self.database.script("SET LOCAL statement_timeout = 0; DROP SCHEMA halfstep CASCADE")

    def _doors(self) -> str:
        """The functions that enqueue, with their arguments: there is one for each way that drivers type them."""
        return ", ".join(row["signature"] for row in self.database.run("doors"))

    def _check_role(self, role: str) -> None:
        if not self.database.run("role_exists", role=role):
            raise NotFound(f"There is no database role {role}; make it first: CREATE ROLE {quoted(role)} LOGIN PASSWORD …")

    def _add_partitions(self, done: Pruned, lock_seconds: float) -> None:
        busy: set[str] = set()
        for row in self.database.run("missing_partitions", ahead=AHEAD_DAYS):
            if row["parent"] in busy or not self._add_partition(row, lock_seconds):
                busy.add(row["parent"])  # what kept one day from its parent keeps the others too
                done.busy.append(f"{row['parent']}_{row['day']:%Y%m%d}")

    def _add_partition(self, row: Row, lock_seconds: float) -> bool:
        """False: somebody reads the default partition, or it is too large to be looked through in time."""
        try:
            with self.database.transaction(lock_seconds=lock_seconds, statement_seconds=ATTACH_SECONDS):
                self.database.run("add_partition", **row)
        except DatabaseUnavailable:
            return False
        return True

    def _drop(self, name: str, done: Pruned, lock_seconds: float) -> None:
        try:
            for words in ("TRUNCATE", "DROP TABLE"):
                with self.database.transaction(lock_seconds=lock_seconds):
                    self.database.script(f"{words} halfstep.{quoted(name)}")
            done.dropped.append(name)
        except DependentObjects:
            done.busy.append(name)
        except SchemaMismatch:
            return  # another prune has dropped it
        except DatabaseUnavailable:
            done.busy.append(name)

    def _delete_strays(self, lock_seconds: float) -> int:
        with self.database.transaction(lock_seconds=lock_seconds):
            return sum(int(row["deleted"]) for row in self.database.run("delete_strays", batch=STALE_ROWS))


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
