"""What SQL is told of a flight, and what an adopter learns from that."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from halfstep.outcomes import Failed
from halfstep.pods import Past, PodRow
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.timeline import facts


def row(flight: Flight, cluster: str, *, told: dict[str, Any] | None = None, keep_seconds: float | None = None) -> PodRow:
    """What SQL is to know now. told: facts; None: what is known of them stays."""
    claim = flight.claim
    return PodRow(
        claim.attempt_id, claim.id, claim.attempt, cluster, flight.namespace, flight.name, flight.uid, told, keep_seconds,
        claim.token, flight.parked_at, flight.running_since,
    )  # fmt: skip


def facts_of(flight: Flight) -> dict[str, Any]:
    """For people: the pod's own, why it does not start, the class of its end. For an adopter: why it is being deleted."""
    told = facts(flight.pod).as_json() if flight.pod is not None else {}
    ours = {"class": flight.kind, "stopping": flight.stop_reason}
    gave_up = {} if flight.gave_up is None else {"gave_up": asdict(flight.gave_up)}
    return told | {"waiting": flight.waiting} | {name: word for name, word in ours.items() if word is not None} | gave_up


def inherit(flight: Flight, past: Past, now: float) -> None:
    """Time limits go on from where they were, and so does a deletion of ours that was asked for, or was to be.

    Nothing is compared between clocks: the owner before measured durations on its own, and the database what has passed since.
    """
    waited, ran = past.facts.get("waited_seconds"), past.facts.get("ran_seconds")
    flight.parked_at = None if waited is None else now - past.age - waited
    flight.running_since = None if ran is None else now - past.age - ran
    flight.stop_reason = past.facts.get("stopping")
    if past.facts.get("gave_up") is not None:
        flight.gave_up = Failed(**past.facts["gave_up"])
