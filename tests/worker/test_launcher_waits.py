"""What holds a pod, in a launcher's process beside a stateful API server and a real database: what is said, and what ends it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from halfstep.reports import Report
from isolation.launcher_ground import NAMESPACE, Ground, marked
from kubernetes_fake import Says
from kubernetes_node import Edit, saying
from pod_builders import ended, finished, gated, pod, preparing, running, unscheduled, unseen
from waiting import PATIENCE, wait_until

NO_ROOM = Says(403, 'pods "hs-1" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4', "Forbidden")
NO_WEBHOOK = Says(500, 'Internal error occurred: failed calling webhook "v.example.com": no answer', "InternalError")
TOO_MUCH = Says(403, 'pods "hs-1" is forbidden: exceeded quota: q, requested: cpu=4, used: cpu=0, limited: cpu=2', "Forbidden")
MISSING = 'MountVolume.SetUp failed for volume "creds" : secret "none" not found'
OPEN = "example.com/open"


@pytest.fixture
def ground(database_url: str, tmp_path: Path) -> Iterator[Ground]:
    with closing(Ground(database_url, tmp_path)) as made:
        yield made


def becomes(there: dict[str, Any]) -> list[Edit]:
    """A scheduler's or a kubelet's status; without a node where the pod has none."""

    def edit(pod: dict[str, Any]) -> None:
        for key in ("nodeName", "schedulingGates"):
            pod["spec"].pop(key, None)
            pod["spec"] |= {key: there["spec"][key]} if key in there["spec"] else {}
        pod["spec"] |= {"schedulerName": there["spec"].get("schedulerName", "default-scheduler")}

    return [edit, saying(there)]


def says(ground: Ground, reason: str, message: str) -> Edit:
    """A kubelet's event goes with it."""
    return lambda pod: ground.fake.store.say(pod["metadata"]["name"], reason, message, namespace=NAMESPACE)


def waits(ground: Ground, task: int) -> str:
    """Why its pod waits, as `show` says it."""
    attempts = ground.reports.show(task)["attempts"]
    return str(((attempts[-1].get("pod") if attempts else None) or {}).get("waiting"))


def told(ground: Ground, task: int, words: str) -> None:
    """Waits until it is said."""
    wait_until(lambda: words in waits(ground, task), what=f"{words!r} of task {task}; it says {waits(ground, task)}")


def end(ground: Ground, task: int) -> Report:
    return ground.ended(task, seconds=PATIENCE)


HELD = {
    "a scheduling gate": (gated("kueue.x-k8s.io/admission"), "kueue.x-k8s.io/admission", "queue_timeout of 4 s", "gate"),
    "no room on any node": (unscheduled(), "1 Insufficient cpu", "within 4 s", "unschedulable"),
    "no scheduler of that name": (unseen("nobody"), "schedulerName is nobody", "within 4 s", "unschedulable"),
    "a Secret of a volume that is missing": (preparing(), MISSING, "within 4 s", "config"),
}


@pytest.mark.slow
def test_what_holds_pods_is_told_while_they_wait_and_when_they_are_given_up(ground: Ground) -> None:
    for what, (there, *_) in HELD.items():
        ground.node.scripts[what] = becomes(there)
    ground.node.scripts["a Secret of a volume that is missing"].append(says(ground, "FailedMount", MISSING))
    limits = {"startup_timeout": 4, "queue_timeout": 4}
    tasks = ground.enqueue(*[("pod", marked(what, **limits)) for what in HELD], max_attempts=1)
    ground.launch()
    for task, (_, words, limit, reason) in zip(tasks, HELD.values(), strict=True):
        told(ground, task, words)
        report = end(ground, task)
        assert (report["state"], report["reason"]) == ("failed", reason)
        assert words in report["error"]
        assert limit in report["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words", "reason"), [(NO_ROOM, "exceeded quota: q", "quota"), (NO_WEBHOOK, "failed calling webhook", "webhook")]
)
def test_what_the_api_server_does_not_take_is_told_and_given_up_in_time(
    ground: Ground, fault: Says, words: str, reason: str
) -> None:
    ground.fake.meet("create", *[fault] * 1000)
    (task,) = ground.enqueue(("pod", json.dumps({"image": "x", "queue_timeout": 4})), max_attempts=1)
    ground.launch()
    told(ground, task, words)
    report = end(ground, task)
    assert (report["state"], report["reason"]) == ("failed", reason)
    assert words in report["error"]
    assert "queue_timeout of 4 s" in report["error"]
    assert not ground.fake.accepted


def test_what_can_never_fit_into_a_quota_fails_at_once(ground: Ground) -> None:
    ground.fake.meet("create", TOO_MUCH)
    (task,) = ground.enqueue(("pod", json.dumps({"image": "x"})))
    ground.launch()
    report = end(ground, task)
    assert (report["state"], report["reason"], report["failures"]) == ("failed", "quota", 1)
    assert "requested: cpu=4, used: cpu=0, limited: cpu=2" in report["error"]


def test_a_quota_that_gets_room_costs_nothing(ground: Ground) -> None:
    ground.fake.meet("create", Says(403, "status unknown for quota: q, resources: pods", "Forbidden"))
    (task,) = ground.enqueue(("pod", json.dumps({"image": "x"})), max_attempts=1)
    ground.launch()
    assert end(ground, task)["state"] == "succeeded"


@pytest.mark.slow
def test_a_place_in_a_queue_outlasts_its_launcher_and_the_startup_timeout(ground: Ground) -> None:
    ground.node.scripts["gated"] = becomes(gated("kueue.x-k8s.io/admission"))
    (task,) = ground.enqueue(("pod", marked("gated", startup_timeout=2)), max_attempts=1)
    first = ground.launch()
    told(ground, task, "kueue.x-k8s.io/admission")
    first.kill()
    first.wait()
    ground.launch()
    waited = wait_until(lambda: _queued(ground, task, 8.0), what="eight seconds behind the gate")
    assert waited is not None
    (name,) = ground.fake.accepted
    for edit in (*becomes(pod()), saying(finished())):
        ground.fake.store.change(name, edit, namespace=NAMESPACE)
    assert end(ground, task)["state"] == "succeeded"
    assert ground.fake.accepted == {name: 1}
    assert not ground.fake.calls("delete")[:-1], "only the one after its end"


def _queued(ground: Ground, task: int, seconds: float) -> float | None:
    """How long it has been behind its gate, if that is longer than `seconds`, by what is written and how old that is."""
    rows = ground.database.execute(
        "SELECT (facts ->> 'queued_seconds')::float8 + extract(epoch FROM clock_timestamp() - updated_at)::float8 AS waited, "
        "facts ? 'waited_seconds' AS starts FROM halfstep.pod WHERE task_id = %(task)s",
        {"task": task},
    )
    assert not any(row["starts"] for row in rows if row["waited"] is not None), "no start-up behind a gate"
    return next((row["waited"] for row in rows if row["waited"] is not None and row["waited"] > seconds), None)


@pytest.mark.slow
def test_the_clock_of_a_quota_goes_on_in_the_next_launcher(ground: Ground) -> None:
    ground.fake.meet("create", *[NO_ROOM] * 1000)
    (task,) = ground.enqueue(("pod", json.dumps({"image": "x", "queue_timeout": 8})), max_attempts=1)
    first = ground.launch()
    told(ground, task, "exceeded quota")
    first.kill()
    first.wait()
    ground.launch()
    report = end(ground, task)
    assert (report["reason"], "queue_timeout of 8 s" in report["error"]) == ("quota", True)


def test_a_launcher_that_may_not_read_events_says_so_once_and_goes_on(ground: Ground) -> None:
    ground.fake.meet("events", *[Says(403, "events is forbidden", "Forbidden")] * 1000)
    ground.node.scripts["held"] = becomes(preparing())
    tasks = ground.enqueue(*[("pod", marked("held", startup_timeout=5))] * 5, max_attempts=1)
    ground.launch()
    for task in tasks:
        told(ground, task, "preparing its volumes and its sandbox")
        assert end(ground, task)["reason"] == "startup"
    assert ground.log.read_text().count("right to list events") == 1


@pytest.mark.slow
def test_a_kept_pod_with_an_injected_sidecar_is_ended_by_its_node_after_its_verdict(ground: Ground) -> None:
    beside = pod("Running", containerStatuses=[ended(0), running("injected")])
    ground.node.scripts["injected"] = [saying(pod()), saying(beside)]
    (task,) = ground.enqueue(("pod", marked("injected", on_finish="keep")))
    ground.launch()
    assert end(ground, task)["state"] == "succeeded"
    (name,) = ground.fake.accepted
    there: Callable[[], dict[str, Any]] = lambda: ground.fake.store.get(NAMESPACE, "pods", name)  # noqa: E731
    wait_until(lambda: there()["spec"].get("activeDeadlineSeconds") == 1, what="the end of the sidecar")
    wait_until(lambda: not there()["metadata"].get("finalizers"), what="the release of the pod")
    assert there()["metadata"]["labels"]["halfstep.io/keep"] == "true"
    late = pod("Failed", reason="DeadlineExceeded", containerStatuses=[ended(0), ended(143, name="injected")])
    ground.fake.store.change(name, saying(late), namespace=NAMESPACE)
    assert ground.state(task) == "succeeded"
