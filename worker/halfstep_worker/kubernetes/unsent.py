"""What flights have for SQL: what is to be written now, and those of which something has changed. Used by the loop only."""

from __future__ import annotations

from halfstep_worker.desk import Outgoing
from halfstep_worker.kubernetes.closing import LATE_CREATE_SECONDS
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.record import facts_of, row


class Unsent:
    """Of one launcher. changed: attempts."""

    def __init__(self, cluster: str) -> None:
        self.outgoing = Outgoing()
        self.changed: set[str] = set()
        self._cluster = cluster

    def intend(self, flight: Flight) -> None:
        """The intent goes to SQL first; and, of an adopted pod, that a create of its earlier owner may still arrive."""
        keep = LATE_CREATE_SECONDS if flight.adopted else None
        self.outgoing.pods[flight.attempt_id] = row(flight, self._cluster, keep_seconds=keep)

    def tell(self, flight: Flight, reason: str | None) -> None:
        """What the pod waits for."""
        if flight.waiting != reason:
            flight.waiting = reason
            self.note(flight)

    def note(self, flight: Flight) -> None:
        """An adopter would have to know more of it."""
        self.changed.add(flight.attempt_id)

    def write_facts(self, flight: Flight) -> None:
        """What is known of the pod goes to SQL."""
        self.outgoing.pods[flight.attempt_id] = row(flight, self._cluster, told=facts_of(flight))
