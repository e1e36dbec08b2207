"""The exchange: the one thread of a worker that writes claims and their ends. It owns what the worker holds according to SQL.

Everything it was given stays with it until the server has acknowledged it. After any failure the truth is asked for: the
sequence moves on (so that a statement still under way can do no harm), what was recorded is dropped, and what SQL holds
under this worker's name is compared with what the worker knows.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from halfstep import __version__
from halfstep.caretaker import Caretaker
from halfstep.claims import Claim, Ending, Exchanged, Turn, Wish
from halfstep.database import ConnectionSettings
from halfstep.errors import DatabaseUnavailable, HalfstepError, RefusedValue
from halfstep.events import emit
from halfstep.failpoints import reach
from halfstep.ownership import TrustedDatabase
from halfstep.queue import Queue, WorkerCard
from halfstep_worker.desk import Desk, Incoming
from halfstep_worker.fairness import QueueOrder
from halfstep_worker.heartbeat import EXCHANGE, Pulse, lease_left
from halfstep_worker.ledger import Ledger
from halfstep_worker.polling import Patience, Polling
from halfstep_worker.settings import WorkerSettings
from halfstep_worker.writer import Writer

MOST = 1_000
"""Claims and ends in one exchange."""
MOST_DOUBTED = 10
"""So many tasks whose ends are refused in any form: whoever can't end tasks claims no more."""
EXCHANGE_SECONDS = 300.0
"""Longer than any step of a round: every statement has its time-out, and a step has few."""
ASK_SECONDS = 1.0
"""How often a worker looks for cancel requests and new queues when no hint comes."""


class Exchanger(threading.Thread):
    """`tick` is one round; the thread repeats it until `stop` and until everything it was given is written."""

    def __init__(self, settings: WorkerSettings, desk: Desk, pulse: Pulse) -> None:
        super().__init__(name="exchange", daemon=True)
        self._settings = settings
        self._desk = desk
        self._pulse = pulse
        self._database = TrustedDatabase(settings.database_url, ConnectionSettings("halfstep exchange"))
        self._queue = Queue(self._database)
        self._caretaker = Caretaker(self._queue, clock=time.monotonic)
        self._order = QueueOrder()
        self._polling = Polling(settings.poll_seconds)
        self._patience = Patience()
        self._worker = ""
        self._sequence = 0
        self._ledger = Ledger()
        self._writer = Writer(
            self._ledger, self._queue, pulse, send_chunks=self._send_chunks, acknowledge=self._acknowledge
        )  # fmt: skip
        self._part = pulse.progress.part(EXCHANGE, bound=EXCHANGE_SECONDS)
        self._uncertain = False
        self._ask_at = 0.0
        self._delay = 0.0
        self._abandoned = False
        self._stopped = threading.Event()
        self.exchanged: Callable[[float], None] = lambda seconds: None
        """Told how long each exchange took."""

    # -- the thread

    def register(self) -> None:
        """A new identity with a lease. Raises HalfstepError."""
        settings, worker = self._settings, str(uuid4())
        started = time.monotonic()
        self._queue.register(_card(settings, worker, follows=self._worker or None))
        self._worker, self._sequence = worker, 0
        self._pulse.worker_id, self._pulse.renewed_at = worker, started

    def run(self) -> None:
        """Rounds until stopped and empty. An error that is none of ours ends the loop too: the process must not look alive."""
        try:
            while not (self._stopped.is_set() and self._is_empty()):
                self._round()
            self._leave()
        except BaseException as fault:
            self._abandoned = True
            self._part.fell(fault)
            self._desk.fail(fault)
            raise
        finally:
            self._part.rests()
            self._database.close()

    def _is_empty(self) -> bool:
        """Nothing is left to write, and no reply is missing that could have brought claims we would have to hand back."""
        return not self._ledger.outgoing and not (self._uncertain and self._ledger.held)

    def stop(self, *, timeout: float) -> bool:
        """Writes what it has and deregisters; whether nothing is left for a rescue after `timeout` seconds."""
        self._stopped.set()
        self._desk.hint("stop")
        if self.is_alive():
            self.join(timeout)
        return not (self.is_alive() or self._abandoned)

    def _round(self) -> None:
        try:
            self.tick()
            self._succeeded()
        except HalfstepError as error:
            self._failed(error)
        else:
            self._rest()

    def _succeeded(self) -> None:
        self._pulse.failing = None
        if self._delay:
            self._delay = 0.0
            emit("database.back")

    def _failed(self, error: HalfstepError) -> None:
        self._uncertain = True
        since = time.monotonic() if self._pulse.failing is None else self._pulse.failing[0]
        self._pulse.failing = since, str(error)
        if not self._delay:
            emit("database.away", error=error, delay=0.1)
        self._delay = min(1.0, self._delay * 2 or 0.1)
        self._desk.wait(0, target=self._desk.target)  # takes the hints away; they are no help now
        self._stopped.wait(self._delay * random.uniform(0.5, 1.0))

    def _rest(self) -> None:
        if self._stopped.is_set():
            self._ledger.outgoing.merge(self._desk.take())
            return
        target = self._desk.target
        if self._ledger.outgoing or (self._polling.hungry and self._wants(time.monotonic()).want):
            return
        now = time.monotonic()
        wanting = self._wants(now).want > 0
        due = min(self._ask_at, self._caretaker.next_due(), self._polling.next_at if wanting else now + ASK_SECONDS)
        hints = self._desk.wait(due - now, target=target)
        if "ready" in hints:
            self._polling.hint()
        if "cancel" in hints or "ready" in hints:
            self._ask_at = 0.0

    def _leave(self) -> None:
        """What came in too late for the loop to start goes back first."""
        try:
            self._give_back_the_rest()
            self._queue.deregister(self._worker)
            self._abandoned = bool(self._ledger.aside.claims())  # their tasks are rescued, and run again
        except HalfstepError as error:
            self._abandoned = bool(self._ledger.held)
            emit("database.away", error=error, delay=0.0)

    def _give_back_the_rest(self) -> None:
        self._queue.release(self._ledger.running(), reason="drain", started=False)

    # -- one round

    def tick(self) -> None:
        """Writes what there is to write, claims what is wanted, and gives the queue its care. Raises HalfstepError."""
        self._part.turned()
        self._ledger.bring_back(time.monotonic())
        self._ledger.outgoing.merge(self._desk.take())
        if self._uncertain or self._pulse.marked_dead == self._worker:
            self._recover()
        self._tell_troubles(time.monotonic())
        self._writer.write_logs()
        self._see_to_pods(time.monotonic())
        self._writer.hand_back()
        self._part.turned()
        self._exchange(time.monotonic())
        self._ask(time.monotonic())
        if not self._ledger.held:
            self._part.rests()  # pruning takes as long as it takes, and nobody waits for it
        self._caretaker.tick(idle=not self._ledger.held)
        self._writer.back_off_if_stuck()

    def _exchange(self, now: float) -> None:
        endings = self._ledger.portion(MOST)
        try:
            self._take_turn(endings, now)
        except RefusedValue:
            if not endings:
                raise
            self._writer.write_ends(endings, self._end)
            self._take_turn([], now)  # or else a stream of culprits would keep the worker from claiming

    def _take_turn(self, endings: list[Ending], now: float) -> None:
        wish = self._wants(now)
        if not endings and (not wish.want or not self._polling.due(now)):
            return
        _stand("before", claims=wish.want, ends=len(endings))
        done = self._queue.exchange(self._turn(), wish, endings)
        _stand("after", claims=len(done.claims), ends=len(endings))
        self.exchanged(time.monotonic() - now)
        self._note(done, wish, endings, now)

    def _end(self, endings: list[Ending]) -> list[int]:
        """Only ends, claims nothing: it may have been the claims that were refused."""
        done = self._queue.exchange(self._turn(), Wish(0, str(uuid4())), endings)
        if not done.mine:
            self._uncertain = True
            raise DatabaseUnavailable("It was not this exchange's turn; the database is asked for the truth.")
        self._sequence += 1
        return done.refused

    def _note(self, done: Exchanged, wish: Wish, endings: list[Ending], now: float) -> None:
        if not done.mine:
            self._uncertain = True
            return
        self._sequence += 1
        self._ledger.ends_written(endings)
        self._writer.forget([ending.claim for ending in endings], done.refused)
        self._patience.note(suspects=done.suspects, now=now)
        if wish.want:
            self._polling.note(got=len(done.claims), wanted=wish.want, now=now)
            self._order.note([claim.queue for claim in done.claims], short=len(done.claims) < wish.want)
        self._accept(done.claims)

    def _wants(self, now: float) -> Wish:
        """How many claims, and of which kind. A worker that can't renew its lease claims nothing."""
        held = self._ledger.unended
        free = min(self._desk.target - held, MOST)
        token = str(uuid4())
        if (
            free <= 0
            or len(self._ledger.doubted) >= MOST_DOUBTED
            or self._stopped.is_set()
            or lease_left(self._pulse, self._settings, now=now) < self._settings.lease_seconds / 4
        ):
            return Wish(0, token)
        if self._is_taken():
            return Wish(0, token)
        if self._patience.suspects and not self._company():
            return Wish(1, token, alone=True, waiting=self._polling.idle)
        if self._patience.runs_dry(now):
            return Wish(0, token)
        return Wish(free, token, waiting=self._polling.idle)

    def _is_taken(self) -> bool:
        """Whether a suspect is here, which is to be alone. Looked for among all that is held first, as there is mostly none."""
        return any(claim.alone for claim in self._ledger.held.values()) and any(claim.alone for claim in self._company())

    def _company(self) -> list[Claim]:
        """What a suspect would not be alone with here."""
        return self._ledger.running() if self._ledger.unended > 0 else []

    def _turn(self) -> Turn:
        settings = self._settings
        return Turn(self._worker, self._sequence, self._order.names(), settings.placement, settings.cluster)

    def _tell_troubles(self, now: float) -> None:
        """A launcher tells what keeps it from getting on; see `PodExchanger`."""

    def _see_to_pods(self, now: float) -> None:
        """A launcher has more to write and to take over; see `PodExchanger`."""

    def _accept(self, claims: list[Claim]) -> None:
        if claims:
            self._ledger.accept(claims)
            self._desk.deliver(Incoming(claims=claims))

    def _send_chunks(self, chunks: list[dict[str, Any]]) -> None:
        self._queue.write_log(chunks)

    def _acknowledge(self, claims: list[Claim]) -> None:
        """The ends of these claims are in SQL. A launcher's pods wait for that."""

    def _ask(self, now: float) -> None:
        if now < self._ask_at:
            return
        self._ask_at = now + ASK_SECONDS
        weights = self._queue.queue_weights()
        served = self._settings.queues
        self._order.update(weights if served is None else {name: weights.get(name, 1) for name in served})
        cancelled = self._queue.cancel_requests(self._worker) if self._ledger.held else []
        if cancelled or self._pulse.drain_requested:
            self._desk.deliver(Incoming(cancelled=cancelled, drain=self._pulse.drain_requested))

    # -- after a failure

    def _recover(self) -> None:
        sequence = self._queue.resync(self._worker)
        ended = self._ledger.ended()
        if ended:
            self._acknowledge(self._ledger.drop(self._queue.recorded(ended)))
        if sequence is None:
            self._begin_afresh()
        else:
            self._sequence = sequence
            self._compare()
        self._uncertain = False

    def _begin_afresh(self) -> None:
        """Others took this worker for dead: what it holds is theirs. Results that are ready still meet the fence."""
        lost = self._ledger.lose()
        emit("worker.marked_dead", lost=len(lost))
        self._desk.deliver(Incoming(lost=lost))
        self.register()

    def _compare(self) -> None:
        """What SQL holds under our name and we don't know of was claimed by a lost reply; what only we know of is lost."""
        in_sql = self._queue.holdings(self._worker)
        lost = self._ledger.lose(but=in_sql)
        if lost:
            self._desk.deliver(Incoming(lost=lost))
        self._accept(self._ledger.unknown(in_sql))


def _stand(moment: str, *, claims: int, ends: int) -> None:
    """At the failpoints of an exchange that claims or finishes something."""
    if claims:
        reach(f"claim.{moment}")
    if ends:
        reach(f"finish.{moment}")


def _card(settings: WorkerSettings, worker: str, *, follows: str | None) -> WorkerCard:
    return WorkerCard(
        id=worker, name=settings.name, host=socket.gethostname(), pid=os.getpid(), version=__version__, slots=settings.slots,
        queues=settings.queues, placement=settings.placement, cluster=settings.cluster, lease_seconds=settings.lease_seconds,
        follows=follows,
    )  # fmt: skip
