"""The life of a task, whatever its placement: one suite. `worker`: a child of a worker; `pod`: the same operator alone in a pod;
`program`: operator `pod`, an image that knows nothing of halfstep. Where they differ, `placements.py` says how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kube import Cluster
from cluster.launchers import Witness
from cluster.placements import Ground, OperatorPods, Placement, Programs, Workers
from halfstep.database import Database
from halfstep.queue import Queue
from halfstep.reports import Reports
from waiting import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(params=["worker", "pod", "program"])
def placement(
    request: pytest.FixtureRequest, database_url: str, database: Database, cluster: Cluster, tmp_path: Path
) -> Iterator[Placement]:
    """Each of the three."""
    ground = Ground(database_url, database, cluster, tmp_path)
    made: Placement
    if request.param == "worker":
        made = Workers(ground)
    else:
        kind = OperatorPods if request.param == "pod" else Programs
        made = kind(ground, request.getfixturevalue("namespace"))
    yield made
    made.close()


@pytest.fixture
def pods(placement: Placement, request: pytest.FixtureRequest) -> Witness | None:
    """Counts pods, where there are any."""
    found: Witness | None = None if placement.name == "worker" else request.getfixturevalue("witness")
    return found


def lines(reports: Reports, task: int) -> list[str]:
    return [line["text"] for _, line in reports.log(task)]


def said(reports: Reports, task: int) -> list[str]:
    """What the body said of itself, without what it was told."""
    return [line for line in lines(reports, task) if not line.startswith("told")]


def wait_for_line(reports: Reports, task: int, line: str, *, times: int = 1) -> None:
    wait_until(lambda: lines(reports, task).count(line) == times, seconds=40, what=f"line {line!r} of task {task}, {times} times")


def ends_of(report: Any) -> list[tuple[str, str]]:
    return [(attempt["worker"], attempt["outcome"]) for attempt in report["attempts"]]


def test_success_brings_the_result_and_the_log(placement: Placement, ended: Any, reports: Reports, pods: Witness | None) -> None:
    placement.start()
    task = placement.enqueue("greet")
    report = ended(task)
    assert (report["state"], report["result"], lines(reports, task)) == ("succeeded", {"rows": 3}, ["hello"])
    assert ends_of(report) == [("first", "succeeded")]
    wait_until(placement.has_left_nothing, seconds=30, what="the removal of the pod and its ConfigMap")
    assert pods is None or pods.pods_by_attempt() == Counter({1: 1})


def test_failure_says_why(placement: Placement, ended: Any) -> None:
    placement.start()
    report = ended(placement.enqueue("fail", max_attempts=1))
    assert (report["state"], report["reason"], report["failures"]) == ("failed", placement.failure, 1)
    assert "no luck" in report["error"]


def test_a_retry_is_another_attempt_and_may_succeed(placement: Placement, ended: Any, pods: Witness | None) -> None:
    placement.start()
    report = ended(placement.enqueue("succeed_at_last", max_attempts=3, backoff_base=0.05))
    assert (report["state"], report["result"], report["failures"]) == ("succeeded", 3, 2)
    assert [outcome for _, outcome in ends_of(report)] == ["failed", "failed", "succeeded"]
    assert pods is None or pods.pods_by_attempt() == Counter({1: 3})


def test_a_timeout_ends_a_body_that_listens(placement: Placement, ended: Any, reports: Reports) -> None:
    placement.start()
    task = placement.enqueue("hold", timeout=placement.timeout, max_attempts=1)
    report = ended(task)
    assert (report["state"], report["reason"]) == ("failed", "timeout")
    assert f"its timeout of {placement.timeout} s" in report["error"]
    assert lines(reports, task) == ["begun", placement.told["timeout"]]


def test_a_timeout_ends_a_body_that_does_not_listen(placement: Placement, ended: Any) -> None:
    placement.start()
    report = ended(placement.enqueue("be_stubborn", timeout=1, max_attempts=1))
    assert (report["state"], report["reason"]) == ("failed", "timeout")
    wait_until(placement.has_left_nothing, seconds=30, what="the removal of the pod and its ConfigMap")


def test_a_cancel_ends_a_running_body_and_nothing_runs_again(
    placement: Placement, ended: Any, reports: Reports, queue: Queue, pods: Witness | None
) -> None:
    placement.start()
    task = placement.enqueue("hold")
    wait_for_line(reports, task, "begun")
    assert queue.cancel(task) == "requested"
    report = ended(task)
    assert (report["state"], report["reason"], report["attempt"]) == ("cancelled", "cancelled", 1)
    assert lines(reports, task) == ["begun", placement.told["cancelled"]]
    wait_until(placement.has_left_nothing, seconds=30, what="the removal of the pod and its ConfigMap")
    assert pods is None or pods.pods_by_attempt() == Counter({1: 1})


@pytest.mark.parametrize("moment", ["asked", "answered"])
def test_a_cancel_between_the_claim_and_the_start_leaves_nothing(
    moment: str, placement: Placement, ended: Any, reports: Reports, queue: Queue, pods: Witness | None
) -> None:
    if placement.name == "worker" and moment == "answered":
        pytest.skip("A child's start is one step; a pod's create call is asked and then answered.")
    placement.start()
    ended(placement.enqueue("greet"))
    with placement.starts_held(moment):
        task = placement.enqueue("hold")
        wait_until(lambda: placement.held() == 1, seconds=30, what="the claim, held")
        assert queue.cancel(task) == "requested"
        placement.wait_for_cancel(task)
    report = ended(task)
    assert (report["state"], report["attempt"]) == ("cancelled", 1)
    assert placement.name != "worker" or lines(reports, task) == []
    wait_until(placement.has_left_nothing, seconds=30, what="the removal of the pod and its ConfigMap")
    assert pods is None or pods.pods_by_attempt() == Counter({1: 3})


def test_a_large_result_arrives_whole(placement: Placement, ended: Any) -> None:
    placement.start()
    report = ended(placement.enqueue("build", size=placement.largest))
    assert (report["state"], report["result"]) == ("succeeded", ["x" * placement.largest])


def test_a_result_over_the_limit_fails_without_a_retry(placement: Placement, ended: Any) -> None:
    placement.start()
    report = ended(placement.enqueue("build", size=2 * placement.largest))
    assert (report["state"], report["reason"], report["attempt"]) == ("failed", "result", 1)
    assert "KiB" in report["error"] or "bytes" in report["error"]


def test_all_lines_are_kept_in_order(placement: Placement, ended: Any, reports: Reports) -> None:
    placement.start()
    task = placement.enqueue("talk")
    assert ended(task)["state"] == "succeeded"
    assert lines(reports, task) == [f"line {n}" for n in range(500)]


def test_a_drain_loses_nothing_and_is_no_failure(
    placement: Placement, ended: Any, reports: Reports, pods: Witness | None
) -> None:
    first = placement.start("first")
    task = placement.enqueue("hold", max_attempts=1)
    wait_for_line(reports, task, "begun")
    assert first.stop() == 0
    second = placement.start("second")
    wait_until(lambda: reports.show(task)["attempts"][-1]["worker"] == "second", seconds=30, what="the next one to take it")
    if not placement.keeps_attempts:
        wait_for_line(reports, task, "begun", times=2)
    placement.open_gate(task)
    report = ended(task)
    assert (report["state"], report["result"], report["failures"]) == ("succeeded", "done", 0)
    assert said(reports, task) == (["begun", "done"] if placement.keeps_attempts else ["begun", "begun", "done"])
    released = [] if placement.keeps_attempts else [("first", "released")]
    assert ends_of(report) == [*released, ("second", "succeeded")]
    assert pods is None or pods.pods_by_attempt() == Counter({1: 1})
    assert second.stop() == 0


def test_a_killed_executors_task_is_rescued_and_a_pod_never_runs_again_for_that(
    placement: Placement, ended: Any, reports: Reports, pods: Witness | None
) -> None:
    first = placement.start("first")
    task = placement.enqueue("hold", max_attempts=1)
    wait_for_line(reports, task, "begun")
    first.kill()
    placement.open_gate(task)
    placement.wait_for_end_alone(task)
    placement.start("second")
    report = ended(task)
    assert (report["state"], report["result"], report["failures"]) == ("succeeded", "done", 0)
    assert said(reports, task) == (["begun", "done"] if placement.keeps_attempts else ["begun", "begun", "done"])
    lost = [] if placement.keeps_attempts else [("first", "lost")]
    assert ends_of(report) == [*lost, ("second", "succeeded")]
    assert pods is None or pods.pods_by_attempt() == Counter({1: 1})


def test_a_task_that_is_cancelled_while_nobody_has_it_ends_cancelled_and_is_not_run_again(
    placement: Placement, ended: Any, reports: Reports, queue: Queue, pods: Witness | None
) -> None:
    first = placement.start("first")
    task = placement.enqueue("hold")
    wait_for_line(reports, task, "begun")
    first.kill()
    queue.cancel(task)
    placement.start("second")
    assert ended(task)["state"] == "cancelled"
    assert lines(reports, task).count("begun") == 1
    wait_until(placement.has_left_nothing, seconds=30, what="the removal of the pod and its ConfigMap")
    assert pods is None or pods.pods_by_attempt() == Counter({1: 1})
