"""The course of a flight: what an answer, a sighting or a deadline does to it. Used by the launcher's loop only.

The order that makes a second pod impossible: the intent is in SQL before the create call; the pod's name is the attempt's;
a verdict is in SQL before the pod may go; what was acknowledged and is gone is lost, never made again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from halfstep.claims import Ending, settle
from halfstep.failpoints import reach
from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded
from halfstep_worker.desk import Outgoing, Release
from halfstep_worker.kubernetes.errands import Api, make, take_away
from halfstep_worker.kubernetes.flight import Flight, Stage
from halfstep_worker.kubernetes.inbox import Answer, Calls
from halfstep_worker.kubernetes.names import MAIN
from halfstep_worker.kubernetes.pending import startup_expired, waiting_reason
from halfstep_worker.kubernetes.timeline import facts
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import Created, Pod, Refused, TryLater
from halfstep_worker.kubernetes.verdict import FORCED_SECONDS, Known, Verdict, judge

CREATE_SECONDS = 10.0
"""Longest create call, on both ends; less when less is left of the lease."""
LEASE_SHARE = 0.7
"""Of what is left of the lease, the part that a create call may take."""
SHORTEST_CREATE = 0.5
AGAIN_SECONDS = 2.0
"""Before a delete or a clean-up that failed is tried again."""
LATE_CREATE_SECONDS = 3600.0
"""How long a name stays taken when a create of an earlier owner may still arrive."""


class Collector(Protocol):
    """What of the log collection a flight needs."""

    def follow(self, flight: Flight) -> None: ...

    def finish(self, flight: Flight) -> None: ...

    def end(self, flight: Flight, outgoing: Outgoing) -> Outcome | None: ...


class Course:
    """Acts on flights; keeps none. `forget` is called with flights that are over."""

    def __init__(
        self, cluster: str, *, api: Api, calls: Calls, timers: Timers, logs: Collector, forget: Callable[[Flight], None]
    ) -> None:
        self.outgoing = Outgoing()
        self.changed: set[str] = set()
        self.leaving = False
        self.lease_left: Callable[[], float] = lambda: CREATE_SECONDS
        self._cluster = cluster
        self._api = api
        self._calls = calls
        self._timers = timers
        self._logs = logs
        self._forget = forget

    # -- creating

    def intend(self, flight: Flight) -> None:
        """The intent goes to SQL first; and, of an adopted pod, that a create of its earlier owner may still arrive."""
        keep = LATE_CREATE_SECONDS if flight.adopted else None
        self.outgoing.pods[flight.attempt_id] = flight.row(self._cluster, keep_seconds=keep)

    def create(self, flight: Flight, now: float) -> None:
        """Asks for the pod, unless somebody has cancelled it, we leave, or too little is left of the lease."""
        if flight.stop_reason is not None and not flight.doubtful:
            self.end(flight, Cancelled())
            return
        seconds = min(CREATE_SECONDS, self.lease_left() * LEASE_SHARE)
        if self.leaving or seconds < SHORTEST_CREATE or flight.manifest is None:
            self._timers.set(now + 0.2, flight.attempt_id, "create")
            return
        flight.stage = Stage.CREATING
        self._calls.submit(flight.attempt_id, "create", partial(make, self._api, flight.namespace, flight.manifest, seconds))

    def answered(self, flight: Flight, answer: Answer, now: float) -> None:
        """A call for this flight has ended."""
        match answer.call, answer.result:
            case "create", Created(uid=uid):
                self.park(flight, uid, now)
            case "create", Refused(message=message):
                self.end(flight, Failed(message, "refused", final=True))
            case "create", TryLater(delay=delay, unknown=unknown, message=message):
                self._try_later(flight, now + delay, message, unknown)
            case "create", Exception() as error:
                self._try_later(flight, now + 1.0, f"{type(error).__name__}: {error}", unknown=True)
            case "clean", Exception():
                self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "clean")
            case "clean", _:
                self._forget(flight)
            case "delete", Exception():
                self._timers.set(now + AGAIN_SECONDS, flight.attempt_id, "delete")

    def _try_later(self, flight: Flight, at: float, message: str, unknown: bool) -> None:
        if flight.stage is not Stage.CREATING:
            return  # the watch has shown the pod meanwhile
        flight.stage = Stage.INTENDED
        flight.doubtful = flight.doubtful or unknown
        self._tell(flight, message)
        self._timers.set(at, flight.attempt_id, "create")

    def park(self, flight: Flight, uid: str, now: float) -> None:
        """The API server has the pod."""
        reach("pod.acknowledged")
        if flight.is_over or flight.stage is Stage.PARKED:
            return
        flight.stage, flight.uid, flight.manifest, flight.parked_at = Stage.PARKED, uid, None, now
        self.changed.add(flight.attempt_id)
        self._timers.set(now + flight.startup_timeout, flight.attempt_id, "startup")
        if flight.stop_reason is not None:
            self._delete(flight)

    # -- watching

    def see(self, flight: Flight, pod: Pod, now: float) -> None:
        """The pod as it is now."""
        flight.pod = pod
        self.park(flight, str(pod["metadata"]["uid"]), now)
        if flight.is_over:
            return
        state = _main_state(pod)
        if pod["metadata"].get("deletionTimestamp") and "terminated" not in state:
            self._note_deletion(flight, pod, now)
        if flight.running_since is None and "running" in state:
            self._start(flight, now)
        self._tell(flight, waiting_reason(pod))
        self.changed.add(flight.attempt_id)
        self._judge(flight, pod, now)

    def _note_deletion(self, flight: Flight, pod: Pod, now: float) -> None:
        flight.deleted_early = True
        if flight.forced_since is None and pod["metadata"].get("deletionGracePeriodSeconds") == 0:
            flight.forced_since = now
            self._timers.set(now + FORCED_SECONDS + 1.0, flight.attempt_id, "judge")

    def _start(self, flight: Flight, now: float) -> None:
        flight.running_since = now
        self._logs.follow(flight)
        if flight.claim.timeout is not None:
            self._timers.set(now + flight.claim.timeout, flight.attempt_id, "timeout")

    def gone(self, flight: Flight, pod: Pod, now: float) -> None:
        """The object does not exist any more: after the verdict as it should, before it lost."""
        if flight.stage is Stage.CLEANING:
            self._forget(flight)
        elif flight.stage is Stage.PARKED:
            flight.vanished = True
            self._judge(flight, pod or flight.pod or {}, now)

    def _judge(self, flight: Flight, pod: Pod, now: float) -> None:
        verdict = judge(pod, self._known(flight, now))
        if verdict is not None:
            self._decide(flight, verdict)

    @staticmethod
    def _known(flight: Flight, now: float) -> Known:
        claim = flight.claim
        return Known(
            stop_reason=flight.stop_reason,
            deleted_while_running=flight.deleted_early,
            timeout=claim.timeout,
            gone=flight.vanished,
            forced_for=None if flight.forced_since is None else now - flight.forced_since,
            uncounted=max(0, claim.attempt - claim.failures - 1),
        )

    # -- ends

    def _decide(self, flight: Flight, verdict: Verdict) -> None:
        """The verdict is known; the log is read to its end first, as long as the pod is there."""
        reach("pod.verdict")
        flight.stage = Stage.ENDING
        flight.verdict, flight.framed = verdict.outcome, verdict.framed
        self._logs.finish(flight)

    def log_finished(self, flight: Flight) -> None:
        """The log is in, so the verdict may be written; it may have stood in the log."""
        framed = self._logs.end(flight, self.outgoing)
        if flight.verdict is not None and flight.stage is Stage.ENDING:
            flight.verdict = framed or flight.verdict
            self._write(flight, flight.verdict)

    def end(self, flight: Flight, outcome: Outcome) -> None:
        """An end without a pod."""
        flight.stage = Stage.ENDING
        flight.verdict = outcome
        self._write(flight, outcome)

    def _write(self, flight: Flight, outcome: Outcome) -> None:
        claim = flight.claim
        if flight.uid is not None or flight.doubtful:
            keep = LATE_CREATE_SECONDS if flight.doubtful and flight.adopted else None
            self.outgoing.pods[claim.attempt_id] = flight.row(self._cluster, facts=self._facts(flight), keep_seconds=keep)
        match settle(claim, outcome):
            case Retry() as retry:
                self.outgoing.retries.append((claim, retry))
            case Lost(reason=reason):
                self.outgoing.releases.append(Release(claim, reason, started=True))
            case Succeeded() | Failed() | Cancelled() as ended:
                self.outgoing.endings.append(Ending(claim, ended, flight.seconds))

    def settled(self, flight: Flight) -> None:
        """The verdict is in SQL: the pod goes, or is left without our finalizer, as the task wants it."""
        if flight.stage is not Stage.ENDING:
            return
        reach("pod.settled")
        flight.stage = Stage.CLEANING
        if flight.uid is None or (flight.adopted and flight.doubtful):
            self._forget(flight)
        else:
            self._clean(flight, flight.uid)

    def _clean(self, flight: Flight, uid: str) -> None:
        keep = flight.on_finish == "keep" or (flight.on_finish == "keep_on_failure" and not isinstance(flight.verdict, Succeeded))
        errand = partial(take_away, self._api, flight.namespace, flight.name, uid, keep=keep)
        self._calls.submit(flight.attempt_id, "clean", errand)

    # -- stopping and deadlines

    def stop(self, flight: Flight, reason: str) -> None:
        """Only after its create call has an answer is a pod deleted."""
        if flight.stop_reason is not None or flight.is_over:
            return
        flight.stop_reason = reason
        if flight.stage is Stage.PARKED:
            self._delete(flight)

    def _delete(self, flight: Flight) -> None:
        assert flight.uid is not None
        errand = partial(self._api.delete_pod, flight.namespace, flight.name, uid=flight.uid, grace=flight.grace)
        self._calls.submit(flight.attempt_id, "delete", errand)

    def heard(self, flight: Flight, word: str, now: float) -> None:
        """A timer rang; it may mean nothing any more."""
        match word:
            case "create" if flight.stage is Stage.INTENDED:
                self.create(flight, now)
            case "timeout" if not flight.is_over:
                self.stop(flight, "timeout")
            case "startup" if flight.stage is Stage.PARKED and flight.running_since is None:
                self._expire(flight)
            case "judge" if flight.stage is Stage.PARKED and flight.pod is not None:
                self._judge(flight, flight.pod, now)
            case "delete" if flight.stage is Stage.PARKED:
                self._delete(flight)
            case "clean" if flight.stage is Stage.CLEANING and flight.uid is not None:
                self._clean(flight, flight.uid)

    def _expire(self, flight: Flight) -> None:
        expired = startup_expired(flight.pod or {}, flight.startup_timeout)
        if expired is not None:
            self._decide(flight, Verdict(expired, expired.reason))

    # -- what people see

    def _tell(self, flight: Flight, reason: str | None) -> None:
        if flight.waiting != reason:
            flight.waiting = reason
            self.changed.add(flight.attempt_id)

    def write_facts(self, flight: Flight) -> None:
        """What is known of the pod goes to SQL."""
        self.outgoing.pods[flight.attempt_id] = flight.row(self._cluster, facts=self._facts(flight))

    @staticmethod
    def _facts(flight: Flight) -> dict[str, object]:
        told = facts(flight.pod).as_json() if flight.pod is not None else {}
        return told | {"waiting": flight.waiting}


def _main_state(pod: Pod) -> Pod:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    main: Pod = next((status for status in statuses if status.get("name") == MAIN), {})
    state: Pod = main.get("state") or {}
    return state
