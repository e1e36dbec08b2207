"""What SQL knows for those who scale: demand, run times, who waits for hints, who is elected, and which workers hold nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from halfstep.database import Database, Row
from halfstep.demand import Backlog, RunTimes
from halfstep.records import records
from halfstep.serving import Serving

Group = tuple[str, str]
"""A queue and a placement."""


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """A worker that lives. host: in a cluster the name of its pod. held: tasks, by SQL. leaving: it drains, or was asked to."""

    id: str
    name: str
    host: str
    placement: str
    slots: int
    held: int
    leaving: bool
    age_seconds: float


class ScalingBook:
    """Used by one thread; every call is one statement and one commit. Raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._times: RunTimes[Group] = RunTimes()

    def backlogs(self, cap: int = 10_000) -> list[Backlog]:
        """The work of every (queue, placement, cluster), each kind counted no further than `cap`.

        Every queue has at least one record. What waits in a paused queue is no work.
        """
        return [_backlog(row) for row in self.database.run("backlogs", cap=cap)]

    def mean_seconds(self, *, now: float | None = None) -> dict[Group, float]:
        """How long bodies ran on average in about the last ten minutes, or ever where few have. now: monotonic seconds."""
        totals = {(row["queue"], row["placement"]): (row["count"], row["seconds"]) for row in self.database.run("mean_seconds")}
        return self._times.note(totals, now=time.monotonic() if now is None else now)

    def serving(self) -> list[Serving]:
        """Workers that live and do not leave, and what scalers would have some started for."""
        return [Serving(**row) for row in self.database.run("serving")]

    def refused_objects(self) -> list[Row]:
        """namespace, name and sentence of the ScaledObjects that scalers refuse now."""
        return list(self.database.run("refused_objects"))

    def wait_for(
        self,
        scaler: str,
        name: str,
        queues: Sequence[str],
        *,
        targets: Sequence[Mapping[str, object]] | None = None,
        refused: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Asks for a hint when something comes to these queues ("*": to any). It holds for 60 seconds, so say it again sooner.

        Look at `backlogs` once more after it: what came before the commit gave no hint.
        targets: what it would have workers started for, {"placement", "cluster", "queues"} each; None: it does not say.
        refused: ScaledObjects that it refuses, {"namespace", "name", "sentence"} each. Both are for people.
        """
        self.database.run(
            "wait_for", id=scaler, name=name, queues=list(queues), refused=records(refused),
            targets=None if targets is None else records(targets),
        )  # fmt: skip

    def elect(self, role: str, holder: str, name: str, seconds: float) -> bool:
        """Takes or renews a role for so long, by the server's clock. False: somebody else holds it. See `Candidate`."""
        return bool(self.database.run("elect", role=role, holder=holder, name=name, seconds=seconds))

    def resign(self, role: str, holder: str) -> None:
        """Gives a role up, if this holder has it."""
        self.database.run("resign", role=role, holder=holder)

    def loads(self, *, placement: str = "worker", hosts: Sequence[str] | None = None) -> list[WorkerLoad]:
        """The workers that live, those that hold least first, of those the youngest. hosts: only workers on these."""
        rows = self.database.run("loads", placement=placement, hosts=None if hosts is None else list(hosts))
        return [WorkerLoad(**row) for row in rows]

    def idle_workers(self, *, placement: str = "worker", hosts: Sequence[str] | None = None) -> list[WorkerLoad]:
        """Those that hold nothing and are not leaving, the youngest first. Only `drain_idle` knows for sure."""
        return [load for load in self.loads(placement=placement, hosts=hosts) if not load.held and not load.leaving]

    def drain_idle(self, most: int, *, placement: str = "worker", hosts: Sequence[str] | None = None) -> list[WorkerLoad]:
        """Asks up to `most` workers to leave that hold nothing, the youngest first; from its commit on they can claim nothing.

        Returns exactly those; workers in the middle of an exchange are passed over. They learn of it by their next renewal.
        """
        rows = self.database.run("drain_idle", most=most, placement=placement, hosts=None if hosts is None else list(hosts))
        return [WorkerLoad(**row) for row in rows]


@dataclass(slots=True)
class Candidate:
    """One who wants a role. `holds` goes by its own monotonic clock, so that one who was frozen knows that its time is over."""

    book: ScalingBook
    role: str
    name: str
    seconds: float = 15.0
    clock: Callable[[], float] = time.monotonic
    id: str = field(default_factory=lambda: str(uuid4()))
    _until: float = float("-inf")

    @property
    def holds(self) -> bool:
        """Whether the role is surely ours now. Any thread may ask."""
        return self.clock() < self._until

    def stand(self) -> bool:
        """Takes or renews the role; call it several times in `seconds`. Whether it is ours. Raises DatabaseUnavailable."""
        asked = self.clock()
        won = self.book.elect(self.role, self.id, self.name, self.seconds)
        self._until = asked + self.seconds if won else float("-inf")
        return self.holds

    def resign(self) -> None:
        """Gives the role up, so that another need not wait. Raises DatabaseUnavailable."""
        self._until = float("-inf")
        self.book.resign(self.role, self.id)


def _backlog(row: Row) -> Backlog:
    paused = {"ready": 0, "alone": 0, "due": 0, "oldest_seconds": 0.0} if row["paused"] else {}
    return Backlog(**(dict(row) | paused))
