"""An exchanger, round by round, for tests of what it writes; no threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from halfstep.claims import Claim
from halfstep.database import Database
from halfstep.producer import NewTask, enqueue_many
from halfstep.reports import Reports
from halfstep_worker.desk import Desk, Outgoing
from halfstep_worker.exchanger import Exchanger
from halfstep_worker.heartbeat import Pulse
from halfstep_worker.kubernetes.exchange import PodExchanger
from halfstep_worker.settings import WorkerSettings


@dataclass(slots=True)
class Rounds:
    """An exchanger that turns only when told, and counts its statements."""

    exchanger: Exchanger
    desk: Desk
    reports: Reports
    database: Database
    statements: list[str]

    def claim(self, count: int) -> list[Claim]:
        """That many new tasks."""
        placement = self.exchanger._settings.placement
        enqueue_many(self.database, [NewTask("python", {"function": "x:y"}, {"placement": placement}) for _ in range(count)])
        self.desk.aim(len(self.exchanger._ledger.held) + count)
        self.exchanger._queue.renew(self.exchanger._worker)  # no heartbeat beats here
        self.exchanger._pulse.renewed_at = time.monotonic()
        claims: list[Claim] = []
        for _ in range(2 * count):
            self.exchanger._polling.hint()
            self.exchanger.tick()
            claims += self.desk.collect().claims
            if len(claims) == count:
                return claims
        raise AssertionError(f"{len(claims)} of {count} tasks were claimed")

    def write(self, outgoing: Outgoing) -> None:
        """Everything, and nothing is claimed meanwhile."""
        self.desk.aim(0)
        self.desk.send(outgoing)
        self.statements.clear()
        self.exchanger.tick()

    def bring_back(self) -> None:
        """The time of what waits aside has come."""
        self.exchanger._ledger.aside_until = 0.0


@contextmanager
def rounds_of(url: str, placement: str = "worker") -> Iterator[Rounds]:
    """An exchanger of its own on that database."""
    desk, statements = Desk(), list[str]()
    made = PodExchanger if placement == "pod" else Exchanger
    exchanger = made(WorkerSettings(url, slots=1, placement=placement), desk, Pulse())
    run = exchanger._database.execute

    def counted(sql: str, *parameters: Any) -> Any:
        statements.append(sql)
        return run(sql, *parameters)

    exchanger._database.execute = counted  # type: ignore[method-assign]
    exchanger.register()
    with closing(Database(url)) as database, closing(exchanger._database):
        yield Rounds(exchanger, desk, Reports(database), database, statements)
    desk.close()
