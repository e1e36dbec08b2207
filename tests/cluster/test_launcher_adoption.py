"""What passes from a launcher to the next one: time limits, deletions under way, and where each container's log was left."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from cluster.kube import TOOLS, Cluster
from halfstep.reports import Reports
from waiting import wait_until

pytestmark = pytest.mark.cluster
LINES = 120
COUNTING = f"n=0; while [ $n -lt {LINES} ]; do echo {{}} $n; n=$((n+1)); sleep 0.2; done"


def streams(reports: Reports, task: int) -> dict[str, list[str]]:
    """The lines of each stream, in order."""
    found: dict[str, list[str]] = {}
    for _, line in reports.log(task):
        found.setdefault(line["stream"], []).append(line["text"])
    return found


def has_lines(reports: Reports, task: int, count: int) -> bool:
    return len(streams(reports, task).get("stdout", ())) >= count


def last(reports: Reports, task: int) -> dict[str, Any]:
    """The last attempt, with what is known of its pod."""
    attempts: list[dict[str, Any]] = reports.show(task)["attempts"]
    return {"pod": {}} | {key: value for key, value in (attempts or [{}])[-1].items() if value is not None}


def beside(command: str, **more: Any) -> dict[str, Any]:
    """A container that runs a shell command."""
    return {"name": "beside", "image": TOOLS, "command": ["sh", "-c", command], "imagePullPolicy": "IfNotPresent"} | more


def test_each_containers_log_goes_on_where_it_was_left_whenever_its_launcher_is_killed(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports
) -> None:
    launcher = start_launcher("first")
    quiet = f"{COUNTING.format('beside')}; sleep 600"
    task = run_pod(COUNTING.format("main"), pod={"sidecars": [beside(quiet)]})
    for name, most in (("second", 10), ("third", 60)):
        wait_until(partial(has_lines, reports, task, most), seconds=60, what=f"{most} lines")
        launcher.kill()
        launcher = start_launcher(name)
    report = ended(task, seconds=90)
    assert (report["state"], report["attempt"]) == ("succeeded", 1)
    found = streams(reports, task)
    assert found["stdout"] == [f"main {n}" for n in range(LINES)]
    assert found["beside"] == [f"beside {n}" for n in range(len(found["beside"]))]
    assert len(found["beside"]) > LINES / 2
    assert found.keys() == {"stdout", "beside"}


def test_a_timeout_goes_on_when_the_launcher_changes(start_launcher: Any, run_pod: Any, ended: Any, reports: Reports) -> None:
    first = start_launcher("first")
    task = run_pod("echo begun; sleep 600", timeout=30, max_attempts=1)
    wait_until(lambda: "stdout" in streams(reports, task), seconds=40, what="the first line")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 15, seconds=30, what="half of its time")
    assert first.stop() == 0
    start_launcher("second")
    wait_until(lambda: last(reports, task)["worker"] == "second", seconds=40, what="the adoption")
    adopted = time.monotonic()
    wait_until(lambda: last(reports, task)["pod"].get("stopping"), seconds=60, what="the deletion")
    assert time.monotonic() - adopted < 25, "its time does not begin anew"
    report = ended(task)
    assert (report["state"], report["reason"]) == ("failed", "timeout")
    assert report["seconds"] >= 30


def test_a_pod_that_was_given_up_is_judged_as_that_by_the_next_launcher(
    start_launcher: Any, run_pod: Any, ended: Any, reports: Reports, cluster: Cluster, namespace: str
) -> None:
    first = start_launcher("first")
    stubborn = beside("trap '' TERM; while true; do sleep 0.1; done")
    options = {"init_containers": [stubborn], "startup_timeout": 4, "grace_seconds": 25}
    task = run_pod("echo never", pod=options, max_attempts=1, at_most_once=True)
    pods = cluster.core.list_namespaced_pod

    def is_stopping() -> bool:
        asked = last(reports, task)["pod"].get("stopping") == "startup"
        return asked and any(pod.metadata.deletion_timestamp for pod in pods(namespace).items)

    wait_until(is_stopping, seconds=40, what="the deletion")
    assert reports.show(task)["state"] == "running", "its verdict comes when it is gone"
    assert first.stop() == 0
    start_launcher("second")
    report = ended(task)
    assert (report["state"], report["reason"]) == ("failed", "startup")
    assert "did not start within 4 s" in report["error"]
    assert report["attempts"][-1]["pod"]["class"] == "startup"
    assert "stdout" not in streams(reports, task)
