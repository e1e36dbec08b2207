"""The launcher: a worker that keeps pods instead of children. It runs no user code and holds the cluster's token."""

from __future__ import annotations

import select
import time

from halfstep.events import emit
from halfstep_worker.desk import Desk
from halfstep_worker.heartbeat import Pulse, lease_left
from halfstep_worker.kubernetes.cockpit import Cockpit
from halfstep_worker.kubernetes.exchange import PodExchanger
from halfstep_worker.kubernetes.standing import Standing, TroubleMetrics
from halfstep_worker.membership import Membership
from halfstep_worker.metrics import WorkerMetrics
from halfstep_worker.settings import WorkerSettings

TURN_SECONDS = 0.5
AHEAD = 200
"""Claims whose pods are not acknowledged yet: what starts within a second."""
FACTS_SECONDS = 1.0
DOUBT_SECONDS = 30.0
HAND_BACK_SECONDS = 30.0
"""Tasks wait so long in a launcher that can make no pods for them; then others may have them."""
LEAVE_SECONDS = 15.0
"""How long a leaving launcher waits for the answers of its create calls."""


class Launcher:
    """`run` blocks until drained. `drain` and `stop` only set flags: signal handlers may call them."""

    def __init__(self, settings: WorkerSettings, cockpit: Cockpit) -> None:
        self.settings = settings
        self._cockpit = cockpit
        self._desk = Desk()
        self._pulse = Pulse(progress=cockpit.progress)
        standing = Standing(settings.cluster, cockpit.namespaces, cockpit.troubles, self._pulse)
        self._exchanger = PodExchanger(
            settings, self._desk, self._pulse, cockpit.defaults, troubles=standing.rows,
            adopts=lambda: not (self._drain_wanted or self._fell),
        )  # fmt: skip
        metrics = WorkerMetrics(settings, self._pulse, leaves=lambda: self._drain_wanted)
        metrics.registry.register(TroubleMetrics(standing, cockpit.troubles.name))
        self._membership = Membership(
            settings, self._desk, self._pulse, self._exchanger, metrics, why_not_ready=standing.why_not_ready
        )
        self._held_back_since: float | None = None
        self._drain_wanted = False
        self._fell = False
        self._draining_since: float | None = None
        self._facts_at = 0.0
        self._doubt_at = 0.0

    def drain(self) -> None:
        """Claim no more, hand the pods over, leave."""
        self._drain_wanted = True

    def stop(self) -> None:
        """The same: a launcher's drain waits for nothing that takes long."""
        self._drain_wanted = True

    def run(self) -> int:
        """Works until drained; 0 if everything was written. Raises HalfstepError at the start.

        Whatever it raises later is told by its lease: those who take over have to learn that it died, and did not leave.
        """
        if not (self._membership.arrive() and self._membership.join()):
            return 0
        self._start()
        try:
            while not self._is_done(time.monotonic()):
                self._turn(time.monotonic())
        except BaseException:
            self._fell = True
            self._desk.aim(0)
            self._cockpit.stop()
            raise
        return 0 if self._close() else 1

    # -- start and end

    def _start(self) -> None:
        self._cockpit.start(
            self._exchanger.installation(), lambda: lease_left(self._pulse, self.settings, now=time.monotonic())
        )  # fmt: skip
        self._cockpit.flights.alive = self._turned
        self._turned()
        self._membership.work()

    def _turned(self) -> None:
        self._pulse.turned_at = time.monotonic()

    def _is_done(self, now: float) -> bool:
        if self._draining_since is None:
            return False
        return not self._cockpit.flights.creating or now - self._draining_since > LEAVE_SECONDS

    def _close(self) -> bool:
        self._cockpit.stop()
        self._send()
        return self._membership.leave(seconds=LEAVE_SECONDS)

    # -- one turn

    def _turn(self, now: float) -> None:
        flights = self._cockpit.flights
        self._pulse.turned_at = now
        self._pulse.busy = len(flights)
        incoming = self._desk.collect()
        self._drain_wanted = self._drain_wanted or incoming.drain
        flights.hear(incoming, now)
        self._cockpit.turn(now)
        self._now_and_then(now)
        if self._drain_wanted:
            self._leave(now)
        held_back = self._hold_back(now)
        wanted = min(self.settings.slots, len(flights) - flights.making() + AHEAD)
        self._desk.aim(0 if self._drain_wanted or held_back else wanted)
        self._send()
        select.select([self._desk.wake_fd, self._cockpit.wake_fd], [], [], self._pause(time.monotonic()))

    def _hold_back(self, now: float) -> bool:
        """Nothing is claimed while nothing can be made where most tasks go. What was claimed waits here, and goes back later."""
        why, since = self._cockpit.blocked(), self._held_back_since
        if why is None:
            self._held_back_since = None
            if since is not None:
                emit("claims.resumed")
            return False
        if since is None:
            self._held_back_since = now
            emit("claims.held_back", error=why)
        elif now - since >= HAND_BACK_SECONDS and (count := self._cockpit.flights.hand_back()):
            emit("claims.handed_back", count=count)
        return True

    def _pause(self, now: float) -> float:
        due = self._cockpit.next_at()
        return TURN_SECONDS if due is None else max(0.0, min(TURN_SECONDS, due - now))

    def _now_and_then(self, now: float) -> None:
        if now >= self._facts_at:
            self._facts_at = now + FACTS_SECONDS
            self._cockpit.flights.write_facts(now)
        if now >= self._doubt_at:
            self._doubt_at = now + DOUBT_SECONDS
            self._cockpit.doubt(now)

    def _leave(self, now: float) -> None:
        if self._draining_since is None:
            self._draining_since = now
            self._membership.say_draining()
            emit("worker.draining", running=len(self._cockpit.flights))
            self._cockpit.flights.leave()

    def _send(self) -> None:
        self._desk.send(self._cockpit.take_outgoing(time.monotonic()))
