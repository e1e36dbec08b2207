"""What SQL knows of pods: intents before they are asked for, facts while they run, and who may take them over."""

from __future__ import annotations

import builtins
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from halfstep.claims import Before, Claim, Exchanged, Turn
from halfstep.database import Database, Row
from halfstep.installation import check_home, read_installation
from halfstep.queue import LONE_DEATHS, claim_of
from halfstep.records import records
from halfstep.reports import Report, as_report


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod of an attempt. uid None: not acknowledged. facts: for people. keep_seconds: how long its name must stay taken.

    token: the writer's claim, without which nothing is written; None: nobody asks.
    parked_at, running_since, queued_since: since when its start is waited for, since when it runs, and since when it is held by a
    quota, a webhook or a scheduling gate. Monotonic, of this machine.
    """

    attempt_id: str
    task_id: int
    attempt: int
    cluster: str
    namespace: str
    name: str
    uid: str | None = None
    facts: dict[str, Any] | None = None
    keep_seconds: float | None = None
    token: str | None = None
    parked_at: float | None = None
    running_since: float | None = None
    queued_since: float | None = None

    def as_record(self) -> dict[str, Any]:
        """What `write_pods.sql` reads. Durations are those of this moment: an adopter adds what the database says has passed."""
        now = time.monotonic()
        lasted = {"waited_seconds": self.parked_at, "ran_seconds": self.running_since, "queued_seconds": self.queued_since}
        known = {name: round(now - since, 3) for name, since in lasted.items() if since is not None}
        record = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("parked_at", "running_since", "queued_since")
        }
        return record | {"facts": None if self.facts is None else self.facts | known}


class StreamEnd(NamedTuple):
    """How far one stream of a log is stored: `lines` of it from the whole second `since` (1970) on, the last of `last_at`."""

    since: int
    lines: int
    last_at: float


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The next chunk's number, bytes written, and the end of each stream by its name."""

    chunk: int = 0
    written: int = 0
    streams: Mapping[str, StreamEnd] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier owners of an attempt left. age: seconds since its pod's facts were written, by the database's clock.

    marked: false if a launcher intended the pod that did not put the mark into its pods yet.
    """

    log: LogPosition = LogPosition()
    facts: Mapping[str, Any] = field(default_factory=dict)
    age: float = 0.0
    marked: bool = True


class Doubt(NamedTuple):
    """A pod of this installation that its launcher has no claim of.

    marked: it has the mark of launchers; older: all that launchers put into pods before they had one; twin: the mark, and our
    finalizer still.
    """

    attempt_id: str
    uid: str
    namespace: str
    marked: bool
    older: bool
    twin: bool


class Stranger(NamedTuple):
    """A pod that carries our labels and is not ours. why: a sentence."""

    namespace: str
    name: str
    uid: str
    why: str


class Strangers(NamedTuple):
    """All that one launcher sees in these namespaces of its cluster."""

    cluster: str
    namespaces: Sequence[str]
    pods: Sequence[Stranger]


OWNED_BATCH = 1000
"""Pods that one statement is asked about: a namespace may hold any number."""
PASTS_BATCH = 10
"""Logs that one statement looks through: all together they may be as long as logs can be, and the statement must end in time."""


class PodBook:
    """Used by one thread; every call is one commit. Raises DatabaseUnavailable, and RefusedValue as `Queue` does."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def write(self, rows: Sequence[PodRow]) -> set[str]:
        """Adds or brings up to date; returns the attempts of which that was done: their claims still hold."""
        written = self.database.run("write_pods", pods=records(row.as_record() for row in rows))
        return {row["attempt_id"] for row in written}

    def write_log(self, chunks: Sequence[dict[str, Any]]) -> None:
        """As `Queue.write_log`, with the "token" of the claim in each chunk: those of lost claims are passed over."""
        self.database.run("write_pod_log", chunks=records(chunks))

    def adopt(
        self, turn: Turn, *, token: str, batch: int = 100, free: bool = True, lone_deaths: int = LONE_DEATHS
    ) -> Exchanged:  # fmt: skip
        """Takes over pod tasks of dead launchers of this cluster and these queues. It takes a turn like an exchange.

        free: the launcher makes no pod just now, so that a suspect would be alone with it.
        """
        rows = self.database.run(
            "adopt", worker=turn.worker, sequence=turn.sequence, queues=list(turn.queues), placement=turn.placement,
            cluster=turn.cluster, token=token, batch=batch, free=free, lone_deaths=lone_deaths,
        )  # fmt: skip
        claims = [claim_of(row, token) for row in rows if row["id"] is not None]
        mine = any(row["turn"] == 1 for row in rows if row["id"] is None)
        return Exchanged(mine, sorted(claims, key=lambda claim: claim.id), [], suspects=False)

    def doubted(self, doubts: Sequence[Doubt]) -> dict[str, str]:
        """What each pod is, by uid.

        live: it or its name is needed; garbage: it is ours, and nobody needs it; foreign: another pod is the attempt's, or none
        ever was; unknown: nobody has ever intended the attempt in this database.
        """
        rows = self.database.run("doubted_pods", pods=records(doubt._asdict() for doubt in doubts))
        return {row["uid"]: row["word"] for row in rows}

    def owned(self, doubts: Sequence[Doubt]) -> dict[str, str]:
        """Whose each pod is, by uid, needed or not.

        ours: a launcher of this installation made it; foreign: another pod is the attempt's, or none ever was; unknown: this
        database remembers no such attempt, and no launcher of this installation made the pod.
        """
        words: dict[str, str] = {}
        for some in (doubts[at : at + OWNED_BATCH] for at in range(0, len(doubts), OWNED_BATCH)):
            rows = self.database.run("owned_pods", pods=records(doubt._asdict() for doubt in some))
            words |= {row["uid"]: row["word"] for row in rows}
        return words

    def write_strangers(self, strangers: Strangers) -> None:
        """Takes the place of what was written before of these namespaces."""
        told = records(one._asdict() for one in strangers.pods)
        self.database.run("write_strangers", cluster=strangers.cluster, namespaces=list(strangers.namespaces), strangers=told)

    def strangers(self, *, limit: int = 200) -> builtins.list[Report]:
        """Pods that carry our labels and are not ours, as launchers see them."""
        return [as_report(row) for row in self.database.run("list_strangers", limit=limit)]

    def list(self, *, task: int | None = None, everyone: bool = False, limit: int = 200) -> list[Report]:
        """Pods of running attempts; `everyone`: also of those that ended and are remembered. Newest first."""
        return [as_report(row) for row in self.database.run("list_pods", task=task, everyone=everyone, limit=limit)]

    def pasts(self, claims: Sequence[Claim]) -> dict[str, Past]:
        """By attempt: what earlier owners left."""
        found: dict[str, Past] = {}
        for few in (claims[at : at + PASTS_BATCH] for at in range(0, len(claims), PASTS_BATCH)):
            rows = self.database.run(
                "pod_pasts", ids=[c.id for c in few], attempts=[c.attempt for c in few], names=[c.attempt_id for c in few]
            )  # fmt: skip
            found |= {row["attempt_id"]: _past(row) for row in rows}
        return found

    def befores(self, claims: Sequence[Claim], labels: Sequence[str]) -> dict[str, Before]:
        """By attempt: what is to be known of its task before its pod is made. labels: names of those that are wanted."""
        rows = self.database.run(
            "befores", ids=[c.id for c in claims], attempts=[c.attempt for c in claims], names=[c.attempt_id for c in claims],
            labels=list(labels),
        )  # fmt: skip
        return {row["attempt_id"]: Before(tuple(row["labels"].items()), row["ooms"], row["limit"]) for row in rows}

    def installation(self) -> str:
        """The id that all our objects are labelled with. Raises Conflict in a copy of the database that has it."""
        found = read_installation(self.database)
        check_home(found)
        return found.id


def _past(row: Row) -> Past:
    streams = {name: StreamEnd(*told) for name, told in row["streams"].items()}
    return Past(LogPosition(row["chunk"], row["bytes"], streams), row["facts"], row["age"], row["marked"])
