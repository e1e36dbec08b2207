"""What a verdict is made of, and what it is."""

from __future__ import annotations

from dataclasses import dataclass

from halfstep.claims import Claim
from halfstep.limits import RESULT_BYTES
from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Succeeded
from halfstep_worker.children.storable import plain
from halfstep_worker.kubernetes.flight import Flight


@dataclass(frozen=True, slots=True)
class Known:
    """What the pod object does not tell."""

    stop_reason: str | None = None
    """`timeout`, `cancelled` or `startup`: we asked for the pod's deletion, and why."""
    gave_up: Failed | None = None
    """With `startup`: what is to be said of the pod if its program never began."""
    began: bool = False
    """The main container was seen running."""
    deleted_while_running: bool = False
    """`deletionTimestamp` was seen before the main container had ended."""
    timeout: float | None = None
    """The task's timeout in seconds, for its message."""
    gone: bool = False
    """The object does not exist any more; the pod is the last that was seen of it, or empty."""
    forced_for: float | None = None
    """Monotonic seconds since a deletion with grace 0 was first seen; None without one."""
    uncounted: int = 0
    """Earlier attempts of the task that ended without being counted; the pauses between them grow."""
    result_bytes: int = RESULT_BYTES
    """The largest result."""


def known_of(flight: Flight, now: float) -> Known:
    """What this launcher has seen and done. now: monotonic."""
    return Known(
        stop_reason=flight.stop_reason,
        gave_up=flight.gave_up,
        began=flight.running_since is not None,
        deleted_while_running=flight.deleted_early,
        timeout=flight.claim.timeout,
        gone=flight.vanished,
        forced_for=None if flight.forced_since is None else now - flight.forced_since,
        uncounted=uncounted(flight.claim),
    )


def uncounted(claim: Claim) -> int:
    """Earlier attempts of the task that ended without being counted."""
    return max(0, claim.attempt - claim.failures - 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, and its class in one word for the metric `halfstep_pod_outcomes_total`."""

    outcome: Outcome
    kind: str
    framed: str | None = None
    """The outcome stands in the log, in the frames of this digest; `outcome` holds if they can't be read to their end."""


def failed(kind: str, reason: str, sentence: str, *, final: bool = False) -> Verdict:
    """The attempt failed, and that counts."""
    return Verdict(Failed(plain(sentence), reason, final), kind)


def lost(sentence: str, *, kind: str = "lost") -> Verdict:
    """Nobody knows how it ended."""
    return Verdict(Lost(kind, sentence), kind)


def kind_of(outcome: Outcome) -> str:
    """The metric's word for an outcome that a body left, also when it was read from the log."""
    match outcome:
        case Succeeded():
            return "succeeded"
        case Cancelled():
            return "cancelled"
        case Failed(reason="result"):
            return "result"
        case _:
            return "application"
