"""The making of a flight's pod: asking for it, and what the answers come to until the API server has it. Used by the loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from halfstep.outcomes import Cancelled, Failed, Outcome
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.closing import Closing
from halfstep_worker.kubernetes.errands import Api, make
from halfstep_worker.kubernetes.findings import known_of
from halfstep_worker.kubernetes.flight import Flight, Stage
from halfstep_worker.kubernetes.identity import belongs
from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.stops import AGAIN_SECONDS, Stops
from halfstep_worker.kubernetes.timeline import trim
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.unsent import Unsent
from halfstep_worker.kubernetes.values import CreateOutcome, Pod, TryLater, Unavailable
from halfstep_worker.kubernetes.verdict import TAKEN, taken
from halfstep_worker.kubernetes.waits import Waits

CREATE_SECONDS = 10.0
"""Longest create call, on both ends; less when less is left of the lease."""
LEASE_SHARE = 0.7
"""Of what is left of the lease, the part that a create call may take."""
SHORTEST_CREATE = 0.5
HELD_SECONDS = 1.0
"""How often a pod that can't be made, as none can be made there, asks whether that is over."""
LEASE_SECONDS = 0.2
"""Before a create that too little of the lease was left for is tried again."""


class Making:
    """The words of its calls are `create` and `look`, that of its timer is `create`."""

    def __init__(
        self, installation: str, *, api: Api, calls: Calls, timers: Timers, waits: Waits, stops: Stops, closing: Closing,
        unsent: Unsent,
    ) -> None:  # fmt: skip
        self.leaving = False
        self.lease_left: Callable[[], float] = lambda: CREATE_SECONDS
        self.blocked: Callable[[str], str | None] = lambda namespace: None
        """Why no pod can be made in a namespace, whatever it is. Asked by API threads, too."""
        self._installation = installation
        self._api = api
        self._calls = calls
        self._timers = timers
        self._waits = waits
        self._stops = stops
        self._closing = closing
        self._unsent = unsent

    def create(self, flight: Flight, now: float) -> None:
        """Asks for the pod, unless somebody has cancelled it, we leave, or too little is left of the lease."""
        if flight.stop_reason is not None and not flight.doubtful:
            self._end(flight, Cancelled(), "cancelled")
        elif flight.manifest is None:
            self._calls.submit(flight.attempt_id, "look", partial(self._api.get_pod, flight.namespace, flight.name))
        elif self.leaving or self._create_seconds() < SHORTEST_CREATE:
            self._timers.set(now + LEASE_SECONDS, flight.attempt_id, "create")
        elif (why := self.blocked(flight.namespace)) is not None:
            self._unsent.tell(flight, why)
            self._waits.heard(flight, now, held=False)
            if flight.stop_reason is not None and not flight.adopted:  # it need not be made for that, and may never be again
                flight.manifest = None
            self._timers.set(now + HELD_SECONDS, flight.attempt_id, "create")
        else:
            flight.stage = Stage.CREATING
            self._calls.submit(flight.attempt_id, "create", partial(self._make, flight.namespace, flight.manifest))

    def _create_seconds(self) -> float:
        return min(CREATE_SECONDS, self.lease_left() * LEASE_SHARE)

    def _make(self, namespace: str, manifests: tuple[Pod, Pod | None]) -> CreateOutcome:
        """In a thread, which may have had to wait for its turn: what is left of the lease counts now."""
        seconds = self._create_seconds()
        if seconds < SHORTEST_CREATE:
            return TryLater("The launcher's lease has to be renewed first.", LEASE_SECONDS)
        if (why := self.blocked(namespace)) is not None:
            return Unavailable(why)
        return make(self._api, namespace, manifests, seconds)

    def try_later(self, flight: Flight, seconds: float, message: str, unknown: bool, now: float) -> None:
        """It was not made this time. unknown: or perhaps it was."""
        at = now + seconds
        if flight.stage is not Stage.CREATING:  # the watch has shown the pod meanwhile
            self._timers.set(at, flight.attempt_id, "furnish")
            return
        flight.stage = Stage.INTENDED
        flight.doubtful = flight.doubtful or unknown
        self._unsent.tell(flight, message)
        self._timers.set(self._waits.next_try(flight, at, now), flight.attempt_id, "create")

    def make_no_more(self, flight: Flight, failed: Failed, now: float) -> None:
        """It was held for too long, or is refused. A create that may have been taken all the same is looked for first."""
        if flight.doubtful:
            flight.stage, flight.refusal, flight.manifest = Stage.INTENDED, failed, None
            self._timers.set(now, flight.attempt_id, "create")
        else:
            self._end(flight, failed, failed.reason)

    def looked(self, flight: Flight, found: object, now: float) -> Pod | None:
        """For a pod that we would not make, but that an earlier owner may have made. Returns it if it is there."""
        match found:
            case dict() if belongs(ours := trim(found), flight, self._installation):
                return ours
            case None | dict() if flight.stage is Stage.INTENDED and flight.manifest is None:
                refusal = flight.refusal or Failed("The pod was never made.", "refused")
                cancelled = flight.stop_reason == "cancelled"
                self._end(flight, Cancelled() if cancelled else refusal, "cancelled" if cancelled else refusal.reason)
            case Exception():
                self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "create")
        return None

    def taken(self, flight: Flight, message: str, found: Pod, now: float) -> Pod | None:
        """An object that we did not ask for has the name of the pod. Returns it if it is our pod after all.

        If not, it is neither believed nor deleted.
        """
        if belongs(found, flight, self._installation):
            return found
        if flight.stage is Stage.PARKED:  # ours was there
            self._stops.give_up(flight, Failed(plain(message), TAKEN))
        elif flight.stop_reason == "cancelled":
            self._end(flight, Cancelled(), "cancelled")
        elif not flight.is_over:
            verdict = taken(plain(message), known_of(flight, now))
            self._end(flight, verdict.outcome, verdict.kind)
        return None

    def refused(self, flight: Flight, failed: Failed, now: float) -> None:
        """It, or what it reads, will never be made."""
        if flight.stage is Stage.PARKED:  # the pod is there, what it reads was refused, or is another's
            self._stops.give_up(flight, failed)
        elif not flight.is_over:
            self.make_no_more(flight, failed, now)

    def _end(self, flight: Flight, outcome: Outcome, kind: str) -> None:
        """An end without a pod."""
        flight.stage = Stage.ENDING
        flight.verdict, flight.kind = outcome, kind
        self._closing.write(flight, outcome, self._unsent.outgoing)
