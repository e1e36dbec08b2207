"""A launcher's exchange: it writes what is known of pods, and takes over those of dead launchers."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from halfstep.claims import Claim
from halfstep.errors import RefusedValue
from halfstep.events import emit
from halfstep.failpoints import reach
from halfstep.installation import settle
from halfstep.pods import Past, PodBook, PodRow
from halfstep_worker.desk import Desk, Incoming
from halfstep_worker.exchanger import Exchanger
from halfstep_worker.heartbeat import Pulse
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.twins import twins
from halfstep_worker.settings import WorkerSettings

ADOPT_SECONDS = 1.0
ADOPT_BATCH = 100


class PodExchanger(Exchanger):
    """Pods outlive their launcher: what it still holds when it leaves is handed over, not released."""

    def __init__(self, settings: WorkerSettings, desk: Desk, pulse: Pulse, defaults: PodDefaults | None = None) -> None:
        super().__init__(settings, desk, pulse)
        self._defaults = defaults or PodDefaults()
        self._book = PodBook(self._database)
        self._adopt_at = 0.0
        self._making: dict[str, Claim] = {}
        """By attempt: claims of which SQL does not know yet that their pods are there, or why not."""

    def installation(self) -> str:
        """The id that our pods are labelled with. Called before the thread starts. Raises HalfstepError."""
        return settle(self._book.database)

    def _give_back_the_rest(self) -> None:
        """Deregistering marks the lease dead, and another launcher adopts the pods at once."""

    def _see_to_pods(self, now: float) -> None:
        out = self._ledger.outgoing
        if out.pods:
            self._writer.write_pods(self._send_pods)
        if out.doubtful:
            kept = self._book.live(out.doubtful) | twins(self._book, out.doubtful, self._desk)
            self._desk.deliver(Incoming(garbage=[attempt for attempt in out.doubtful if attempt not in kept]))
            out.doubtful.clear()
        if now >= self._adopt_at and self._desk.target > 0 and not self._stopped.is_set():
            self._adopt(now)

    def _send_pods(self, rows: list[PodRow]) -> None:
        reach("pod.intend")
        written = self._book.write(rows)
        reach("pod.intended")
        intended = [row.attempt_id for row in rows if row.uid is None]
        self._desk.deliver(Incoming(intended=[attempt for attempt in intended if attempt in written]))
        for row in rows:
            if row.uid is not None or row.facts is not None:
                self._making.pop(row.attempt_id, None)

    def _send_chunks(self, chunks: list[dict[str, Any]]) -> None:
        """With the claims that they are of: chunks of those that somebody else holds by now are refused."""
        held = self._ledger.held
        ours = [chunk | {"token": held[chunk["task_id"]].token} for chunk in chunks if chunk["task_id"] in held]
        self._book.write_log(ours)

    def _company(self) -> list[Claim]:
        """Only the claims whose pods are just being made: those that run, thousands perhaps, can't be what a launcher dies of."""
        held = self._ledger.held
        self._making = {attempt: claim for attempt, claim in self._making.items() if held.get(claim.id) is claim}
        return list(self._making.values())

    def _adopt(self, now: float) -> None:
        company = self._company()
        if any(claim.alone for claim in company):
            return
        done = self._book.adopt(self._turn(), token=str(uuid4()), batch=ADOPT_BATCH, free=not company)
        if not done.mine:
            self._uncertain = True
            return
        self._sequence += 1
        self._adopt_at = now + (0.0 if len(done.claims) == ADOPT_BATCH else ADOPT_SECONDS)
        if done.claims:
            emit("pod.adopted", count=len(done.claims))
        self._accept(done.claims)

    def _accept(self, claims: list[Claim]) -> None:
        """What was claimed before, by a dead launcher or by a lost reply, comes with its past: the loop never sees it without."""
        claims = self._with_befores(claims)
        known = [claim for claim in claims if claim.pod_namespace is not None]
        pasts = self._pasts(known) if known else {}
        if claims:
            self._making |= {claim.attempt_id: claim for claim in claims if claim.pod_uid is None}
            self._ledger.accept(claims)
            self._desk.deliver(Incoming(claims=claims, pasts=pasts))

    def _with_befores(self, claims: list[Claim]) -> list[Claim]:
        """What most pods are made without is looked up for those that need it, beside the exchange."""
        labels = self._defaults.task_labels
        asking = [claim for claim in claims if labels or (claim.attempt > 1 and self._may_grow(claim))]
        found = self._book.befores(asking, labels) if asking else {}
        return [claim._replace(before=found[claim.attempt_id]) if claim.attempt_id in found else claim for claim in claims]

    def _may_grow(self, claim: Claim) -> bool:
        return self._defaults.on_oom is not None or "on_oom" in claim.args

    def _pasts(self, claims: list[Claim]) -> dict[str, Past]:
        """Of a log that can't be read nothing is known; the others' pasts are."""
        try:
            return self._book.pasts(claims)
        except RefusedValue as error:
            if len(claims) == 1:
                emit("pod.past_unreadable", task=claims[0].id, error=error)
                return {}
            half = len(claims) // 2
            return self._pasts(claims[:half]) | self._pasts(claims[half:])

    def _acknowledge(self, claims: list[Claim]) -> None:
        if claims:
            self._desk.deliver(Incoming(settled=list(claims)))
