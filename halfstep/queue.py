"""The queue's verbs, each over one `.sql` file of its name. Used by one thread; each call is one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from halfstep.claims import Claim, Ending, Exchanged, Turn, Wish
from halfstep.database import Database, Row
from halfstep.demand import Backlog
from halfstep.errors import Conflict, NotFound
from halfstep.outcomes import Retry
from halfstep.records import array, records

LONE_DEATHS = 3
"""A task that killed this many workers while it ran alone is failed."""


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """Who a worker is, as `halfstep workers` shows it. queues None: it serves all.

    cluster: the one that a launcher serves; tasks may name it from then on.
    follows: its registration before, if that was taken for dead; whoever was asked to leave then is still to leave.
    """

    id: str
    name: str
    host: str
    pid: int
    version: str
    slots: int
    queues: Sequence[str] | None = None
    placement: str = "worker"
    cluster: str = ""
    lease_seconds: float = 10.0
    follows: str | None = None


class Queue:
    """The verbs. Every method raises DatabaseUnavailable when the server can't be asked.

    Those that write what a body has said raise RefusedValue where a value of it can't be stored, and have done nothing then.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    # -- a worker's life

    def register(self, card: WorkerCard) -> None:
        """A worker begins, with sequence 0 and a lease."""
        self.database.run(
            "register", worker=card.id, name=card.name, host=card.host, pid=card.pid, version=card.version,
            placement=card.placement, cluster=card.cluster,
            queues=None if card.queues is None else list(card.queues), slots=card.slots,
            lease_seconds=card.lease_seconds, follows=card.follows,
        )  # fmt: skip

    def deregister(self, worker: str) -> None:
        """A worker leaves. What it still holds is marked for rescue at once."""
        self.database.run("deregister", worker=worker)

    def drain(self, worker: str) -> bool:
        """Asks a worker to leave: from now on it claims nothing, whatever it does. False: no such worker lives."""
        return bool(self.database.run("drain", worker=worker))

    def renew(
        self, worker: str, *, busy: int = 0, fenced: int = 0, draining: bool = False, peak_bytes: int | None = None
    ) -> bool | None:
        """Moves the lease on. None: the worker was marked dead. Otherwise whether somebody asked it to drain.

        draining: the worker leaves, as `halfstep workers` is to show. peak_bytes: most memory of its processes so far.
        """
        rows = self.database.run("renew", worker=worker, busy=busy, fenced=fenced, draining=draining, peak_bytes=peak_bytes)
        return bool(rows[0]["drain_requested"]) if rows else None

    # -- claims and their ends

    def exchange(self, turn: Turn, wish: Wish, finished: Sequence[Ending] = ()) -> Exchanged:
        """Finishes a batch and claims the next in one statement and one commit. RefusedValue: SQL can't hold a value of it."""
        rows = self.database.run(
            "exchange", worker=turn.worker, sequence=turn.sequence, queues=list(turn.queues), placement=turn.placement,
            cluster=turn.cluster, want=wish.want, token=wish.token, alone=wish.alone, waiting=wish.waiting,
            finished=array(ending.as_json() for ending in finished),
        )  # fmt: skip
        claims = [claim_of(row, wish.token) for row in rows if row["id"] is not None]
        head = next(row for row in rows if row["id"] is None)
        return Exchanged(head["turn"] == 1, sorted(claims, key=lambda claim: claim.id), head["refused"], head["suspects"])

    def retry(self, attempts: Sequence[tuple[Claim, Retry]]) -> list[int]:
        """Failed attempts whose tasks run again after their delay; returns the ids whose claim was lost."""
        told = [
            {"id": c.id, "token": c.token, "delay": r.delay, "counts": r.counts, "reason": r.reason, "error": r.error}
            for c, r in attempts
        ]
        return self._refused("retry", attempts=records(told))

    def release(self, claims: Sequence[Claim], *, reason: str, started: bool) -> list[int]:
        """Hands claims back on purpose; returns the ids whose claim was lost."""
        return self.release_each([(claim, reason, started) for claim in claims])

    def release_each(self, releases: Sequence[tuple[Claim, str, bool]]) -> list[int]:
        """The same of (claim, reason, started)."""
        told = [{"id": c.id, "token": c.token, "started": started, "reason": reason} for c, reason, started in releases]
        return self._refused("release", claims=records(told))

    def resync(self, worker: str) -> int | None:
        """After a lost reply: the sequence to go on with. None: the worker is not registered any more."""
        rows = self.database.run("resync", worker=worker)
        return rows[0]["sequence"] if rows else None

    def holdings(self, worker: str) -> list[Claim]:
        """What this worker holds according to SQL."""
        return [claim_of(row, row["token"]) for row in self.database.run("holdings", worker=worker)]

    def recorded(self, claims: Sequence[Claim]) -> set[int]:
        """Which of these claims have already been written as ended under their own token."""
        rows = self.database.run("recorded", ids=[c.id for c in claims], tokens=[c.token for c in claims])
        return {row["id"] for row in rows}

    def cancel_requests(self, worker: str) -> list[int]:
        """Ids of this worker's tasks that somebody wants cancelled."""
        return [row["id"] for row in self.database.run("cancel_requests", worker=worker)]

    def write_log(self, chunks: Sequence[dict[str, Any]]) -> None:
        """Appends to the log store: [{"task_id", "attempt", "chunk", "lines": [[time, stream, text], ...]}, ...]."""
        self.database.run("write_log", chunks=records(chunks))

    def report_progress(self, told: Sequence[tuple[Claim, str]]) -> None:
        """The last progress (JSON text) of running attempts; lost claims are passed over."""
        self.database.run(
            "report_progress", records=records({"id": c.id, "token": c.token, "progress": text} for c, text in told)
        )

    # -- care

    def promote(self, *, batch: int = 1000) -> int:
        """Makes due tasks ready; returns how many."""
        return int(self.database.run("promote", batch=batch)[0]["promoted"])

    def leases(self) -> list[Row]:
        """worker, counter, seconds, dead of every lease."""
        return self.database.run("leases")

    def mark_dead(self, worker: str, *, counter: int) -> bool:
        """Marks a lease dead if its counter is still the observed one."""
        return bool(self.database.run("mark_dead", worker=worker, counter=counter))

    def died(self, name: str, *, host: str, code: int) -> bool:
        """The process of the only worker of this name has ended: its tasks need not wait for its lease.

        code: its exit code; negative: the signal that ended it. False: nothing was left to be rescued.
        """
        leases = self.database.run("died", name=name, host=host, code=code)
        marked = [self.mark_dead(lease["worker"], counter=lease["counter"]) for lease in leases]
        return any(marked)

    def rescue(self, *, batch: int = 500, lone_deaths: int = LONE_DEATHS) -> int:
        """Takes a batch of tasks from dead workers; returns how many. Dead workers that hold nothing leave."""
        rescued = int(self.database.run("rescue", batch=batch, lone_deaths=lone_deaths)[0]["rescued"])
        if rescued < batch:
            self.database.run("bury")
        return rescued

    def fold(self) -> int:
        """Adds the counts of workers that are gone to those of nobody, which keeps the tally small; returns how many workers."""
        return int(self.database.run("fold")[0]["folded"])

    def measure(
        self, *, cap: int = 10_000, placement: str = "worker", cluster: str = "", queues: Sequence[str] | None = None
    ) -> list[Backlog]:
        """How much work each queue has, counted no further than `cap`."""
        wanted = None if queues is None else list(queues)
        rows = self.database.run("measure", cap=cap, placement=placement, cluster=cluster, queues=wanted)
        return [Backlog(**row) for row in rows]

    # -- what people do

    def cancel(self, task: int) -> str:
        """Cancels a task: "cancelled" if it waited, "requested" if it runs. Raises NotFound or Conflict."""
        row = self.database.run("cancel", id=task)[0]
        if row["ended"] or row["asked"]:
            return "cancelled" if row["ended"] else "requested"
        state = self._finished_state(task)
        raise Conflict(f"Task {task} has already ended: {state}.")

    def retry_finished(self, task: int) -> None:
        """Gives a finished task a new attempt under its own id. Raises NotFound or Conflict."""
        with self.database.transaction():
            rows = self.database.run("retry_finished", id=task)
            if rows and not rows[0]["back"]:
                holder = self.database.run("key_holder", key=rows[0]["unique_key"], queue=rows[0]["queue"])
                raise Conflict(f"Task {task} can't run again: its unique key is held by task {holder[0]['task_id']}.")
        if not rows:
            if self.database.run("task_state", id=task):
                raise Conflict(f"Task {task} has not ended yet; cancel it first, or wait.")
            raise NotFound(f"There is no task {task}.")

    def pause(self, queue: str) -> None:
        """Claims leave the queue out from now on. Raises NotFound."""
        self._named("pause", queue, paused=True)

    def resume(self, queue: str) -> None:
        """Claims take the queue's tasks again. Raises NotFound."""
        self._named("pause", queue, paused=False)

    def queue_weights(self) -> dict[str, int]:
        """Every queue and its weight; the paused ones too."""
        return {row["name"]: row["weight"] for row in self.database.run("queue_weights")}

    def _refused(self, name: str, **parameters: Any) -> list[int]:
        return list(self.database.run(name, **parameters)[0]["refused"])

    def _finished_state(self, task: int) -> str:
        rows = self.database.run("finished_state", id=task)
        if not rows:
            raise NotFound(f"There is no task {task}.")
        return str(rows[0]["state"])

    def _named(self, name: str, queue: str, **parameters: Any) -> None:
        if not self.database.run(name, queue=queue, **parameters):
            raise NotFound(f"There is no queue {queue}.")


def claim_of(row: Row, token: str) -> Claim:
    """The claim that a row of `exchange`, `adopt` or `holdings` tells."""
    return Claim(
        row["id"], token, row["queue"], row["operator"], row["args"], row["attempt"], row["failures"], row["max_attempts"],
        row["timeout"], row["backoff_base"], row["backoff_cap"], row["at_most_once"], row["alone"],
        row["attempt_id"], row["pod_namespace"], row["pod_uid"], bool(row["pod_kept"]),
    )  # fmt: skip
