"""What SQL knows of pods: intents before they are asked for, facts while they run, and who may take them over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from halfstep.claims import Claim, Exchanged, Turn
from halfstep.database import Database
from halfstep.queue import claim_of
from halfstep.reports import Report, as_report


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod of an attempt. uid None: not acknowledged. facts: for people. keep_seconds: how long its name must stay taken."""

    attempt_id: str
    task_id: int
    attempt: int
    cluster: str
    namespace: str
    name: str
    uid: str | None = None
    facts: dict[str, Any] | None = None
    keep_seconds: float | None = None

    def as_record(self) -> dict[str, Any]:
        """What `write_pods.sql` reads."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The next chunk's number, bytes written, and the time of the last line (seconds since 1970)."""

    chunk: int = 0
    written: int = 0
    last_at: float | None = None


class PodBook:
    """Used by one thread; every call is one commit. Raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def write(self, rows: Sequence[PodRow]) -> None:
        """Adds or brings up to date."""
        self.database.run("write_pods", pods=json.dumps([row.as_record() for row in rows]))

    def adopt(self, turn: Turn, *, token: str, batch: int = 100) -> Exchanged:
        """Takes over pod tasks of dead launchers of this cluster and these queues. It takes a turn like an exchange."""
        rows = self.database.run(
            "adopt", worker=turn.worker, sequence=turn.sequence, queues=list(turn.queues), placement=turn.placement,
            cluster=turn.cluster, token=token, batch=batch,
        )  # fmt: skip
        claims = [claim_of(row, token) for row in rows if row["id"] is not None]
        mine = any(row["turn"] == 1 for row in rows if row["id"] is None)
        return Exchanged(mine, sorted(claims, key=lambda claim: claim.id), [], suspects=False)

    def live(self, attempts: Sequence[str]) -> set[str]:
        """Which of these attempts still need their pods, or their pods' names."""
        return {row["attempt_id"] for row in self.database.run("live_attempts", attempts=list(attempts))}

    def list(self, *, task: int | None = None, everyone: bool = False, limit: int = 200) -> list[Report]:
        """Pods of running attempts; `everyone`: also of those that ended and are remembered. Newest first."""
        return [as_report(row) for row in self.database.run("list_pods", task=task, everyone=everyone, limit=limit)]

    def log_positions(self, claims: Sequence[Claim]) -> dict[str, LogPosition]:
        """By attempt: how far its log has been written."""
        rows = self.database.run("log_positions", ids=[c.id for c in claims], attempts=[c.attempt for c in claims])
        attempts = {claim.id: claim.attempt_id for claim in claims}
        return {attempts[row["id"]]: LogPosition(row["chunk"], row["bytes"], row["last_at"]) for row in rows}

    def installation(self) -> str:
        """The id that all our objects are labelled with."""
        return str(self.database.run("installation")[0]["id"])
