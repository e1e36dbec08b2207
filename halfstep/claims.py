"""What passes between a worker and the queue: claims, endings, exchanges. Plain values."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring as quote
from typing import NamedTuple

from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded

DEPLOY_SECONDS = 60.0
"""What a task names may come with a deploy: it is looked for again after 30 to 60 s, so three attempts span 60 s at least."""


class Before(NamedTuple):
    """What a launcher looks up of a task before it makes its pod. labels: names and texts of those that were asked for.

    ooms: earlier attempts that ran out of memory. limit: the memory limit that the first of their pods had, if it is known.
    """

    labels: tuple[tuple[str, str], ...] = ()
    ooms: int = 0
    limit: str | None = None


class Claim(NamedTuple):
    """A task that this worker holds, under the token of the exchange that claimed it. `args` is JSON text.

    A named tuple, as it is made for each task, in microseconds that count.
    """

    id: int
    token: str
    queue: str
    operator: str
    args: str
    attempt: int
    failures: int
    max_attempts: int
    timeout: float | None
    backoff_base: float
    backoff_cap: float
    at_most_once: bool
    alone: bool
    attempt_id: str = ""
    """Fixed for the attempt; it names the attempt's pod."""
    pod_namespace: str | None = None
    pod_uid: str | None = None
    """Where an adopted attempt's pod is, and its uid once the API server had acknowledged it."""
    pod_kept: bool = False
    """A create call of an owner before the last may still arrive: the pod's name must stay taken."""
    before: Before = Before()


LONGEST_RUN = 3.2e9
"""Seconds, a hundred years: the sums of what ran for longer would overflow one day."""


class Ending(NamedTuple):
    """A claim and how its body ended; `seconds` it ran, by a monotonic clock; what can't be that counts as 0."""

    claim: Claim
    outcome: Succeeded | Failed | Cancelled
    seconds: float = 0.0

    def as_json(self) -> str:
        """The record that `exchange.sql` reads. The result is a text in it: what is no JSON breaks no other record.

        Raises TypeError where an outcome holds something else than texts.
        """
        claim = self.claim
        result, tail = "null", ""
        match self.outcome:
            case Succeeded(result=text):
                state, result = "succeeded", quote(text)
            case Failed(error=error, reason=reason):
                state, tail = "failed", f',"reason":{quote(reason)},"error":{quote(error)}'
            case Cancelled(error=error):
                state, tail = "cancelled", f',"reason":"cancelled","error":{quote(error)}'
        seconds = self.seconds if 0 <= self.seconds <= LONGEST_RUN else 0.0
        return f'{{"id":{claim.id},"token":"{claim.token}","state":"{state}","seconds":{seconds:.6f},"result":{result}{tail}}}'


@dataclass(frozen=True, slots=True)
class Turn:
    """Who exchanges: a registered worker, its next sequence number, and what it serves."""

    worker: str
    sequence: int
    queues: Sequence[str]
    placement: str = "worker"
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a worker asks for: up to `want` tasks under a new `token`; suspects only when `alone`; `waiting`: it will listen."""

    want: int
    token: str
    alone: bool = False
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What an exchange did. `mine` false: it was not this sequence's turn, and nothing was done.

    `refused`: ids whose claim was lost. `suspects`: tasks wait that must be claimed alone.
    """

    mine: bool
    claims: list[Claim]
    refused: list[int]
    suspects: bool


def backoff(failures: int, *, base: float, cap: float, jitter: float) -> float:
    """Seconds before the next attempt: base doubled with every failure before, at most `cap`, spread over its upper half.

    failures: how many there were, this one included (>= 1). jitter: 0.0 to 1.0. Source: exponential back-off with equal jitter.
    """
    full = min(cap, base * 2.0 ** min(failures - 1, 60))
    return full * (0.5 + 0.5 * jitter)


def settle(claim: Claim, outcome: Outcome, *, jitter: float | None = None) -> Outcome:
    """What the body's outcome means for its task: a failure with attempts left is a retry after the back-off.

    A failure that is `invalid` and not final, as something named is missing, waits for a deploy (DEPLOY_SECONDS).
    At-most-once work never runs again: losing or failing it is final.
    """
    if isinstance(outcome, Succeeded):
        return outcome
    spread = random.random() if jitter is None else jitter
    left = claim.failures + 1 < claim.max_attempts and not claim.at_most_once
    match outcome:
        case Failed(error=error, reason=reason, final=False) if left:
            least = backoff(1, base=DEPLOY_SECONDS, cap=DEPLOY_SECONDS, jitter=spread) if reason == "invalid" else 0.0
            delay = backoff(claim.failures + 1, base=claim.backoff_base, cap=claim.backoff_cap, jitter=spread)
            return Retry(error, max(least, delay), reason)
        case Retry(error=error, reason=reason, counts=counts) if claim.at_most_once or (counts and not left):
            return Failed(error, reason, final=True)
        case Lost(reason=reason, error=error) if claim.at_most_once:
            return Failed(f"{error} It may have had its effect: at-most-once work does not run again.", "lost", final=True)
        case _:
            return outcome
