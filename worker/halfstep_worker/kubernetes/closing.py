"""From the verdict to the pod's end: the outcome and its class go to SQL, and only then may the pod go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from halfstep.claims import Ending, settle
from halfstep.failpoints import reach
from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded
from halfstep_worker.children.storable import outcome_of
from halfstep_worker.desk import Outgoing
from halfstep_worker.kubernetes.errands import Api, take_away
from halfstep_worker.kubernetes.findings import uncounted
from halfstep_worker.kubernetes.flight import Flight, Stage
from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.reading import OVER, meta, phase
from halfstep_worker.kubernetes.record import facts_of, row
from halfstep_worker.kubernetes.stumbles import UNREADABLE
from halfstep_worker.kubernetes.verdict import pause

LONGEST_DELAY = 31_536_000.0
"""Seconds before a task runs again: no date of the database's is beyond this."""
LATE_CREATE_SECONDS = 3600.0
"""How long a name stays taken when a create of an earlier owner may still arrive."""


class Closing:
    """`forget` is called with flights whose pods nobody has to see to any more."""

    def __init__(self, cluster: str, *, api: Api, calls: Calls, forget: Callable[[Flight], None]) -> None:
        self._cluster = cluster
        self._api = api
        self._calls = calls
        self._forget = forget

    def write(self, flight: Flight, outcome: Outcome, outgoing: Outgoing) -> None:
        """The facts go first, with the class. A lost pod's task waits like that of any other disruption, and says why."""
        claim, keep = flight.claim, LATE_CREATE_SECONDS if flight.doubtful and flight.adopted else None
        outgoing.pods[claim.attempt_id] = row(flight, self._cluster, told=facts_of(flight), keep_seconds=keep)
        match settle(claim, _storable(outcome)):
            case Retry() as retry:
                outgoing.retries.append((claim, retry))
            case Lost(reason=reason, error=error):
                outgoing.retries.append((claim, Retry(error, pause(uncounted(claim)), reason, counts=False)))
            case Succeeded() | Failed() | Cancelled() as ended:
                outgoing.endings.append(Ending(claim, ended, flight.seconds))
        flight.written = True

    def break_off(self, flight: Flight, failed: Failed, outgoing: Outgoing) -> None:
        """An end that needs nothing of what is known of the pod: that is what can't be read. Its program is told to end."""
        flight.stage, flight.pod, flight.framed, flight.waiting = Stage.ENDING, None, None, None
        flight.verdict = Cancelled() if flight.stop_reason == "cancelled" else failed
        flight.kind = flight.verdict.reason if isinstance(flight.verdict, Failed) else "cancelled"
        self.write(flight, flight.verdict, outgoing)

    def settled(self, flight: Flight) -> None:
        """The verdict is in SQL: the pod goes, or is left without our finalizer, as the task wants it."""
        if flight.stage is not Stage.ENDING:
            return
        reach("pod.settled")
        flight.stage = Stage.CLEANING
        if not flight.uid or (flight.adopted and flight.doubtful):
            self._forget(flight)
        else:
            self.clean(flight)

    def clean(self, flight: Flight) -> None:
        """Asks for it; also again."""
        if not flight.uid:
            return
        keep = flight.on_finish == "keep" or (flight.on_finish == "keep_on_failure" and not isinstance(flight.verdict, Succeeded))
        grace = flight.grace if flight.kind == UNREADABLE else 0
        errand = partial(
            take_away, self._api, flight.namespace, flight.name, flight.uid, keep=keep, grace=grace, runs=_may_run(flight)
        )
        self._calls.submit(flight.attempt_id, "clean", errand)


def _may_run(flight: Flight) -> bool:
    """A container beside `main` (a sidecar that a webhook put in, a debugger) does not end because the task has."""
    if flight.pod is None:
        return not flight.vanished
    return phase(flight.pod) not in OVER and meta(flight.pod).get("deletionTimestamp") is None


def _storable(outcome: Outcome) -> Outcome:
    """What an API server, a node or a program has said may stand in any of its texts. A result was looked at when it was read."""
    made = outcome if isinstance(outcome, Succeeded) else outcome_of(outcome, 0)
    return replace(made, delay=min(made.delay, LONGEST_DELAY)) if isinstance(made, Retry) else made
