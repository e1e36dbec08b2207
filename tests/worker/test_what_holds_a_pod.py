"""Everything that can hold a pod, one by one, as docs/reference/what-holds-a-pod.md lists it: what `show` says, and what ends it.

Statuses, answers and events are those of Kubernetes 1.36.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from halfstep.claims import Claim
from halfstep.outcomes import Failed
from halfstep.pods import Past
from halfstep_worker.kubernetes.answers import ApiError, Reply, created
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.values import CreateOutcome, Pod, Refused, TryLater
from pod_builders import (
    condition,
    deleted,
    event,
    finished,
    gated,
    never_begun,
    pending,
    pod,
    preparing,
    running,
    unscheduled,
    unseen,
    waiting,
)
from worker.test_pod_flights import ADOPTED, CLAIM, Sky, outcome  # noqa: TID251 (the folder tests/worker)

NAMED_WITHIN = 5.0
STARTUP, QUEUE = 60.0, 300.0
CLOSED = "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0"
NO_ROOM = "exceeded quota: q, requested: limits.cpu=2,pods=1, used: limits.cpu=3,pods=9, limited: limits.cpu=4,pods=9"
CREDS = 'MountVolume.SetUp failed for volume "creds" : secret "none" not found'
DEVICES = ",".join(f"requests.device{n}.example.com/gpu=1" for n in range(40))
TIMED_OUT = (
    "Unable to attach or mount volumes: unmounted volumes=[creds], unattached volumes=[], failed to process volumes=[]: timed out"
)
ATTACHED = (
    'Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node and can\'t be attached to another'
)
SECRETS = "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed."


class Patient(Sky):
    """With a limit for queues too."""

    def plan(self, claim: Claim) -> Flight:
        return Flight(claim, "tasks", manifest=({"metadata": {}}, None), startup_timeout=STARTUP, queue_timeout=QUEUE)

    def until(self, seconds: float) -> None:
        """Time goes by in small steps; the exchange writes nothing."""
        for _ in range(round(seconds * 2)):
            self.wait(0.5)

    def waits(self) -> str:
        """What `show` says."""
        return str(self.facts().get("waiting"))


@pytest.fixture
def sky() -> Patient:
    return Patient()


def answer(status: int, message: str, reason: str = "Forbidden", **details: Any) -> CreateOutcome:
    """What a create call comes to when the API server says this."""
    body = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message, "details": details}
    return created(Reply(status, json.dumps(body).encode()), where="cluster 'c', namespace 'n'")


def forbidden(message: str) -> CreateOutcome:
    return answer(403, f'pods "hs-0b3d" is forbidden: {message}')


def broken(message: str) -> CreateOutcome:
    return answer(500, f"Internal error occurred: {message}", "InternalError")


@dataclass(frozen=True)
class Hold:
    """words: what `show` says. limit, reason: what ends it, and how the attempt is told."""

    words: str
    limit: float
    reason: str
    there: Pod = field(default_factory=dict)
    events: tuple[Pod, ...] = ()


NO_NODE = "0/3 nodes are available: "
HOLDS = {
    "a scheduling gate of Kueue": Hold("opened: kueue.x-k8s.io/admission.", QUEUE, "gate", gated("kueue.x-k8s.io/admission")),
    "two scheduling gates": Hold("opened: a.com/one, b.com/two.", QUEUE, "gate", gated("a.com/one", "b.com/two")),
    "no room on any node": Hold(
        "3 Insufficient cpu", STARTUP, "unschedulable", unscheduled(message=NO_NODE + "3 Insufficient cpu. preemption: no.")
    ),
    "a device that no node has": Hold(
        "Insufficient example.com/gpu", STARTUP, "unschedulable", unscheduled(message=NO_NODE + "3 Insufficient example.com/gpu.")
    ),
    "a taint": Hold(
        "untolerated taint", STARTUP, "unschedulable", unscheduled(message=NO_NODE + "3 node(s) had untolerated taint(s).")
    ),
    "a node selector that fits no node": Hold(
        "node affinity/selector", STARTUP, "unschedulable",
        unscheduled(message=NO_NODE + "3 node(s) didn't match Pod's node affinity/selector."),
    ),
    "a topology spread": Hold(
        "topology spread", STARTUP, "unschedulable",
        unscheduled(message=NO_NODE + "3 node(s) didn't match pod topology spread constraints."),
    ),
    "a volume of another zone": Hold(
        "volume node affinity", STARTUP, "unschedulable",
        unscheduled(message=NO_NODE + "3 node(s) had volume node affinity conflict."),
    ),
    "a claim that is missing": Hold(
        'persistentvolumeclaim "none" not found', STARTUP, "unschedulable",
        unscheduled(message=NO_NODE + 'persistentvolumeclaim "none" not found.'),
    ),
    "a claim that is not bound": Hold(
        "unbound immediate PersistentVolumeClaims", STARTUP, "unschedulable",
        unscheduled(message=NO_NODE + "pod has unbound immediate PersistentVolumeClaims."),
    ),
    "a resource claim that can't be allocated": Hold(
        "cannot allocate all claims", STARTUP, "unschedulable", unscheduled(message=NO_NODE + "3 cannot allocate all claims.")
    ),
    "pods that are preempted for it": Hold(
        "Node 'node7' is being freed for it", STARTUP, "unschedulable",
        unscheduled() | {"status": unscheduled()["status"] | {"nominatedNodeName": "node7"}},
    ),
    "no scheduler of that name": Hold("its schedulerName is nobody", STARTUP, "unschedulable", unseen("nobody")),
    "a node whose kubelet says nothing": Hold(
        "node 'node1' has not begun", STARTUP, "startup",
        pod("Pending", conditions=[condition("PodScheduled")], startTime=None, containerStatuses=[]),
    ),
    "a Secret of a volume that is missing": Hold(
        'secret "none" not found', STARTUP, "config", preparing(), (event("FailedMount", CREDS),)
    ),
    "a ConfigMap of a volume that is missing": Hold(
        'configmap "none" not found', STARTUP, "config", preparing(),
        (event("FailedMount", 'MountVolume.SetUp failed for volume "cfg" : configmap "none" not found'),),
    ),
    "a key of a Secret that is missing": Hold(
        "non-existent secret key: tls.crt", STARTUP, "config", preparing(),
        (event("FailedMount", 'MountVolume.SetUp failed for volume "all" : references non-existent secret key: tls.crt'),),
    ),
    "a volume's driver that is missing": Hold(
        "driver name csi.example.com not found", STARTUP, "config", preparing(),
        (event("FailedMount", 'MountVolume.SetUp failed for volume "x" : driver name csi.example.com not found'),),
    ),
    "a volume that is attached elsewhere": Hold(
        "Multi-Attach error", STARTUP, "startup", preparing(), (event("FailedAttachVolume", ATTACHED),)
    ),
    "a runtime that its node has not": Hold(
        'no runtime for "gvisor" is configured', STARTUP, "startup", preparing(),
        (event("FailedCreatePodSandBox", 'Failed to create pod sandbox: no runtime for "gvisor" is configured'),),
    ),
    "an image that takes long": Hold(
        'Pulling image "shop/etl:7"', STARTUP, "startup", preparing(ready=True),
        (event("Pulling", 'Pulling image "shop/etl:7"', type="Normal"),),
    ),
    "an image that is not there": Hold(
        "can't be had (ImagePullBackOff)", STARTUP, "image", pending(waiting("ImagePullBackOff", "Back-off pulling image"))
    ),
    "an image that may not be pulled": Hold(
        "ErrImageNeverPull", STARTUP, "image", pending(waiting("ErrImageNeverPull", "Container image is not present"))
    ),
    "a pull secret that is missing": Hold(
        "pull secrets (regcred)", STARTUP, "image", pending(waiting("ErrImagePull", "unauthorized")),
        (event("FailedToRetrieveImagePullSecret", SECRETS),),
    ),
    "a Secret of a variable that is missing": Hold(
        'secret "none" not found', STARTUP, "config", pending(waiting("CreateContainerConfigError", 'secret "none" not found'))
    ),
    "a ConfigMap of a variable that is missing": Hold(
        'configmap "none" not found', STARTUP, "config",
        pending(waiting("CreateContainerConfigError", 'configmap "none" not found')),
    ),
    "an init container that runs": Hold(
        "Init container 'fetch' has not ended", STARTUP, "startup",
        pod("Pending", initContainerStatuses=[running("fetch")], containerStatuses=[waiting("PodInitializing")]),
    ),
    "an init container whose image is not there": Hold(
        "can't be had (ImagePullBackOff)", STARTUP, "image",
        pod("Pending", initContainerStatuses=[waiting("ImagePullBackOff", name="fetch")],
            containerStatuses=[waiting("PodInitializing")]),
    ),
    "a sidecar that does not become ready": Hold(
        "Startup probe failed", STARTUP, "startup",
        pod("Pending", initContainerStatuses=[running("proxy")], containerStatuses=[waiting("PodInitializing")]),
        (event("Unhealthy", "Startup probe failed: connection refused"),),
    ),
    "a sidecar that crashes": Hold(
        "CrashLoopBackOff", STARTUP, "config",
        pod("Pending", initContainerStatuses=[waiting("CrashLoopBackOff", "back-off 10s", name="proxy")],
            containerStatuses=[waiting("PodInitializing")]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOLDS)
def test_what_holds_a_pod_is_named_in_time_and_the_right_limit_ends_it(sky: Patient, what: str) -> None:
    hold = HOLDS[what]
    sky.api.events = list(hold.events)
    sky.fly()
    sky.see(hold.there)
    sky.until(NAMED_WITHIN)
    assert hold.words in sky.waits()
    sky.until(hold.limit - NAMED_WITHIN - 1)
    assert sky.api.words() == ["create"], "its time is not over"
    sky.until(2)
    assert sky.api.words() == ["create", "delete"]
    sky.see(deleted(never_begun(), at="2026-11-23T05:10:30Z", grace=30))
    found = outcome(sky.write())
    assert found.reason == hold.reason
    assert hold.words in found.error
    assert f"{hold.limit:g} s" in found.error


ANSWERS = {
    "a quota without room": (forbidden(NO_ROOM), "exceeded quota: q", "quota"),
    "a namespace that a quota of no pods closes": (forbidden(CLOSED), "limited: pods=0", "quota"),
    "a namespace that a count of no pods closes": (forbidden(CLOSED.replace("pods", "count/pods")), "count/pods=0", "quota"),
    "a quota that nobody has counted yet": (forbidden("status unknown for quota: q, resources: pods"), "status unknown", "quota"),
    "a quota that takes too long to look at": (broken("resource quota evaluation timed out"), "evaluation timed out", "quota"),
    "a webhook that is down": (
        broken('failed calling webhook "v.example.com": failed to call webhook: Post "https://v.svc:443/": connection refused'),
        'failed calling webhook "v.example.com"', "webhook",
    ),
    "a webhook that says later": (
        answer(429, 'admission webhook "v.example.com" denied the request: come again', "TooManyRequests"),
        "come again", "webhook",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ANSWERS)
def test_what_keeps_a_pod_from_being_made_is_named_and_the_same_limit_ends_it_as_that_of_gates(sky: Patient, what: str) -> None:
    later, words, reason = ANSWERS[what]
    sky.api.creates.extend([later] * 1000)
    sky.fly()
    assert words in sky.waits()
    sky.until(QUEUE - 1)
    assert not sky.flights.course.outgoing.claims()
    sky.until(2)
    out = sky.write()
    found = outcome(out)
    assert (found.reason, words in found.error, f"queue_timeout of {QUEUE:g} s" in found.error) == (reason, True, True)
    assert "delete" not in sky.api.words()


NEVER = {
    "more than a quota allows in all": (
        forbidden("exceeded quota: q, requested: limits.cpu=4, used: limits.cpu=0, limited: limits.cpu=2"), "quota",
        "it can never fit into a quota: exceeded quota: q, requested: limits.cpu=4",
    ),
    "more of one thing of several": (
        forbidden("exceeded quota: q, requested: pods=1,requests.memory=2Gi, used: pods=4,requests.memory=0, "
                  "limited: pods=4,requests.memory=1Gi"), "quota", "requests.memory=1Gi",
    ),
    "more than one quota of several allows": (
        forbidden("exceeded quota: a, requested: cpu=4, used: cpu=3, limited: cpu=6; "
                  "exceeded quota: b, requested: cpu=4, used: cpu=0, limited: cpu=2"), "quota", "limited: cpu=2",
    ),
    "more than a quota allows that is told of at great length": (
        forbidden(f"exceeded quota: {'q' * 250}, requested: {DEVICES},cpu=4, used: {DEVICES},cpu=0, limited: {DEVICES},cpu=2"),
        "quota", "it can never fit into a quota",
    ),
    "a quota that asks for limits": (forbidden("failed quota: q: must specify limits.cpu for: main"), "refused", "must specify"),
    "a LimitRange's maximum": (forbidden("maximum cpu usage per Container is 2, but limit is 4"), "refused", "maximum cpu usage"),
    "requests above the limit that a LimitRange sets": (
        answer(422, 'Pod "hs-1" is invalid', "Invalid", causes=[{
            "field": "spec.containers[0].resources.requests",
            "message": 'Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi',
        }]), "refused", "memory limit of 1Gi. A container without a limit gets that of its namespace's LimitRange",
    ),
    "a webhook that denies": (
        answer(403, 'admission webhook "v.example.com" denied the request: no latest', "Forbidden"), "refused", "no latest",
    ),
    "a runtime class that is missing": (forbidden('pod rejected: RuntimeClass "gvisor" not found'), "refused", "gvisor"),
    "a priority class that is missing": (forbidden("no PriorityClass with name high was found"), "refused", "PriorityClass"),
}  # fmt: skip


@pytest.mark.parametrize("what", NEVER)
def test_what_can_never_fit_fails_at_once_with_the_sentence(sky: Patient, what: str) -> None:
    refused, reason, words = NEVER[what]
    assert isinstance(refused, Refused)
    sky.api.creates.append(refused)
    sky.fly()
    found = outcome(sky.write())
    assert isinstance(found, Failed)
    assert (found.reason, found.final) == (reason, True)
    assert words in found.error


@pytest.mark.parametrize(
    "said",
    [
        "exceeded quota: q, requested: cpu=2, used: cpu=3, limited: cpu=4",
        "exceeded quota: q, requested: cpu=2, used: cpu=3, limited: cpu=2",
        "exceeded quota: q, requested: cpu=500m, used: cpu=1, limited: cpu=1",
        "exceeded quota: q, requested: cpu=many, used: cpu=0, limited: cpu=2",
        "exceeded quota: q, requested: cpu=4, used: cpu=0, limited: memory=2",
        "exceeded quota: q",
        *(f"exceeded quota: q, requested: cpu=40, used: cpu=400, limited: a={'1' * n},cpu=400" for n in range(1925, 2000)),
        "exceeded quota: q, requested: cpu=4, used: cpu=0, limited: cpu=1e999",
        f"exceeded quota: q, requested: cpu={'9' * 10_000}, used: cpu=0, limited: cpu=1",
        "exceeded quota: " + "q, requested: " * 10_000,
    ],
)
def test_a_quota_that_has_room_at_times_or_that_nobody_understands_is_waited_for(said: str) -> None:
    assert not isinstance(forbidden(said), Refused)


# -- clocks


def test_time_behind_a_gate_does_not_count_as_start_up(sky: Patient) -> None:
    sky.fly()
    sky.see(gated("kueue.x-k8s.io/admission"))
    sky.until(QUEUE - 1)
    sky.see(unscheduled())
    sky.until(STARTUP - 1)
    assert sky.api.words() == ["create"]
    sky.until(2)
    assert sky.api.words() == ["create", "delete"]


def test_a_gate_that_was_opened_counts_no_more_whatever_its_condition_still_says(sky: Patient) -> None:
    opened = gated("a.com/one")
    sky.fly()
    sky.see(opened)
    sky.until(STARTUP * 2)
    del opened["spec"]["schedulingGates"]
    opened["spec"]["schedulerName"] = "nobody"
    sky.see(opened)
    sky.until(NAMED_WITHIN)
    assert "schedulerName is nobody" in sky.waits()
    sky.until(STARTUP)
    assert sky.api.words() == ["create", "delete"]


def test_quota_and_gates_share_one_limit(sky: Patient) -> None:
    sky.api.creates.extend([forbidden(NO_ROOM)] * 10)
    sky.fly()
    sky.until(151)
    assert sky.api.words() == ["create"] * 11
    sky.see(gated("a.com/one"))
    sky.until(QUEUE - 152)
    assert "delete" not in sky.api.words()
    sky.until(3)
    assert sky.api.words()[-1] == "delete"


ELSEWHERE = {
    "the API server has trouble of its own": broken("etcdserver: leader changed"),
    "the API server has too much to do": answer(429, "too many requests", "TooManyRequests"),
    "the launcher may make no pods": answer(
        403, 'pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "n"'
    ),
    "nobody answers": TryLater("Connection refused", 2.0),
    "its answer is lost": OSError("gone"),
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_while_something_else_keeps_a_pod_from_being_made_no_clock_runs_and_nobody_asks_more_often(
    sky: Patient, what: str
) -> None:
    sky.api.creates.extend([forbidden(NO_ROOM)] * 19)  # 270 s of the 300
    sky.fly()
    sky.until(271)
    sky.api.creates.extend([ELSEWHERE[what]] * 100_000)
    before = len(sky.api.words())
    sky.until(2 * QUEUE)
    assert not sky.flights.course.outgoing.claims()
    assert len(sky.api.words()) - before <= 2 * QUEUE + 2
    sky.api.creates.clear()
    sky.api.creates.extend([forbidden(NO_ROOM)] * 1000)
    sky.until(10)
    assert not sky.flights.course.outgoing.claims()
    sky.until(30)
    assert "quota" in str(sky.flights.course.outgoing.claims() and outcome(sky.write()))


def test_no_clock_runs_while_the_namespace_is_closed_to_the_launcher(sky: Patient) -> None:
    sky.api.creates.extend([forbidden(NO_ROOM)] * 1000)
    sky.fly()
    sky.until(271)
    sky.flights.course.making.blocked = lambda namespace: "The API server does nothing for us."
    sky.until(2 * QUEUE)
    sky.flights.course.making.blocked = lambda namespace: None
    sky.until(5)
    assert not sky.flights.course.outgoing.claims()
    assert "exceeded quota" in sky.waits()


def test_a_pod_that_started_is_held_by_nothing(sky: Patient) -> None:
    sky.fly()
    sky.see(gated("a.com/one"))
    sky.until(10)
    sky.see(pod())
    sky.until(QUEUE + STARTUP)
    assert sky.api.words() == ["create"]
    assert sky.waits() == "None"


def test_a_create_that_may_have_been_taken_is_looked_for_before_it_is_given_up(sky: Patient) -> None:
    sky.api.creates.extend([ANSWERS["a webhook that is down"][0]] * 1000)
    sky.api.there = unscheduled()
    sky.fly()
    sky.until(QUEUE + 1)
    assert "get" in sky.api.words()
    assert not sky.flights.course.outgoing.claims()
    assert "No node takes the pod" in sky.waits()


def test_a_cancel_ends_a_wait_for_quota(sky: Patient) -> None:
    sky.api.creates.extend([forbidden(NO_ROOM)] * 1000)
    sky.fly()
    sky.flights.course.stop(next(iter(sky.flights._flights.values())), "cancelled")
    sky.until(16)
    assert type(outcome(sky.write())).__name__ == "Cancelled"


# -- adoption


def test_an_adopter_goes_on_with_the_clock_of_a_gate(sky: Patient) -> None:
    sky.claim(ADOPTED, Past(facts={"queued_seconds": QUEUE - 20}, age=10.0))
    sky.see(gated("a.com/one"))
    sky.until(9)
    assert sky.api.words() == []
    sky.until(2)
    assert sky.api.words() == ["delete"]


def test_an_adopter_of_a_gated_pod_counts_no_start_up_before_the_gate_is_open(sky: Patient) -> None:
    sky.fly()
    sky.see(gated("a.com/one"))
    sky.until(100)
    told = sky.facts()
    assert "waited_seconds" not in told
    assert "queued_seconds" in told
    heir = Patient()
    heir.claim(ADOPTED, Past(facts=told | {"queued_seconds": 100.0}, age=7.0))
    heir.see(gated("a.com/one"))
    heir.until(STARTUP * 2)
    assert heir.api.words() == []
    heir.see(unscheduled())
    heir.until(STARTUP - 1)
    assert heir.api.words() == []
    heir.until(2)
    assert heir.api.words() == ["delete"]


def test_an_adopter_of_a_pod_whose_gate_was_opened_meanwhile_starts_its_clock_then(sky: Patient) -> None:
    sky.claim(ADOPTED, Past(facts={"queued_seconds": 10_000.0}, age=10.0))
    sky.see(unscheduled())
    sky.until(STARTUP - 1)
    assert sky.api.words() == []
    sky.until(2)
    assert sky.api.words() == ["delete"]


def test_an_adopter_believes_no_condition_that_speaks_of_gates_which_are_gone(sky: Patient) -> None:
    opened = gated("a.com/one")
    del opened["spec"]["schedulingGates"]
    opened["spec"]["schedulerName"] = "nobody"
    sky.claim(ADOPTED, Past(facts={"queued_seconds": 10.0}, age=10.0))
    sky.see(opened)
    sky.until(NAMED_WITHIN)
    assert "schedulerName is nobody" in sky.waits()
    sky.until(STARTUP)
    assert sky.api.words() == ["delete"]


def test_an_adopter_goes_on_with_the_clock_of_a_quota(sky: Patient) -> None:
    sky.api.creates.extend([forbidden(NO_ROOM)] * 1000)
    sky.claim(ADOPTED._replace(pod_uid=None), Past(facts={"queued_seconds": QUEUE - 20}, age=10.0))
    sky.write()
    sky.until(5)
    assert not sky.flights.course.outgoing.claims()
    sky.until(10)
    sky.until(30)
    assert outcome(sky.write()).reason == "quota"


# -- events


def test_a_volume_that_is_there_by_now_is_no_longer_named(sky: Patient) -> None:
    sky.api.events = [event("FailedMount", CREDS)]
    sky.fly()
    sky.see(preparing())
    sky.until(4)
    assert "secret" in sky.waits()
    sky.see(preparing(ready=True))
    sky.until(4)
    assert sky.waits() == "Its node is pulling an image or making its containers; `kubectl describe pod` tells more."


def test_several_volumes_are_named_and_the_sum_of_them_is_not(sky: Patient) -> None:
    other = 'MountVolume.SetUp failed for volume "cfg" : configmap "gone" not found'
    sky.api.events = [event("FailedMount", CREDS), event("FailedMount", other), event("FailedMount", TIMED_OUT)]
    sky.fly()
    sky.see(preparing())
    sky.until(4)
    assert 'secret "none" not found' in sky.waits()
    assert 'configmap "gone" not found' in sky.waits()
    assert "Unable to attach" not in sky.waits()


@pytest.mark.parametrize(
    "stray",
    [
        event("FailedMount", "of another", involvedObject={"uid": "other"}),
        event("FailedScheduling", "0/3 nodes are available"),
        event("Scheduled", "Successfully assigned", type="Normal"),
        event("BackOff", "Back-off pulling image"),
        {"reason": ["FailedMount"], "involvedObject": 7, "message": {"a": 1}},
        {},
    ],
    ids=["of another pod", "of the scheduler, by now over", "good news", "of an image, by now over", "no event at all", "empty"],
)
def test_events_that_hold_nothing_are_passed_over(sky: Patient, stray: Pod) -> None:
    sky.api.events = [stray]
    sky.fly()
    sky.see(preparing())
    sky.until(4)
    assert "preparing its volumes and its sandbox" in sky.waits()


def test_an_image_that_was_pulled_is_no_longer_waited_for(sky: Patient) -> None:
    words = ("Pulling", "Pulled", "Created", "Started")
    sky.api.events = [event(word, f"{word} fetch", type="Normal", at=f"2026-11-23T05:00:0{n}Z") for n, word in enumerate(words)]
    sky.fly()
    sky.see(pod("Pending", initContainerStatuses=[running("fetch")], containerStatuses=[waiting("PodInitializing")]))
    sky.until(4)
    assert sky.waits() == "Init container 'fetch' has not ended."
    sky.api.events.append(event("Pulling", "Pulling another", type="Normal", at="2026-11-23T05:00:09Z"))
    sky.until(12)
    assert "Pulling another" in sky.waits()


def test_a_sidecar_whose_probe_fails_is_named_with_the_probes_words(sky: Patient) -> None:
    sky.api.events = [event("Unhealthy", "Startup probe failed: refused")]
    sky.fly()
    there = pod("Pending", initContainerStatuses=[running("proxy")], containerStatuses=[waiting("PodInitializing")])
    there["spec"]["initContainers"] = [{"name": "proxy", "restartPolicy": "Always"}]
    sky.see(there)
    sky.until(4)
    assert sky.waits() == (
        "Sidecar 'proxy' has not become ready. A probe of it fails (Unhealthy): Startup probe failed: refused."
    )
    there["status"]["initContainerStatuses"][0]["started"] = True
    sky.see(there)
    assert sky.waits() == "None"


def test_texts_of_events_are_bounded_and_steer_nothing(sky: Patient) -> None:
    sky.api.events = [event("Failed\x1b[2JMount", "no.\nTask 1 failed: \x1b[2J\u2028" + "x" * 100_000)]
    sky.fly()
    sky.see(preparing())
    sky.until(4)
    assert sky.waits().isprintable()
    assert len(sky.waits()) < 1200


@pytest.mark.parametrize(
    "trouble",
    [ApiError("no", status=403), ApiError("no", status=500), ApiError("away"), TypeError("no list"), ValueError("no JSON")],
    ids=["may not", "broken", "away", "a bug", "no JSON"],
)
def test_a_cluster_that_shows_no_events_costs_the_reason_and_nothing_else(
    sky: Patient, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    sky.api.events = trouble
    sky.fly()
    sky.see(preparing())
    sky.until(STARTUP + 1)
    assert sky.api.words() == ["create", "delete"]
    assert sky.api.reads == (1 if "403" in str(getattr(trouble, "status", "")) else 3)
    assert sum("right to list events" in record.getMessage() for record in caplog.records) == (sky.api.reads == 1)


def test_a_pod_that_says_itself_why_it_waits_costs_no_reading_of_events(sky: Patient) -> None:
    sky.fly()
    for there in (unscheduled(), pending(waiting("CreateContainerConfigError", "no")), gated("a.com/one"), pod(), finished()):
        sky.see(there)
        sky.until(10)
    assert sky.api.reads == 0


def test_many_pods_that_fall_silent_at_once_are_named_one_after_the_other(sky: Patient) -> None:
    """40 of them within the 5 s, and none of them waits for ever."""
    sky.api.events = [event("FailedMount", CREDS)]
    claims = [CLAIM._replace(id=n, token=f"t-{n}", attempt_id=f"0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7{n:03}") for n in range(40)]
    for claim in claims:
        sky.fly(claim)
        there = preparing()
        there["metadata"]["name"] = f"hs-{claim.attempt_id}"
        sky.see(there)
    for _ in range(round(NAMED_WITHIN * 20)):
        sky.wait(0.05)
    sky.flights.write_facts(sky.now)
    said = [row.as_record()["facts"]["waiting"] for row in sky.flights.course.outgoing.pods.values()]
    assert len(said) == 40
    assert all(CREDS in words for words in said)


def test_events_are_read_ever_more_seldom(sky: Patient) -> None:
    sky.fly(CLAIM)
    sky.see(preparing())
    sky.until(STARTUP - 1)
    assert sky.api.reads == 3


def test_nothing_is_said_of_a_pod_that_starts_as_usual(sky: Patient) -> None:
    sky.fly()
    for there in (unseen(), preparing(), preparing(ready=True)):
        sky.see(there)
        sky.until(2)
        assert sky.waits() == "None"
    sky.see(pod())
    assert sky.api.reads == 0
