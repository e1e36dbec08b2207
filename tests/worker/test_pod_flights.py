"""A launcher's flights without its threads: what they write and ask for when claims, answers, sightings and timers come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.claims import Claim
from halfstep.outcomes import Cancelled, Failed, Outcome, Retry, Succeeded
from halfstep.pods import Doubt, LogPosition, Past, Strangers
from halfstep_worker.desk import Incoming, Outgoing
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.flights import Flights
from halfstep_worker.kubernetes.inbox import Answer, Calls
from halfstep_worker.kubernetes.lookups import AT_ONCE, LOOK_SECONDS, MEND_SECONDS, MOMENT_SECONDS, SILENCE_SECONDS
from halfstep_worker.kubernetes.names import INSTALLATION as INSTALLATION_LABEL
from halfstep_worker.kubernetes.names import KEEP
from halfstep_worker.kubernetes.timeline import trim
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import (
    Created,
    CreateOutcome,
    Listed,
    Pod,
    PodGone,
    PodSeen,
    Refused,
    Taken,
    TryLater,
    Unavailable,
)
from pod_builders import ENDED, deleted, ended, finished, never_begun, pending, pod, running, unscheduled, waiting

CLAIM = Claim(
    7, "token-1", "default", "pod", "{}", 1, 0, 3, None, 1.0, 60.0, False, False, "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"
)  # fmt: skip
ADOPTED = CLAIM._replace(token="token-2", pod_namespace="tasks", pod_uid=str(pod()["metadata"]["uid"]))
INSTALLATION = str(pod()["metadata"]["labels"]["halfstep.io/installation"])
UID = str(pod()["metadata"]["uid"])


class HeldCalls(Calls):
    """Calls wait until the test makes them."""

    def __init__(self) -> None:
        self.open = 0
        self.waiting: deque[tuple[str, str, Callable[[], object]]] = deque()

    def submit(self, attempt_id: str, call: str, function: Callable[[], object]) -> None:
        self.open += 1
        self.waiting.append((attempt_id, call, function))


@dataclass
class FakeApi:
    """Writes down what it is asked, and answers as it is told to."""

    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    creates: deque[CreateOutcome] = field(default_factory=deque)
    config_maps: deque[CreateOutcome] = field(default_factory=deque)
    there: Pod | None = None
    refusal: Exception | None = None
    events: list[Pod] | Exception = field(default_factory=list)
    reads: int = 0
    marks: list[Pod] = field(default_factory=list)
    deleted: bool = True

    def create_pod(self, namespace: str, manifest: Pod, *, seconds: float) -> CreateOutcome:
        self.asked.append(("create", {"seconds": seconds}))
        return self.creates.popleft() if self.creates else Created(UID)

    def create_config_map(self, namespace: str, manifest: Pod, *, seconds: float) -> CreateOutcome:
        self.asked.append(("config map", {"owner": manifest["metadata"]["ownerReferences"][0]["uid"]}))
        return self.config_maps.popleft() if self.config_maps else Created("c-1")

    def get_pod(self, namespace: str, name: str) -> Pod | None:
        self.asked.append(("get", {}))
        return self.there

    def delete_pod(self, namespace: str, name: str, *, uid: str, grace: int | None) -> bool:
        self.asked.append(("delete", {"grace": grace}))
        return self.deleted

    def release_pod(self, namespace: str, name: str, *, keep: bool, uid: str | None = None) -> bool:
        self.asked.append(("release", {"keep": keep}))
        return True

    def end_pod(self, namespace: str, name: str, *, uid: str) -> bool:
        self.asked.append(("end", {"uid": uid}))
        if self.refusal is not None:
            raise self.refusal
        return True

    def pod_events(self, namespace: str, uid: str) -> list[Pod]:
        self.reads += 1
        if isinstance(self.events, Exception):
            raise self.events
        return self.events

    def mark_pod(self, namespace: str, name: str, *, uid: str, marks: Pod) -> bool:
        self.marks.append(marks)
        return True

    def words(self) -> list[str]:
        """What it was asked, in order."""
        return [word for word, _ in self.asked]


@dataclass
class FakeLogs:
    """A log that is read as soon as its pod has ended. framed: the outcome that stands in it."""

    resumed: list[LogPosition] = field(default_factory=list)
    ended: list[Flight] = field(default_factory=list)
    forgotten: int = 0
    framed: Outcome | None = None

    def resume(self, claim: Claim, position: LogPosition) -> None:
        self.resumed.append(position)

    def follow(self, flight: Flight) -> None: ...

    def finish(self, flight: Flight) -> None:
        self.ended.append(flight)

    def end(self, flight: Flight, outgoing: Outgoing) -> Outcome | None:
        return self.framed

    def forget(self, flight: Flight) -> None:
        self.forgotten += 1


class Sky:
    """One launcher's flights, with everything around them in the test's hands."""

    def __init__(self, plan: Callable[[Claim], Flight | Failed] | None = None) -> None:
        self.api, self.calls, self.logs, self.timers, self.now = FakeApi(), HeldCalls(), FakeLogs(), Timers(), 1000.0
        self.flights = Flights(
            "", installation=INSTALLATION, api=self.api, calls=self.calls, timers=self.timers,
            planner=plan or self.plan, logs=self.logs,
        )  # fmt: skip
        self.config_map: Pod | None = None
        self.options: dict[str, Any] = {}

    def plan(self, claim: Claim) -> Flight:
        return Flight(claim, "tasks", manifest=({"metadata": {}}, self.config_map), startup_timeout=60.0, **self.options)

    def claim(self, claim: Claim = CLAIM, past: Past | None = None) -> None:
        """It comes from the exchange."""
        pasts = {} if past is None else {claim.attempt_id: past}
        self.flights.hear(Incoming(claims=[claim], pasts=pasts), self.now)

    def write(self) -> Outgoing:
        """Everything that waits is written to SQL, and acknowledged."""
        out = self.flights.take_outgoing()
        self.flights.hear(Incoming(intended=[row.attempt_id for row in out.pods.values() if row.uid is None]), self.now)
        self.flights.hear(Incoming(settled=out.claims()), self.now)
        return out

    def call(self) -> None:
        """All calls that wait are made and answered."""
        while self.calls.waiting:
            attempt_id, call, function = self.calls.waiting.popleft()
            try:
                result = function()
            except Exception as error:
                result = error
            self.flights.answered(Answer(attempt_id, call, result), self.now)

    def fly(self, claim: Claim = CLAIM) -> None:
        """A new claim's pod is made and acknowledged."""
        self.claim(claim)
        self.write()
        self.call()

    def see(self, there: Pod) -> None:
        """The watch shows it; if it is over then, its log is read."""
        self.flights.watched(PodSeen("", "tasks", there), self.now)
        for flight in self.logs.ended:
            self.flights.log_finished(flight.attempt_id, self.now)
        self.logs.ended.clear()

    def wait(self, seconds: float) -> None:
        """Time goes by; timers ring, and calls are answered."""
        self.now += seconds
        for attempt_id, word in self.timers.due(self.now):
            self.flights.heard(attempt_id, word, self.now)
        self.call()

    def facts(self) -> dict[str, Any]:
        """What SQL is told now of the one pod."""
        self.flights.write_facts(self.now)
        (row,) = self.flights.course.outgoing.pods.values()
        return dict(row.as_record()["facts"])


@pytest.fixture
def sky() -> Sky:
    return Sky()


def outcome(out: Outgoing) -> Outcome:
    """The one end that is written."""
    (found,) = [*(ending.outcome for ending in out.endings), *(retry for _, retry in out.retries)]
    return found


def told(out: Outgoing) -> dict[str, Any]:
    """The facts that go with it."""
    (row,) = out.pods.values()
    assert row.facts is not None
    return row.facts


# -- pods that do not start


def test_a_pod_that_does_not_start_is_deleted_first_and_judged_after(sky: Sky) -> None:
    sky.fly()
    sky.see(pending(waiting("ImagePullBackOff")))
    sky.wait(60)
    assert sky.api.words() == ["create", "delete"]
    assert not sky.flights.course.outgoing.claims()
    sky.see(deleted(pending(waiting("ImagePullBackOff")), at="2026-11-23T05:10:30Z", grace=30))
    assert not sky.flights.course.outgoing.claims()
    sky.see(deleted(never_begun(), at="2026-11-23T05:10:30Z", grace=30))
    out = sky.write()
    assert outcome(out).reason == "image"
    assert told(out)["class"] == "image"
    sky.call()
    assert sky.api.words() == ["create", "delete", "delete", "release"]
    assert len(sky.flights) == 0


def test_an_unscheduled_pod_is_over_as_soon_as_it_is_deleted(sky: Sky) -> None:
    sky.fly()
    sky.see(unscheduled())
    sky.wait(60)
    sky.see(deleted(unscheduled(), at="2026-11-23T05:10:00Z", grace=0))
    assert outcome(sky.write()).reason == "unschedulable"


@pytest.mark.parametrize("at_most_once", [False, True])
def test_a_pod_that_starts_just_as_it_is_given_up_is_not_told_that_it_never_began(sky: Sky, at_most_once: bool) -> None:
    sky.fly(CLAIM._replace(at_most_once=at_most_once))
    sky.see(pending(waiting("ContainerCreating")))
    sky.wait(60)
    sky.see(pod())
    sky.see(deleted(pod(), at="2026-11-23T05:10:30Z", grace=30))
    sky.see(deleted(finished(143), at="2026-11-23T05:10:30Z", grace=30))
    found = outcome(sky.write())
    assert (type(found), found.reason) == (Failed if at_most_once else Retry, "startup")
    assert "may have had an effect" in found.error


def test_what_can_never_start_is_deleted_at_once_and_judged_after(sky: Sky) -> None:
    sky.fly()
    sky.see(pending(waiting("InvalidImageName", "couldn't parse image name")))
    sky.call()
    assert sky.api.words() == ["create", "delete"]
    sky.see(deleted(never_begun(), at="2026-11-23T05:00:30Z", grace=30))
    error = "'shop/etl:7' is no valid name of an image: couldn't parse image name."
    assert outcome(sky.write()) == Failed(error, "image", final=True)


def test_people_are_told_that_a_silent_node_holds_up_a_pod_that_was_given_up(sky: Sky) -> None:
    sky.fly()
    sky.see(pending(waiting("ImagePullBackOff")))
    sky.wait(60)
    sky.see(deleted(pending(waiting("ImagePullBackOff")), at="2026-11-23T05:10:30Z", grace=30))
    assert "did not start within 60 s" in sky.facts()["waiting"]
    assert "whether it began" in sky.facts()["waiting"]


def test_a_pod_that_somebody_deletes_before_it_starts_is_not_given_up(sky: Sky) -> None:
    sky.fly()
    sky.see(deleted(pending(waiting("ErrImagePull")), at="2026-11-23T05:00:30Z", grace=30))
    sky.wait(60)
    assert sky.api.words() == ["create"]
    sky.see(deleted(never_begun(), at="2026-11-23T05:00:30Z", grace=30))
    assert outcome(sky.write()).reason == "deleted"


def test_a_cancel_that_came_first_is_the_reason(sky: Sky) -> None:
    sky.fly()
    sky.see(pending(waiting("ErrImagePull")))
    sky.flights.hear(Incoming(cancelled=[7]), sky.now)
    sky.wait(60)
    sky.see(deleted(never_begun(), at="2026-11-23T05:00:30Z", grace=30))
    assert outcome(sky.write()) == Cancelled()


# -- time limits


def test_an_adopted_pods_timeout_goes_on_where_it_was(sky: Sky) -> None:
    timed = ADOPTED._replace(timeout=100.0)
    sky.claim(timed, Past(facts={"waited_seconds": 95.0, "ran_seconds": 90.0}, age=5.0))
    sky.see(pod())
    sky.wait(4.9)
    assert sky.api.words() == []
    sky.wait(0.2)
    assert sky.api.words() == ["delete"]
    sky.see(deleted(finished(143), at="2026-11-23T05:00:35Z", grace=30))
    assert outcome(sky.write()).reason == "timeout"


def test_an_adopted_pod_that_ended_by_itself_is_not_told_that_it_was_too_late(sky: Sky) -> None:
    sky.claim(ADOPTED._replace(timeout=100.0), Past(facts={"ran_seconds": 90.0}, age=50.0))
    sky.see(finished(0))
    sky.wait(0)
    assert isinstance(outcome(sky.write()), Succeeded)


def test_an_adopted_pods_startup_timeout_goes_on_and_waits_for_its_first_sighting(sky: Sky) -> None:
    sky.claim(ADOPTED, Past(facts={"waited_seconds": 50.0}, age=20.0))
    sky.wait(0)
    assert sky.api.words() == [], "it may be running by now"
    sky.see(pending(waiting("ErrImagePull")))
    sky.wait(2)
    assert sky.api.words() == ["delete"]


def test_a_pod_that_started_while_no_launcher_looked_is_timed_from_its_first_sighting(sky: Sky) -> None:
    sky.claim(ADOPTED._replace(timeout=100.0), Past(facts={"waited_seconds": 5.0}, age=500.0))
    sky.see(pod())
    sky.wait(99)
    assert sky.api.words() == []
    sky.wait(2)
    assert sky.api.words() == ["delete"]


def test_what_an_adopter_needs_is_in_the_facts(sky: Sky) -> None:
    sky.fly(CLAIM._replace(timeout=10.0))
    sky.see(pod())
    assert {"waited_seconds", "ran_seconds"} <= sky.facts().keys()
    sky.wait(10)
    assert sky.facts()["stopping"] == "timeout"


def test_a_deletion_of_ours_goes_on_when_its_launcher_dies(sky: Sky) -> None:
    gave_up = {"error": "The pod did not start within 60 s. No image.", "reason": "image", "final": False}
    sky.claim(ADOPTED, Past(facts={"waited_seconds": 60.0, "stopping": "startup", "gave_up": gave_up}, age=20.0))
    sky.call()
    assert sky.api.words() == ["delete"]
    sky.see(deleted(never_begun(), at="2026-11-23T05:10:30Z", grace=30))
    assert outcome(sky.write()).reason == "image"


# -- classes


@pytest.mark.parametrize(
    ("there", "reason", "kind"),
    [
        (finished(0), None, "succeeded"),
        (finished(7), "exit", "application"),
        (finished(137, "OOMKilled"), "oom", "oom"),
        (deleted(finished(0), at="2026-11-23T05:00:35Z", grace=30), "deleted", "deleted"),
        (finished(255, "Unknown"), "lost", "lost"),
    ],
)
def test_the_class_goes_to_sql_with_the_verdict(sky: Sky, there: Pod, reason: str | None, kind: str) -> None:
    sky.fly()
    sky.see(there)
    out = sky.write()
    assert (getattr(outcome(out), "reason", None), told(out)["class"]) == (reason, kind)


def test_an_outcome_that_stood_in_the_log_has_its_own_class(sky: Sky) -> None:
    sky.fly()
    sky.logs.framed = Failed("no", "exception")
    sky.see(finished(7))
    assert told(sky.write())["class"] == "application"
    assert sky.api.words() == ["create"]


def test_ends_without_a_pod_have_classes_too(sky: Sky) -> None:
    sky.api.creates.append(Refused("No such namespace."))
    sky.fly()
    out = sky.write()
    assert (outcome(out).reason, told(out)["class"]) == ("refused", "refused")
    sky.claim(CLAIM._replace(id=8, attempt_id="b"))
    sky.flights.hear(Incoming(cancelled=[8]), sky.now)
    sky.write()
    out = sky.write()
    assert (outcome(out), told(out)["class"]) == (Cancelled(), "cancelled")


def test_a_lost_pods_task_says_why_and_waits_like_after_any_disruption(sky: Sky) -> None:
    sky.fly(CLAIM._replace(attempt=3))
    sky.flights.watched(PodGone("", "tasks", pod()), sky.now)
    sky.call()
    sky.flights.log_finished(CLAIM.attempt_id, sky.now)
    found = outcome(sky.write())
    assert isinstance(found, Retry)
    assert (found.delay, found.reason, found.counts) == (4.0, "lost", False)
    assert "nobody saw how it ended" in found.error


# -- one pod, and all of it


def test_a_create_call_that_waited_for_its_turn_counts_what_is_left_of_the_lease_then(sky: Sky) -> None:
    left = 10.0
    sky.flights.course.making.lease_left = lambda: left
    sky.claim()
    sky.write()
    left = 4.0
    sky.call()
    assert sky.api.asked == [("create", {"seconds": pytest.approx(2.8)})]


def test_a_create_call_whose_lease_ran_out_while_it_waited_is_not_sent(sky: Sky) -> None:
    left = 10.0
    sky.flights.course.making.lease_left = lambda: left
    sky.claim()
    sky.write()
    left = 0.1
    sky.call()
    assert sky.api.words() == []
    left = 10.0
    sky.wait(1)
    assert sky.api.words() == ["create"]


def test_a_config_map_that_could_not_be_made_at_once_is_made_although_the_watch_has_shown_the_pod(sky: Sky) -> None:
    sky.config_map = {"metadata": {"name": "x"}}
    sky.api.config_maps.append(TryLater("busy", 1.0))
    sky.claim()
    sky.write()
    sky.see(pending())
    sky.call()
    assert sky.api.words() == ["create", "config map"]
    sky.wait(1)
    assert sky.api.words() == ["create", "config map", "config map"]
    assert sky.api.asked[-1][1] == {"owner": UID}
    sky.wait(60)
    assert sky.api.words().count("config map") == 2


@pytest.mark.parametrize("uid", [None, UID])
def test_an_adopter_makes_the_config_map_that_a_dead_launcher_left_out(sky: Sky, uid: str | None) -> None:
    sky.config_map = {"metadata": {"name": "x"}}
    sky.see(pending())
    sky.claim(ADOPTED._replace(pod_uid=uid), Past())
    sky.write()
    sky.wait(0)
    assert sky.api.words() == ["config map"]


def test_a_config_map_that_is_refused_ends_the_pod(sky: Sky) -> None:
    sky.config_map = {"metadata": {"name": "x"}}
    sky.api.config_maps.append(Refused("It is too large."))
    sky.claim()
    sky.write()
    sky.see(pending())
    sky.call()
    sky.see(deleted(never_begun(), at="2026-11-23T05:00:30Z", grace=30))
    assert outcome(sky.write()) == Failed("It is too large.", "refused", final=True)


@pytest.mark.parametrize("there", [None, pod()])
def test_a_pod_that_we_would_not_make_is_looked_for_first(there: Pod | None) -> None:
    sky = Sky(lambda claim: Failed("The policy forbids it.", "policy", final=True))
    sky.api.there = there
    sky.claim(ADOPTED._replace(pod_uid=None), Past())
    sky.write()
    sky.call()
    assert sky.api.words() == ["get"]
    if there is None:
        out = sky.write()
        assert (outcome(out).reason, told(out)["class"]) == ("policy", "policy")
    else:
        assert not sky.flights.course.outgoing.claims()
        sky.see(finished(0))
        assert isinstance(outcome(sky.write()), Succeeded)


def test_a_launcher_that_adopts_its_own_pod_sees_it_as_it_was(sky: Sky) -> None:
    sky.fly(CLAIM._replace(timeout=100.0))
    sky.see(pod())
    sky.claim(ADOPTED._replace(timeout=100.0), Past(LogPosition(3), facts={"ran_seconds": 50.0}))
    sky.flights.hear(Incoming(lost=[CLAIM]), sky.now)
    assert (sky.logs.forgotten, sky.logs.resumed) == (1, [LogPosition(3)])
    assert len(sky.flights) == 1
    sky.wait(51)
    assert sky.api.words() == ["create", "delete"]


def test_a_launcher_that_lost_a_pod_and_adopts_it_later_sees_it_as_it_was(sky: Sky) -> None:
    sky.fly()
    sky.see(pod())
    sky.flights.hear(Incoming(lost=[CLAIM]), sky.now)
    assert len(sky.flights) == 0
    sky.claim(ADOPTED._replace(timeout=10.0), Past())
    sky.wait(11)
    assert sky.api.words() == ["create", "delete"]


@pytest.mark.parametrize(
    ("wish", "there", "words"),
    [
        ("keep", finished(0), ["release"]),
        ("keep_on_failure", finished(1), ["release"]),
        ("keep_on_failure", finished(0), ["delete", "release"]),
        ("delete", finished(0), ["delete", "release"]),
        ("keep", pod(containerStatuses=[running()]), ["delete", "release"]),
        ("keep", pod(containerStatuses=[ended(0), running("injected")]), ["end", "release"]),
        ("keep_on_failure", pod(containerStatuses=[ended(1), running("injected")]), ["end", "release"]),
        ("keep_on_failure", pod(containerStatuses=[ended(0), running("injected")]), ["delete", "release"]),
    ],
)
def test_a_name_that_had_to_stay_taken_is_given_up_as_its_task_wants_it(
    sky: Sky, wish: str, there: Pod, words: list[str]
) -> None:
    there["metadata"]["annotations"]["halfstep.io/on-finish"] = wish
    sky.see(there)
    sky.flights.doubt(sky.now)
    attempt = there["metadata"]["labels"]["halfstep.io/attempt"]
    assert sky.flights.take_outgoing().doubtful == [Doubt(attempt, UID, "tasks", marked=True, older=False, twin=True)]
    sky.flights.hear(Incoming(garbage=[UID]), sky.now)
    sky.call()
    assert sky.api.words() == words
    assert sky.api.asked[-1][1] == {"keep": "delete" not in words}
    there["metadata"]["labels"][KEEP] = "true"
    there["metadata"]["finalizers"] = []
    sky.see(there)
    sky.flights.doubt(sky.now)
    assert sky.flights.take_outgoing().doubtful == []


def test_a_pod_that_is_not_in_a_whole_list_is_lost(sky: Sky) -> None:
    sky.fly()
    sky.see(pod())
    sky.flights.watched(Listed("", "tasks", frozenset(), began=sky.now), sky.now)
    sky.call()
    sky.flights.log_finished(CLAIM.attempt_id, sky.now)
    assert outcome(sky.write()).reason == "lost"


# -- whose a pod is, and whether it is still there


OTHER = "11111111-2222-4333-8444-555555555555"


def changed(there: Pod, **metadata: Any) -> Pod:
    """With other metadata."""
    return there | {"metadata": there["metadata"] | metadata}


def gone(sky: Sky) -> Outcome:
    """The outcome of a pod whose log, if it has one, has been read."""
    sky.flights.log_finished(CLAIM.attempt_id, sky.now)
    return outcome(sky.write())


@pytest.mark.parametrize("last", [pod(), finished(0), changed(pod(), labels={})])
def test_a_pod_that_left_the_watch_is_read_by_its_name_and_shown_again_by_our_patch(sky: Sky, last: Pod) -> None:
    sky.fly()
    sky.see(pod())
    sky.call()
    sky.api.marks.clear()
    sky.api.there = changed(pod(), labels={})
    sky.flights.watched(PodGone("", "tasks", last), sky.now)
    sky.call()
    sky.wait(MEND_SECONDS)
    assert not sky.flights.course.outgoing.claims()
    assert sky.api.marks[0]["labels"][INSTALLATION_LABEL] == INSTALLATION


def test_a_pod_that_the_watch_does_not_show_is_read_until_it_ends(sky: Sky) -> None:
    sky.fly()
    sky.api.there = pod()
    sky.wait(LOOK_SECONDS)
    sky.wait(LOOK_SECONDS)
    assert sky.api.words() == ["create", "get", "get"]
    assert sky.facts()["phase"] == "Running"
    sky.api.there = finished(0)
    sky.wait(LOOK_SECONDS)
    assert isinstance(gone(sky), Succeeded)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("cancelled", [True, False])
def test_an_adopted_pod_that_vanished_while_no_launcher_looked_is_lost(sky: Sky, listed: bool, cancelled: bool) -> None:
    if listed:
        sky.flights.watched(Listed("", "tasks", frozenset(), began=sky.now), sky.now)
    sky.claim(ADOPTED, Past())
    if cancelled:
        sky.flights.hear(Incoming(cancelled=[7]), sky.now)
    sky.call()
    sky.wait(LOOK_SECONDS)
    found = gone(sky)
    assert found == Cancelled() if cancelled else found.reason == "lost"


def test_a_cancel_of_a_pod_that_is_not_there_ends_its_task_whatever_the_watch_shows(sky: Sky) -> None:
    sky.fly()
    sky.see(pod())
    sky.api.deleted = False
    sky.flights.hear(Incoming(cancelled=[7]), sky.now)
    sky.call()
    assert gone(sky) == Cancelled()


def test_a_pod_of_which_nothing_was_heard_for_long_is_read_and_is_lost_only_if_it_stays_away(sky: Sky) -> None:
    sky.fly()
    sky.see(pod())
    sky.now += SILENCE_SECONDS + 1
    sky.flights.doubt(sky.now)
    sky.call()
    assert not sky.flights.course.outgoing.claims(), "the watch may be about to say how it ended"
    assert sky.flights.doubt(sky.now) == {"tasks"}, "and if it is not, it has to be asked"
    sky.wait(MOMENT_SECONDS)
    assert gone(sky).reason == "lost"


def test_a_watch_that_does_not_show_what_is_there_is_asked_for_a_list(sky: Sky) -> None:
    sky.fly()
    sky.api.there = pod()
    assert sky.flights.doubt(sky.now) == set()
    sky.call()
    assert sky.flights.doubt(sky.now) == {"tasks"}
    sky.see(pod())
    sky.call()
    assert sky.flights.doubt(sky.now) == set()


def test_nothing_is_believed_of_a_pod_that_can_not_be_read(sky: Sky) -> None:
    sky.fly()
    sky.see(pod())
    sky.api.get_pod = lambda *_: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    sky.flights.watched(Listed("", "tasks", frozenset(), began=sky.now), sky.now)
    for _ in range(20):
        sky.wait(LOOK_SECONDS)
    assert not sky.flights.course.outgoing.claims()
    del sky.api.get_pod  # type: ignore[attr-defined]
    sky.wait(LOOK_SECONDS)
    assert gone(sky).reason == "lost"


def test_thousands_of_pods_that_are_not_shown_do_not_keep_a_create_waiting(sky: Sky) -> None:
    for number in range(50):
        sky.claim(ADOPTED._replace(id=100 + number, attempt_id=f"00000000-0000-4000-8000-{number:012}"), Past())
    sky.flights.watched(Listed("", "tasks", frozenset(), began=sky.now), sky.now)
    assert [call for _, call, _ in sky.calls.waiting] == ["lookup"] * AT_ONCE
    sky.call()
    assert sky.api.words() == ["get"] * 50


def test_another_pod_of_the_name_is_no_evidence_and_ours_is_lost(sky: Sky) -> None:
    sky.fly()
    sky.see(pod())
    sky.api.there = changed(finished(0), uid="another")
    sky.see(changed(finished(0), uid="another"))
    sky.call()
    assert gone(sky).reason == "lost"
    assert "delete" not in sky.api.words()


def test_a_pod_of_our_name_that_comes_before_the_answer_is_not_believed(sky: Sky) -> None:
    sky.api.there = foreign = changed(finished(0), uid="another", annotations={})
    sky.claim()
    sky.write()
    sky.see(foreign)
    assert not sky.flights.course.outgoing.claims()
    sky.api.creates.append(Taken("Another pod has the name.", foreign))
    sky.call()
    out = sky.write()
    assert outcome(out) == Retry("Another pod has the name.", 1.0, reason="taken", counts=False)
    assert told(out)["class"] == "taken"
    sky.wait(600)
    assert sky.api.words() == ["create"]


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_pod_that_was_gone_when_its_create_met_the_name_is_lost_and_nobody_elses_is_deleted(sky: Sky, cancelled: bool) -> None:
    sky.api.creates.append(Created("", existed=True))
    sky.api.there = changed(pod(), uid="another")
    sky.claim()
    sky.write()
    if cancelled:
        sky.flights.hear(Incoming(cancelled=[7]), sky.now)
    sky.call()
    sky.wait(0)
    found = gone(sky)
    assert found == Cancelled() if cancelled else found.reason == "lost"
    sky.wait(600)
    assert sky.api.words() == ["create", "get"]
    assert len(sky.flights) == 0


def test_a_name_that_is_taken_ten_times_fails_the_task(sky: Sky) -> None:
    sky.api.creates.append(Taken("Another pod has the name.", {"metadata": {}}))
    sky.fly(CLAIM._replace(attempt=11))
    assert outcome(sky.write()).reason == "taken"
    sky.api.creates.append(Taken("Another pod has the name.", {"metadata": {}}))
    sky.fly(CLAIM._replace(attempt=12, failures=2, max_attempts=3, token="token-3"))
    assert isinstance(outcome(sky.write()), Retry)


def test_a_config_map_that_is_anothers_ends_the_pod_and_counts_for_nothing(sky: Sky) -> None:
    sky.config_map = {"metadata": {"name": "x"}}
    sky.api.config_maps.append(Taken("Another ConfigMap has the name.", {"metadata": {"name": "x", "uid": "c-9"}}))
    sky.fly()
    sky.see(pending())
    sky.call()
    sky.see(deleted(never_begun(), at="2026-11-23T05:00:30Z", grace=30))
    found = outcome(sky.write())
    assert isinstance(found, Retry)
    assert (found.reason, found.counts) == ("taken", False)


@pytest.mark.parametrize(("marked", "believed"), [(False, True), (True, False)])
def test_a_pod_without_the_mark_is_believed_before_its_acknowledgement_where_an_older_launcher_asked_for_it(
    sky: Sky, marked: bool, believed: bool
) -> None:
    older = finished(0)
    del older["metadata"]["annotations"]["halfstep.io/made"]
    sky.see(older)
    sky.claim(ADOPTED._replace(pod_uid=None), Past(marked=marked))
    sky.write()
    sky.api.creates.append(Taken("Another pod has the name.", older))
    sky.call()
    found = gone(sky) if believed else outcome(sky.write())
    assert isinstance(found, Succeeded if believed else Retry)
    assert not any("halfstep.io/made" in marks.get("annotations", {}) for marks in sky.api.marks)


@pytest.mark.parametrize(
    ("metadata", "lacks"),
    [
        ({"finalizers": []}, {"finalizers": ["halfstep.io/verdict"]}),
        ({"finalizers": [], "deletionTimestamp": "2026-11-23T05:00:30Z"}, None),
        ({"annotations": {}}, {"annotations": {"halfstep.io/operator": "pod"}}),
        ({"labels": {"halfstep.io/attempt": OTHER}}, {"labels": {"halfstep.io/attempt": CLAIM.attempt_id}}),
    ],
)
def test_what_somebody_took_away_of_our_marks_is_put_back_while_it_can_be(sky: Sky, metadata: Pod, lacks: Pod | None) -> None:
    sky.fly()
    sky.see(changed(pod(), **metadata))
    sky.call()
    (marks,) = sky.api.marks
    if lacks is None:
        assert "finalizers" not in marks
    else:
        assert all(
            marks[key].items() >= value.items() if isinstance(value, dict) else marks[key] == value
            for key, value in lacks.items()
        )


def test_marks_that_are_taken_away_again_and_again_are_put_back_ever_more_rarely(sky: Sky) -> None:
    sky.fly()
    for _ in range(300):
        sky.see(changed(pod(), labels={}))
        sky.wait(1)
    assert 4 <= len(sky.api.marks) <= 7


def test_the_claims_operator_decides_how_an_exit_is_read_and_not_an_annotation(sky: Sky) -> None:
    sky.fly(CLAIM._replace(operator="python"))
    sky.see(finished(0, operator="pod"))
    assert outcome(sky.write()).reason == "crash"


@pytest.mark.parametrize("there", [changed(pod(), name="dbg"), changed(pod(), name="hs-x"), changed(pod(), uid="")])
def test_what_only_carries_our_labels_is_never_asked_about_in_sql(sky: Sky, there: Pod) -> None:
    sky.see(there)
    sky.flights.doubt(sky.now)
    assert sky.flights.take_outgoing().doubtful == []


def test_strangers_are_told_once_and_again_when_something_changes(sky: Sky, caplog: pytest.LogCaptureFixture) -> None:
    def reported() -> Strangers | None:
        sky.now += 10
        sky.flights.write_facts(sky.now)
        return sky.flights.take_outgoing().strangers

    assert reported() is None, "nobody knows yet what is there"
    sky.flights.watched(Listed("", "tasks", frozenset(), began=sky.now), sky.now)
    assert reported() == Strangers("", ["tasks"], [])
    for number in range(30):
        sky.see(changed(pod(), name=f"dbg-{number}", uid=f"u-{number}"))
    found = reported()
    assert found is not None
    assert len(found.pods) == 30
    assert [record.event for record in caplog.records] == ["pod.stranger"] * 10 + ["pod.strangers"]  # type: ignore[attr-defined]
    sky.see(changed(pod(), name="dbg-1", uid="u-1"))
    assert reported() is None
    sky.flights.watched(PodGone("", "tasks", changed(pod(), name="dbg-1", uid="u-1")), sky.now)
    found = reported()
    assert found is not None
    assert len(found.pods) == 29
    assert len(caplog.records) == 11
    sky.now += 600
    assert reported() is not None, "so that their rows are not taken for old ones"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=70),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "name",
                        "uid",
                        "labels",
                        "annotations",
                        "finalizers",
                        "halfstep.io/attempt",
                        "halfstep.io/made",
                        "deletionTimestamp",
                    ]
                )
                | st.text(max_size=5),
                inner,
                max_size=6,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_a_pods_metadata_holds_sql_is_asked_for_uuids_only(metadata: Any) -> None:
    sky = Sky()
    sky.fly()
    sky.flights.watched(PodSeen("", "tasks", trim({"metadata": metadata})), sky.now)
    sky.flights.watched(PodSeen("", "tasks", trim({"metadata": metadata, "status": {"phase": "Succeeded"}})), sky.now)
    sky.flights.watched(PodGone("", "tasks", trim({"metadata": metadata})), sky.now)
    sky.flights.doubt(sky.now)
    out = sky.flights.take_outgoing()
    assert not out.claims()
    for doubt in out.doubtful:
        assert str(UUID(doubt.attempt_id)) == doubt.attempt_id


# -- what the launcher's own code stumbles over


NEIGHBOUR = CLAIM._replace(id=8, token="token-8", attempt_id="9b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c12")


class Clumsy(Sky):
    """It stumbles whenever it judges, or starts to read the log of, the pod of one attempt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
        super().__init__()
        course = self.flights.course
        real = getattr(course, where)

        def stumble(flight: Flight, *rest: Any) -> Any:
            if flight.attempt_id == CLAIM.attempt_id:
                raise KeyError("so the test wants it")
            return real(flight, *rest)

        monkeypatch.setattr(course, where, stumble)


def of_neighbour(there: Pod) -> Pod:
    labels = there["metadata"]["labels"] | {"halfstep.io/attempt": NEIGHBOUR.attempt_id}
    about = {"labels": labels, "name": f"hs-{NEIGHBOUR.attempt_id}"}
    return there | {"metadata": there["metadata"] | about}


@pytest.mark.parametrize("where", ["see", "_judge", "_start", "park", "_decide"])
def test_a_pod_that_is_stumbled_over_is_told_to_end_and_its_task_fails_for_good(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    sky = Clumsy(monkeypatch, where)
    sky.claim()
    sky.claim(NEIGHBOUR)
    sky.write()
    sky.call()
    sky.see(pod())
    sky.see(finished(0))
    sky.see(of_neighbour(finished(0)))
    sky.wait(3)
    out = sky.write()
    sky.wait(3)
    out.merge(sky.write())
    ends = {ending.claim.id: ending.outcome for ending in out.endings}
    assert isinstance(ends[8], Succeeded)
    assert (type(ends[7]), ends[7].reason, ends[7].final) == (Failed, "unreadable", True)
    assert "KeyError: 'so the test wants it'" in ends[7].error
    assert not out.retries
    sky.wait(3)
    assert sky.api.words().count("create") == 2
    assert len(sky.flights) == 0


def test_a_stumble_over_the_answer_to_a_create_looks_for_the_pod_and_makes_no_other(sky: Sky) -> None:
    def breaks(*_: Any, **__: Any) -> CreateOutcome:
        sky.api.asked.append(("create", {}))
        raise TypeError("not JSON serializable")

    sky.api.create_pod = breaks  # type: ignore[method-assign]
    sky.fly()
    sky.wait(2)
    assert sky.api.words() == ["create", "get"]
    found = outcome(sky.write())
    assert (found.reason, found.final) == ("unreadable", True)
    sky.wait(600)
    assert sky.api.words() == ["create", "get"]


def test_a_pod_that_is_there_after_such_an_answer_gets_its_own_verdict(sky: Sky) -> None:
    sky.api.create_pod = lambda *_, **__: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    sky.api.there = pod()
    sky.fly()
    sky.wait(2)
    sky.see(finished(0))
    assert isinstance(outcome(sky.write()), Succeeded)


def test_a_cancelled_task_that_is_stumbled_over_ends_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    sky = Clumsy(monkeypatch, "_judge")
    sky.fly()
    sky.flights.hear(Incoming(cancelled=[7]), sky.now)
    sky.see(deleted(finished(143), at="2026-11-23T05:00:35Z", grace=30))
    assert outcome(sky.write()) == Cancelled()


def test_a_program_that_still_runs_when_it_is_stumbled_over_has_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    sky = Clumsy(monkeypatch, "_judge")
    sky.options = {"grace": 77}
    sky.fly()
    sky.see(pod())
    sky.write()
    sky.call()
    assert [told["grace"] for word, told in sky.api.asked if word == "delete"] == [77, 77]
    assert sky.api.words()[-1] == "release"


def test_a_pod_of_nobody_that_has_no_uid_is_left_alone(sky: Sky) -> None:
    there = pod()
    del there["metadata"]["uid"]
    sky.see(there)
    sky.flights.hear(Incoming(garbage=[CLAIM.attempt_id, UID, ""]), sky.now)
    sky.call()
    assert sky.api.words() == []


@pytest.mark.parametrize("delay", ["1e300", "1" + "0" * 300])
def test_a_delay_that_a_program_asks_for_ends_before_time_does(sky: Sky, delay: str) -> None:
    asked = f'{{"halfstep": 1, "kind": "retry", "body": "[\\"later\\", {delay}, \\"mine\\", true]"}}'
    sky.fly(CLAIM._replace(operator="python"))
    sky.see(finished(1, None, asked, operator="python"))
    found = outcome(sky.write())
    assert found.reason in ("mine", "result")
    assert not isinstance(found, Retry) or found.delay <= 31_536_000


# -- poison


@pytest.mark.parametrize("there", [None, pod()])
def test_a_poisonous_task_is_not_even_planned_and_a_pod_that_is_there_gets_its_verdict(there: Pod | None) -> None:
    planned: list[Claim] = []
    sky = Sky(lambda claim: planned.append(claim) or Failed("never"))  # type: ignore[func-returns-value]
    sky.api.there = there
    sky.claim(ADOPTED._replace(pod_uid=None, alone=True), Past(facts={"poison": "5 launchers died."}))
    sky.write()
    sky.call()
    assert (planned, sky.api.words()) == ([], ["get"])
    if there is None:
        assert outcome(sky.write()) == Failed("5 launchers died.", "poison", final=True)
    else:
        assert sky.facts()["poison"] == "5 launchers died."
        sky.see(finished(0))
        assert isinstance(outcome(sky.write()), Succeeded)


def test_a_poisonous_task_that_was_cancelled_ends_cancelled(sky: Sky) -> None:
    sky.claim(ADOPTED._replace(pod_uid=None), Past(facts={"poison": "5 launchers died."}))
    sky.flights.hear(Incoming(cancelled=[7]), sky.now)
    sky.write()
    sky.call()
    assert outcome(sky.write()) == Cancelled()


def test_that_a_suspect_did_no_harm_is_told_at_once(sky: Sky) -> None:
    sky.claim(CLAIM._replace(alone=True))
    sky.write()
    sky.call()
    (row,) = sky.flights.take_outgoing().pods.values()
    assert row.uid == UID


# -- what is kept


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (finished(0), ["create", "release"]),
        (pod("Running", containerStatuses=[ended(0), running("injected")]), ["create", "end", "release"]),
        (
            pod("Pending", containerStatuses=[ended(0), waiting("ImagePullBackOff", name="injected")]),
            ["create", "end", "release"],
        ),
        (
            pod("Running", containerStatuses=[ended(0)], ephemeralContainerStatuses=[running("debugger")]),
            ["create", "end", "release"],
        ),
        (deleted(pod("Running", containerStatuses=[ended(1), running("injected")]), at=ENDED, grace=30), ["create", "release"]),
    ],
    ids=["that has ended", "beside which a sidecar runs", "that never began to run beside it", "in which somebody looks around",
         "that is on its way out"],
)  # fmt: skip
def test_a_kept_pod_does_not_run_on(sky: Sky, there: Pod, words: list[str]) -> None:
    sky.options["on_finish"] = "keep"
    sky.fly()
    sky.see(pod())
    sky.see(there)
    sky.write()
    sky.call()
    assert sky.api.words() == words
    assert len(sky.flights) == 0


def test_a_pod_that_nobody_keeps_is_deleted_and_not_ended_first(sky: Sky) -> None:
    sky.fly()
    sky.see(pod("Running", containerStatuses=[ended(0), running("injected")]))
    sky.write()
    sky.call()
    assert sky.api.words() == ["create", "delete", "release"]


@pytest.mark.parametrize(
    ("status", "words"), [(403, ["end", "release"]), (422, ["end", "release"]), (500, ["end"]), (429, ["end"])]
)
def test_a_cluster_that_does_not_let_us_end_what_we_keep_is_lived_with(sky: Sky, status: int, words: list[str]) -> None:
    sky.options["on_finish"] = "keep"
    sky.api.refusal = ApiError("a policy says no", status=status)
    sky.fly()
    sky.see(pod("Running", containerStatuses=[ended(0), running("injected")]))
    sky.write()
    sky.call()
    assert sky.api.words() == ["create", *words]
    sky.api.refusal = None
    sky.wait(3)
    assert sky.api.words()[-1] == "release"


# -- while nothing can be made in the namespace


def test_a_pod_that_the_cluster_makes_for_nobody_is_made_when_it_does_again(sky: Sky) -> None:
    sky.api.creates.append(Unavailable("No right."))
    sky.fly()
    assert not sky.write().endings
    sky.wait(2.0)
    assert sky.api.words() == ["create", "create"]
    assert not sky.write().endings


def test_while_that_is_known_nobody_asks(sky: Sky) -> None:
    why: list[str | None] = ["No right."]
    sky.flights.course.making.blocked = lambda namespace: why[0]
    sky.fly()
    sky.flights.write_facts(sky.now)
    assert told(sky.write())["waiting"] == "No right."
    for _ in range(3):
        sky.wait(2.0)
    assert sky.api.words() == []
    assert (sky.flights.creating, sky.flights.making()) == (1, 0)
    why[0] = None
    sky.wait(2.0)
    assert sky.api.words() == ["create"]


def test_a_call_that_waited_for_its_turn_is_not_made_either(sky: Sky) -> None:
    sky.claim()
    sky.write()
    sky.flights.course.making.blocked = lambda namespace: "No right."
    sky.call()
    assert sky.api.words() == []


def test_a_cancel_holds_while_nothing_can_be_made(sky: Sky) -> None:
    sky.flights.course.making.blocked = lambda namespace: "No right."
    sky.fly()
    sky.write()
    sky.flights.hear(Incoming(cancelled=[CLAIM.id]), sky.now)
    sky.wait(2.0)
    assert isinstance(outcome(sky.write()), Cancelled)


def test_what_was_not_asked_for_goes_back_unstarted_and_what_may_be_there_is_kept(sky: Sky) -> None:
    other = CLAIM._replace(id=8, attempt_id="0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c12")
    sky.api.creates += [Unavailable("No right."), TryLater("No answer.", 1.0, unknown=True)]
    sky.fly()
    sky.fly(other)
    assert sky.flights.hand_back() == 0, "nothing is known of trouble"
    sky.flights.course.making.blocked = lambda namespace: "No right."
    assert sky.flights.hand_back() == 1
    (release,) = sky.write().releases
    assert (release.claim, release.started) == (CLAIM, False)
    assert len(sky.flights) == 1


def test_a_pod_whose_config_map_can_t_be_made_is_not_handed_back(sky: Sky) -> None:
    sky.config_map = {"metadata": {}}
    sky.api.config_maps.append(Unavailable("No right."))
    sky.fly()
    sky.flights.course.making.blocked = lambda namespace: "No right."
    assert sky.flights.hand_back() == 0
