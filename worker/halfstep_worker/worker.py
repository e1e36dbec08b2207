"""The worker: one loop that gives claims to children and their ends to the exchange. Start it with `Worker(settings).run()`."""

from __future__ import annotations

import os
import time
from collections import deque

from halfstep.claims import Claim
from halfstep.events import emit
from halfstep.shield import shield
from halfstep_worker.bodies import Bodies
from halfstep_worker.children.kernel import adopt_orphans
from halfstep_worker.desk import Desk
from halfstep_worker.exchanger import Exchanger
from halfstep_worker.heartbeat import Pulse, lease_left
from halfstep_worker.membership import Membership
from halfstep_worker.metrics import WorkerMetrics
from halfstep_worker.settings import WorkerSettings
from halfstep_worker.source import SourceWatch

TURN_SECONDS = 0.5
"""The loop turns at least this often: it is what the heartbeat vouches for."""
HELD_SECONDS = 1.0
"""What a worker holds and could not start for this long goes back to the queue."""


class Worker:
    """`run` blocks until the worker has drained. `drain` and `stop` only set flags: signal handlers may call them."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self._desk = Desk()
        self._pulse = Pulse()
        self._bodies = Bodies(settings, wake_fd=self._desk.wake_fd)
        self._source = SourceWatch(settings.source)
        metrics = WorkerMetrics(
            settings, self._pulse, children=lambda: self._bodies.children_started, leaves=lambda: self._drain_wanted
        )
        exchanger = Exchanger(settings, self._desk, self._pulse)
        self._membership = Membership(settings, self._desk, self._pulse, exchanger, metrics)
        self._waiting: deque[Claim] = deque()
        self._waiting_since: float | None = None
        self._drain_wanted = False
        self._stop_wanted = False
        self._draining_since: float | None = None
        self._stays_until = 0.0  # after a drain by SQL: whoever asked for it is about to take the pod away

    def drain(self) -> None:
        """Claim no more, hand back what has not started, let bodies end within the grace, then stop them and leave."""
        self._drain_wanted, self._stays_until = True, 0.0
        os.eventfd_write(self._desk.wake_fd, 1)  # a wait is not ended by a signal alone

    def stop(self) -> None:
        """Like `drain`, without the grace."""
        self._stop_wanted = True
        self.drain()

    def run(self) -> int:
        """Works until drained; 0 if everything was written, 1 if something is left to be rescued. Raises HalfstepError."""
        shield()
        adopt_orphans()  # what a killed zygote leaves is ours to end
        if not self._membership.arrive():
            return 0
        self._bodies.start()
        try:
            if self._membership.join():
                self._work()
        finally:
            written = self._close()
        return 0 if written else 1

    def _work(self) -> None:
        self._membership.work()
        while not self._is_done():
            self._turn(time.monotonic())

    # -- its end

    def _is_done(self) -> bool:
        left = self._draining_since is not None and not self._waiting and not self._bodies.running
        return left and time.monotonic() >= self._stays_until

    def _close(self) -> bool:
        self._bodies.stop()
        self._desk.send(self._bodies.take_outgoing(time.monotonic(), everything=True))
        return self._membership.leave(seconds=self.settings.write_grace)

    # -- one turn

    def _turn(self, now: float) -> None:
        self._pulse.turned_at = now
        self._pulse.busy = self._bodies.busy
        self._collect()
        self._lay_on(now)
        self._desk.aim(0 if self._drain_wanted else self._bodies.capacity)
        self._bodies.poll(self._pause(now))
        self._mind(time.monotonic())
        self._desk.send(self._bodies.take_outgoing(time.monotonic()))

    def _pause(self, now: float) -> float:
        if self._drain_wanted and self._draining_since is None:
            return 0.0
        deadlines = [now + TURN_SECONDS, *self._bodies.deadlines()]
        return max(0.0, min(deadlines) - now)

    def _collect(self) -> None:
        incoming = self._desk.collect()
        self._waiting.extend(incoming.claims)
        for claim in incoming.lost:
            self._bodies.abandon(claim)
        lost = {(claim.id, claim.token) for claim in incoming.lost}
        if lost:
            self._waiting = deque(claim for claim in self._waiting if (claim.id, claim.token) not in lost)
        for id in incoming.cancelled:
            self._cancel(id)
        if incoming.drain and not self._drain_wanted:
            self._drain_wanted = True
            self._stays_until = time.monotonic() + self.settings.linger

    def _cancel(self, id: int) -> None:
        waiting = next((claim for claim in self._waiting if claim.id == id), None)
        if waiting is None:
            self._bodies.cancel(id)
            return
        self._waiting.remove(waiting)
        self._bodies.cancel_unstarted(waiting)

    def _lay_on(self, now: float) -> None:
        """Gives waiting claims to children, unless the worker leaves, or its lease is over: then they may be somebody else's."""
        if self._drain_wanted or lease_left(self._pulse, self.settings, now=now) <= 0:
            return
        self._bodies.lay_on(self._waiting, now)
        if not self._waiting:
            self._waiting_since = None
            return
        self._waiting_since = max(self._waiting_since or now, self._bodies.moved_at)
        if now - self._waiting_since > HELD_SECONDS:
            self._hand_back("slots stayed busy")

    def _hand_back(self, reason: str) -> None:
        self._waiting.extendleft(reversed(self._bodies.recall()))
        self._bodies.release_unstarted(self._waiting, reason)
        self._waiting.clear()
        self._waiting_since = None

    def _mind(self, now: float) -> None:
        """Deadlines: of bodies, of the lease, of the drain; and the source folder."""
        self._waiting.extendleft(reversed(self._bodies.returned()))
        self._bodies.enforce_timeouts(now)
        for error in self._bodies.troubles():
            emit("source.broken", error=error)
        left = lease_left(self._pulse, self.settings, now=now)
        if left < self.settings.lease_seconds / 4:
            self._bodies.stop_at_most_once("lease", within=max(0.0, left / 2))
        if self.settings.parent is not None and os.getppid() != self.settings.parent and not self._drain_wanted:
            emit("worker.parent_gone")
            self.drain()
        if self._drain_wanted:
            self._drain(now)
        elif self._source.changed(now):
            emit("source.changed")
            self._bodies.reload()

    def _drain(self, now: float) -> None:
        if self._draining_since is None:
            self._draining_since = now
            self._desk.aim(0)
            self._membership.say_draining()
            emit("worker.draining", running=self._bodies.running)
            self._bodies.warn("drain")
        self._hand_back("drain")
        if self._bodies.running and (self._stop_wanted or now - self._draining_since > self.settings.grace):
            self._bodies.stop_all("drain")
