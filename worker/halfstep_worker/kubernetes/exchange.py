"""A launcher's exchange: it writes what is known of pods, and takes over those of dead launchers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar
from uuid import uuid4

from halfstep.claims import Claim
from halfstep.errors import RefusedValue
from halfstep.events import emit
from halfstep.failpoints import reach
from halfstep.installation import settle
from halfstep.pods import Doubt, PodBook, PodRow, Strangers
from halfstep.troubles import TroubleBook, TroubleRow
from halfstep.visible import visible_line
from halfstep_worker.desk import Desk, Incoming
from halfstep_worker.exchanger import Exchanger
from halfstep_worker.heartbeat import Pulse
from halfstep_worker.kubernetes.apart import Apart
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.twins import twins
from halfstep_worker.mending import ascii_text
from halfstep_worker.settings import WorkerSettings

T = TypeVar("T")

ADOPT_SECONDS = 1.0
ADOPT_BATCH = 100
REWORD_SECONDS = 10.0
"""How often the same troubles are told in other words: a server's may differ with each answer."""


class PodExchanger(Exchanger):
    """Pods outlive their launcher: what it still holds when it leaves is handed over, not released.

    troubles: what keeps the launcher from getting on, for SQL. adopts: whether it takes over pods of others. It does so also
    while it claims nothing for a trouble: what can still be seen of them is.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        desk: Desk,
        pulse: Pulse,
        defaults: PodDefaults | None = None,
        *,
        troubles: Callable[[], list[TroubleRow]] = lambda: [],
        adopts: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(settings, desk, pulse)
        self._defaults = defaults or PodDefaults()
        self._book = PodBook(self._database)
        self._troubles = troubles
        self._adopts = adopts
        self._trouble_book = TroubleBook(self._database)
        self._told: tuple[str, dict[tuple[str, ...], str]] = "", {}
        """What SQL knows of our troubles, and under which registration of ours."""
        self._told_at = 0.0
        self._apart = Apart()
        self._adopt_at = 0.0
        self._making: dict[str, Claim] = {}
        """By attempt: claims of which SQL does not know yet that their pods are there, or why not."""

    def installation(self) -> str:
        """The id that our pods are labelled with. Called before the thread starts. Raises HalfstepError."""
        return settle(self._book.database)

    def _give_back_the_rest(self) -> None:
        """Deregistering marks the lease dead, and another launcher adopts the pods at once. Its troubles leave with it."""
        if self._told[1]:
            self._write_troubles([])

    def _tell_troubles(self, now: float) -> None:
        """When they have changed. Before all else: what is refused later in the round is to be told, too."""
        rows = [*self._troubles(), *(TroubleRow(self._settings.cluster, "", *refused) for refused in self._apart.refused(now))]
        words: dict[tuple[str, ...], str] = {(row.cluster, row.namespace, row.part): row.sentence for row in rows}
        told = self._worker, words
        if told == self._told or not (told[1] or self._told[1]):
            return
        others = told[0] != self._told[0] or told[1].keys() != self._told[1].keys()
        if others or now - self._told_at >= REWORD_SECONDS:
            self._write_troubles(rows)
            self._told, self._told_at = told, now

    def _write_troubles(self, rows: list[TroubleRow]) -> None:
        """In a form that any database takes, if need be."""
        try:
            self._trouble_book.write(self._worker, rows)
        except RefusedValue:
            plain = [replace(row, namespace=ascii_text(row.namespace), sentence=ascii_text(row.sentence)) for row in rows]
            self._apart.go("tell troubles", lambda: self._trouble_book.write(self._worker, plain), time.monotonic())

    def _see_to_pods(self, now: float) -> None:
        """A value that the server refuses of one of these keeps none of the others from going on, nor the exchange."""
        out = self._ledger.outgoing
        if out.pods:
            self._writer.write_pods(self._send_pods)
        if out.doubtful:
            doubtful, out.doubtful = out.doubtful, []
            self._answer(doubtful)
        if out.strangers is not None:
            self._write_strangers(out.strangers)
            out.strangers = None
        if now >= self._adopt_at and self._adopts() and not self._stopped.is_set():
            self._apart.go("adopt pods", lambda: self._adopt(now), now)

    def _answer(self, doubts: list[Doubt]) -> None:
        """What the pods are that no flight explains. Those of another database that has our id make the launcher leave.

        Of one that the server can't make sense of nothing is known: it is left alone.
        """
        try:
            words = self._book.doubted(doubts)
        except RefusedValue as error:
            if len(doubts) == 1:
                emit("part.refused", part="doubt pods", error=f"{visible_line(ascii_text(doubts[0].uid, 100))}: {error}")
                return
            half = len(doubts) // 2
            self._answer(doubts[:half])
            self._answer(doubts[half:])
            return
        unknown = [doubt for doubt in doubts if words.get(doubt.uid) == "unknown"]
        theirs = twins(unknown, self._desk)
        garbage = [uid for uid, word in words.items() if word == "garbage"]
        strangers = {uid: word for uid, word in words.items() if word in ("foreign", "unknown") and uid not in theirs}
        self._desk.deliver(Incoming(garbage=garbage, strangers=strangers))

    def _write_strangers(self, strangers: Strangers) -> None:
        """For people: what the database does not take is left out."""
        try:
            self._book.write_strangers(strangers)
        except RefusedValue as error:
            emit("pod.strangers_unwritable", error=error)

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
        pasts = self._of_each(known, self._book.pasts) if known else {}
        if claims:
            self._making |= {claim.attempt_id: claim for claim in claims if claim.pod_uid is None}
            self._ledger.accept(claims)
            self._desk.deliver(Incoming(claims=claims, pasts=pasts))

    def _with_befores(self, claims: list[Claim]) -> list[Claim]:
        """What most pods are made without is looked up for those that need it, beside the exchange."""
        labels = self._defaults.task_labels
        asking = [claim for claim in claims if labels or (claim.attempt > 1 and self._may_grow(claim))]
        found = self._of_each(asking, lambda claims: self._book.befores(claims, labels)) if asking else {}
        return [claim._replace(before=found[claim.attempt_id]) if claim.attempt_id in found else claim for claim in claims]

    def _may_grow(self, claim: Claim) -> bool:
        return self._defaults.on_oom is not None or "on_oom" in claim.args

    def _of_each(self, claims: list[Claim], look: Callable[[list[Claim]], dict[str, T]]) -> dict[str, T]:
        """By attempt. Of what can't be read nothing is known; the others' is."""
        try:
            return look(claims)
        except RefusedValue as error:
            if len(claims) == 1:
                emit("pod.past_unreadable", task=claims[0].id, error=error)
                return {}
            half = len(claims) // 2
            return self._of_each(claims[:half], look) | self._of_each(claims[half:], look)

    def _acknowledge(self, claims: list[Claim]) -> None:
        if claims:
            self._desk.deliver(Incoming(settled=list(claims)))
