"""What SQL is told of a flight, and what an adopter learns from that. Texts of the cluster's are made storable here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from halfstep.outcomes import Failed
from halfstep.pods import Past, PodRow
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.objects import inside, number
from halfstep_worker.kubernetes.timeline import facts

FACT_BYTES = 4096
POISON = "poison"


def row(flight: Flight, cluster: str, *, told: dict[str, Any] | None = None, keep_seconds: float | None = None) -> PodRow:
    """What SQL is to know now. told: facts; None: what is known of them stays."""
    claim = flight.claim
    return PodRow(
        claim.attempt_id, claim.id, claim.attempt, cluster, flight.namespace, flight.name, flight.uid, told, keep_seconds,
        claim.token, flight.startable_since, flight.running_since, flight.queued_since,
    )  # fmt: skip


def facts_of(flight: Flight) -> dict[str, Any]:
    """For people: the pod's own, why it does not start, the class of its end. For an adopter: why it is being deleted."""
    told = facts(flight.pod).as_json() if flight.pod is not None else {}
    poison = flight.refusal.error if flight.refusal is not None and flight.refusal.reason == POISON else None
    ours = {"class": flight.kind, "stopping": flight.stop_reason, POISON: poison}
    gave_up = {} if flight.gave_up is None else {"gave_up": _storable(asdict(flight.gave_up))}
    known = told | {"waiting": flight.waiting} | {name: word for name, word in ours.items() if word is not None}
    return _storable(known) | gave_up


def _storable(told: dict[str, Any]) -> dict[str, Any]:
    return {name: plain(value, FACT_BYTES) if isinstance(value, str) else value for name, value in told.items()}


def inherit(flight: Flight, past: Past, now: float) -> None:
    """Time limits go on from where they were, and so does a deletion of ours that was asked for, or was to be.

    Nothing is compared between clocks: the owner before measured durations on its own, and the database what has passed since.
    """

    def since(name: str) -> float | None:
        lasted = number(past.facts.get(name))
        return None if lasted is None else now - past.age - lasted

    flight.startable_since, flight.running_since = since("waited_seconds"), since("ran_seconds")
    flight.queued_since = since("queued_seconds")
    flight.parked_at = flight.startable_since
    stopping, gave_up = past.facts.get("stopping"), inside(past.facts.get("gave_up"))
    flight.stop_reason = stopping if isinstance(stopping, str) else None
    if "error" in gave_up:
        flight.gave_up = Failed(str(gave_up["error"]), str(gave_up.get("reason")), bool(gave_up.get("final")))


def poison(past: Past | None) -> Failed | None:
    """Why the attempt's pod is not made, nor even planned: whoever adopted it found out that its task kills launchers."""
    said = None if past is None else past.facts.get(POISON)
    return None if said is None else Failed(str(said), POISON, final=True)
