"""What falls between the parts of a launcher: doubt about a pod, and trouble of the cluster, at the same time."""

from __future__ import annotations

import time

import pytest

from halfstep.outcomes import Cancelled, Failed, Succeeded
from halfstep.pods import Past
from halfstep_worker.desk import Incoming
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.inbox import Answer
from halfstep_worker.kubernetes.lookups import LOOK_SECONDS
from halfstep_worker.kubernetes.values import Listed, Pod, PodGone, PodSeen, Refused, Taken, TryLater
from pod_builders import deleted, finished, never_begun, pending, pod, waiting
from waiting import is_within
from worker.test_pod_flights import ADOPTED, CLAIM, Sky, outcome  # noqa: TID251 (the folder tests/worker)

SLOW = TryLater("No answer.", 1.0, unknown=True)


@pytest.fixture
def sky() -> Sky:
    return Sky()


def read_logs(sky: Sky) -> None:
    """Of pods that were judged by a read: to their ends."""
    for flight in sky.logs.ended:
        sky.flights.log_finished(flight.attempt_id, sky.now)


# -- a create of which nobody knows whether it was taken, and a refusal


@pytest.mark.parametrize("there", [None, finished(0)], ids=["no pod was made", "the pod was made, and ended well"])
def test_a_refusal_after_a_lost_answer_looks_for_the_pod_first(sky: Sky, there: Pod | None) -> None:
    """Admission is asked before the name is: a policy that has come meanwhile refuses what is there already."""
    sky.api.creates += [SLOW, Refused("A policy denies it.")]
    sky.api.there = there
    sky.fly()
    sky.wait(1.0)
    assert not sky.flights.course.outgoing.endings
    sky.wait(0.1)
    read_logs(sky)
    found = outcome(sky.write())
    assert isinstance(found, Succeeded) if there else found == Failed("A policy denies it.", "refused", final=True)
    assert sky.api.words()[:3] == ["create", "create", "get"]


# -- a pod is there, and its ConfigMap is not

BESIDE = {
    "another has its name": Taken("Another ConfigMap has the name.", {"metadata": {"name": "x", "uid": "c-9"}}),
    "it is refused": Refused("A policy denies it."),
}


@pytest.mark.parametrize("answer", BESIDE.values(), ids=BESIDE)
def test_a_pod_whose_config_map_is_not_ours_is_ended_before_it_is_judged(sky: Sky, answer: Taken | Refused) -> None:
    """The answer comes before the watch shows the pod: it might start, with what somebody else put there."""
    sky.config_map = {"metadata": {"name": "x"}}
    sky.api.config_maps += [answer, answer]
    sky.fly()
    sky.wait(0.1)
    assert not sky.flights.course.outgoing.claims(), "the pod is there"
    assert sky.api.words()[-1] == "delete"
    sky.see(deleted(never_begun(), at="2026-11-23T05:00:30Z", grace=30))
    assert outcome(sky.write()).reason == ("taken" if isinstance(answer, Taken) else "refused")


def test_a_config_map_is_never_taken_for_the_pod(sky: Sky) -> None:
    """It has the pod's name and mark; whoever restored it from a copy has left out the owner."""
    sky.config_map = {"metadata": {"name": "x"}}
    its = pod()["metadata"] | {"uid": "c-9"}
    sky.api.config_maps.append(Taken("Another ConfigMap has the name.", {"metadata": its}))
    sky.fly()
    sky.see(pod())
    sky.see(finished(0))
    assert isinstance(outcome(sky.write()), Succeeded)


# -- deletions that are not taken


def test_a_deletion_that_meets_a_conflict_is_asked_for_again(sky: Sky) -> None:
    """A webhook may deny with 409, which says nothing of the pod."""
    sky.fly()
    sky.see(pod())
    sky.api.deleted, sky.api.there = False, pod()
    sky.flights.hear(Incoming(cancelled=[CLAIM.id]), sky.now)
    sky.call()
    sky.wait(2.0)
    sky.wait(2.0)
    assert sky.api.words().count("delete") == 3


# -- clocks


def test_a_queue_timeout_that_is_over_makes_no_create_hurry(sky: Sky) -> None:
    """Held by a quota first, and by the server's silence when its time is over."""
    sky.options = {"queue_timeout": 5.0}
    sky.api.creates += [TryLater("exceeded quota", 15.0, held="quota"), *[TryLater("Too many requests.", 600.0)] * 50]
    sky.fly()
    for _ in range(40):
        sky.wait(0.5)
    assert sky.api.words() == ["create", "create"], "the second when the time was over"


def test_a_start_that_nobody_could_see_is_not_missed(sky: Sky) -> None:
    """The startup timeout is over while the API server is away. The pod has begun meanwhile."""
    why: list[str | None] = [None]
    sky.flights.course.making.blocked = lambda namespace: why[0]
    sky.fly()
    sky.see(pending(waiting("ContainerCreating")))
    why[0] = "No answer."
    for _ in range(70):
        sky.wait(1.0)
    why[0], sky.api.there = None, pod()
    for _ in range(10):
        sky.wait(1.0)
    assert "delete" not in sky.api.words()
    sky.see(finished(0))
    assert isinstance(outcome(sky.write()), Succeeded)


def test_what_has_not_begun_when_it_can_be_seen_again_is_given_up(sky: Sky) -> None:
    why: list[str | None] = [None]
    sky.flights.course.making.blocked = lambda namespace: why[0]
    sky.fly()
    sky.see(pending(waiting("ContainerCreating")))
    why[0] = "No answer."
    for _ in range(70):
        sky.wait(1.0)
    why[0], sky.api.there = None, pending(waiting("ContainerCreating"))
    for _ in range(10):
        sky.wait(1.0)
    assert sky.api.words().count("delete") == 1


# -- pods that change hands


def test_a_pod_that_was_hidden_when_it_was_given_up_is_read_by_whoever_adopts_it(sky: Sky) -> None:
    """The same launcher, perhaps: what it last knew of the pod is no sighting."""
    sky.fly()
    sky.see(pod())
    sky.flights.watched(PodGone("", "tasks", pod()), sky.now)
    sky.calls.waiting.clear()  # the API server is away
    sky.flights.hear(Incoming(lost=[CLAIM]), sky.now)
    sky.claim(ADOPTED, Past())
    sky.wait(LOOK_SECONDS)
    read_logs(sky)
    assert outcome(sky.write()).reason == "lost"


def test_an_answer_to_the_owner_before_does_not_end_a_pod_that_is_to_be_made(sky: Sky) -> None:
    """The owner before would not make it, and looked; it is ourselves, and we were taken for dead meanwhile."""
    sky.claim(ADOPTED._replace(pod_uid=None), Past())
    sky.flights.answered(Answer(CLAIM.attempt_id, "look", None), sky.now)
    assert not sky.flights.course.outgoing.claims()
    sky.write()
    sky.call()
    assert sky.api.words()[0] == "create"


# -- many pods while the server does nothing for us


def test_thousands_of_pods_that_can_not_be_read_leave_the_server_to_others(sky: Sky) -> None:
    refused = ApiError("No right.", status=403, access=True)

    def refuse(*_: object) -> Pod:
        sky.api.asked.append(("get", {}))
        raise refused

    sky.api.get_pod = refuse  # type: ignore[method-assign]
    for number in range(2000):
        sky.claim(ADOPTED._replace(id=100 + number, attempt_id=f"00000000-0000-4000-8000-{number:012}"), Past())
    for _ in range(100):
        sky.wait(LOOK_SECONDS / 10)
    assert 0 < len(sky.api.words()) < 200
    sky.api.get_pod = lambda *_: None  # type: ignore[method-assign]
    for _ in range(30):
        sky.wait(LOOK_SECONDS / 10)
    read_logs(sky)
    assert len(sky.write().claims()) == 2000


def test_a_cancel_of_what_may_have_been_made_does_not_wait_for_a_cluster_that_is_gone(sky: Sky) -> None:
    sky.api.creates.append(SLOW)
    sky.fly()
    sky.flights.course.making.blocked = lambda namespace: "No such namespace."
    sky.flights.hear(Incoming(cancelled=[CLAIM.id]), sky.now)
    for _ in range(5):
        sky.wait(1.0)
    assert isinstance(outcome(sky.write()), Cancelled)
    assert "get" in sky.api.words()


# -- strangers


def copy(number: int, **about: object) -> Pod:
    """A pod with our labels that has no launcher's name."""
    return {"metadata": {"name": f"copy-{number}", "uid": f"c-{number}", **about}}


def test_a_stranger_that_comes_and_goes_is_named_once(sky: Sky, caplog: pytest.LogCaptureFixture) -> None:
    """A label that a controller takes off and another puts on."""
    sky.flights.watched(Listed("", "tasks"), sky.now)
    for _ in range(50):
        sky.flights.watched(PodSeen("", "tasks", copy(1)), sky.now)
        sky.now += 6.0
        sky.flights.write_facts(sky.now)
        sky.flights.watched(PodGone("", "tasks", copy(1)), sky.now)
        sky.now += 6.0
        sky.flights.write_facts(sky.now)
    assert sum("copy-1" in record.getMessage() for record in caplog.records) == 1


def test_a_flood_of_strangers_keeps_the_loop_from_nothing(sky: Sky, caplog: pytest.LogCaptureFixture) -> None:
    sky.flights.watched(Listed("", "tasks"), sky.now)
    for number in range(20_000):
        sky.flights.watched(PodSeen("", "tasks", copy(number)), sky.now)
    uids = [f"g-{number}" for number in range(2_000)]
    for number, uid in enumerate(uids):
        garbage = {"metadata": {"name": f"hs-00000000-0000-4000-8000-{number:012}", "uid": uid}}
        sky.flights.watched(PodSeen("", "tasks", garbage), sky.now)
    began = time.monotonic()
    for _ in range(20):
        sky.now += 6.0
        sky.flights.watched(PodSeen("", "tasks", copy(30_000 + int(sky.now))), sky.now)
        sky.flights.write_facts(sky.now)
    sky.flights.doubt(sky.now)
    sky.flights.hear(Incoming(garbage=uids), sky.now)
    assert is_within(5.0, time.monotonic() - began)
    out = sky.flights.take_outgoing()
    assert out.strangers is not None
    assert len(out.strangers.pods) == 200
    assert len(out.doubtful) == 2_000
    assert len(sky.calls.waiting) == 2_000
    assert len(caplog.records) < 50
