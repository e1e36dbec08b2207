"""The two clocks of a pod that has not started: behind a quota, a webhook or scheduling gates, and after that.

docs/reference/what-holds-a-pod.md is the table. Both are durations by this machine's monotonic clock; an adopter goes on with
what SQL was told of them (`record.inherit`).
"""

from __future__ import annotations

from halfstep.outcomes import Failed
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.pending import GATE, gates, is_gated, without_gates
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import Pod, TryLater


class Waits:
    """Used by the launcher's loop only. The timers `queue` and `startup` ring when a limit may be over."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers

    def heard(self, flight: Flight, now: float, *, held: bool) -> None:
        """What keeps the pod from being made now. The clock stands while that is no quota and no webhook."""
        if flight.unheld_at is not None and flight.queued_since is not None:
            flight.queued_since += now - flight.unheld_at
        flight.unheld_at = None if held else now

    def refused(self, flight: Flight, later: TryLater, now: float) -> Failed | None:
        """Something keeps the pod from being made. Why that is not waited for any longer; None: it is."""
        if later.held is None:
            return None
        flight.queued_since = now if flight.queued_since is None else flight.queued_since
        if now < flight.queued_since + flight.queue_timeout:
            return None
        return Failed(plain(f"{_over(flight)} {later.message}"), later.held)

    def next_try(self, flight: Flight, at: float, now: float) -> float:
        """When to ask again: no later than when its time is over. If it is, whoever answers now says nothing of what holds it."""
        if flight.queued_since is None or flight.unheld_at is not None:
            return at
        ends = flight.queued_since + flight.queue_timeout
        return min(at, ends) if ends > now else at

    def parked(self, flight: Flight, now: float) -> None:
        """The API server has the pod: it may start, unless its first sighting shows a gate."""
        self.heard(flight, now, held=True)
        if flight.startable_since is None:
            flight.startable_since = now
        self._timers.set(flight.startable_since + flight.startup_timeout, flight.attempt_id, "startup")

    def seen(self, flight: Flight, pod: Pod, now: float) -> Pod:
        """Gates hold it, or none does; the pod as it is to be read. What its condition says of gates may be long past."""
        if not gates(pod):
            pod = without_gates(pod)
        if is_gated(pod):
            self._held(flight, now)
        else:
            self._free(flight, now)
        return pod

    def _held(self, flight: Flight, now: float) -> None:
        if flight.startable_since is not None:
            if flight.queued_since is None:
                flight.queued_since = flight.startable_since if flight.parked_at is None else flight.parked_at
            flight.startable_since = None
            self._timers.set(flight.queued_since + flight.queue_timeout, flight.attempt_id, "queue")

    def _free(self, flight: Flight, now: float) -> None:
        flight.queued_since = None
        if flight.startable_since is None:
            flight.startable_since = now
            self._timers.set(now + flight.startup_timeout, flight.attempt_id, "startup")


def too_long_gated(flight: Flight, sentence: str) -> Failed:
    """What is said of a pod whose gates were never opened."""
    return Failed(plain(f"{_over(flight)} {sentence}"), GATE)


def _over(flight: Flight) -> str:
    return f"The pod was held for longer than its queue_timeout of {flight.queue_timeout:g} s."
