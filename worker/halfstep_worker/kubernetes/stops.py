"""Deletions of our own: a cancel, a timeout, a pod that does not start. The verdict comes from what is left of the pod."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from halfstep.outcomes import Failed
from halfstep_worker.kubernetes.errands import Api
from halfstep_worker.kubernetes.flight import Flight, Stage
from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.pending import hopeless, is_gated, startup_expired, waiting_reason
from halfstep_worker.kubernetes.reading import meta
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import Pod
from halfstep_worker.kubernetes.waits import too_long_gated

AGAIN_SECONDS = 2.0
"""Before something that failed, or that nobody knows enough for, is tried again."""


class Stops:
    """A pod that might start is deleted first and judged after: nobody is told that it never began while it still can.

    `note` is called with flights that an adopter would have to know more of.
    """

    def __init__(self, *, api: Api, calls: Calls, timers: Timers, note: Callable[[Flight], None]) -> None:
        self._api = api
        self._calls = calls
        self._timers = timers
        self._note = note

    def stop(self, flight: Flight, reason: str) -> None:
        """Only after its create call has an answer is a pod deleted. The first reason counts."""
        if flight.stop_reason is not None or flight.is_over:
            return
        flight.stop_reason = reason
        self._note(flight)
        if flight.stage is Stage.PARKED:
            self.delete(flight)

    def delete(self, flight: Flight) -> None:
        """Asks for the deletion, with the pod's grace; also again. Not without a uid: another pod may have the name."""
        if not flight.uid:
            return
        errand = partial(self._api.delete_pod, flight.namespace, flight.name, uid=flight.uid, grace=flight.grace)
        self._calls.submit(flight.attempt_id, "delete", errand)

    def give_up(self, flight: Flight, failed: Failed) -> None:
        """It is not to start any more. If its program has not begun when it is gone, it failed like that."""
        if flight.stop_reason is None:
            flight.gave_up = failed
            self.stop(flight, "startup")

    def give_up_the_hopeless(self, flight: Flight) -> None:
        """At once, where waiting can't help."""
        if flight.pod is not None and not _is_going(flight) and (failed := hopeless(flight.pod)) is not None:
            self.give_up(flight, failed)

    def expire(self, flight: Flight, now: float) -> None:
        """The startup timeout is over. A pod that no watch has shown yet may be running."""
        if flight.pod is None:
            self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "startup")
        elif flight.startable_since is None or now < flight.startable_since + flight.startup_timeout:
            return  # a gate holds it, or has held it: another timer rings
        elif not _is_going(flight) and (failed := _expired(flight, flight.pod)) is not None:
            self.give_up(flight, failed)

    def end_the_queueing(self, flight: Flight, now: float) -> None:
        """The queue timeout is over; by a timer that may mean nothing any more."""
        if flight.pod is None or flight.queued_since is None or not is_gated(flight.pod) or _is_going(flight):
            return
        if now >= flight.queued_since + flight.queue_timeout:
            self.give_up(flight, too_long_gated(flight, waiting_reason(flight.pod) or ""))


def _expired(flight: Flight, pod: Pod) -> Failed | None:
    event = None if flight.silence is None else flight.silence.event
    return startup_expired(pod, flight.startup_timeout, event=event)


def _is_going(flight: Flight) -> bool:
    """Somebody has deleted it."""
    return flight.pod is not None and meta(flight.pod).get("deletionTimestamp") is not None


def stopping(flight: Flight) -> str | None:
    """For people: what we wait for once we have given a pod up."""
    if flight.stop_reason != "startup" or flight.gave_up is None:
        return None
    return f"{flight.gave_up.error} It is being deleted; whether it began is known when its node has answered."
