"""What is beside the task in its pod: ephemeral containers of people who look at it. They delay nothing and count for nothing."""

from __future__ import annotations

from copy import deepcopy

import pytest

from halfstep.outcomes import Failed, Retry, Succeeded
from halfstep_worker.kubernetes.pending import has_run, startup_expired, waiting_reason
from halfstep_worker.kubernetes.timeline import facts, trim
from halfstep_worker.kubernetes.verdict import Known, judge
from pod_builders import STARTED, Pod, container, deleted, ended, finished, pending, pod, running, waiting

EPOCH = "1970-01-01T00:00:00Z"


def debugged(there: Pod, *debuggers: Pod) -> Pod:
    """`kubectl debug -it --target=main`."""
    copy = deepcopy(there)
    copy["status"]["ephemeralContainerStatuses"] = list(debuggers)
    copy["spec"]["ephemeralContainers"] = [{"name": one["name"], "image": "busybox"} for one in debuggers]
    return copy


ENDS = {
    "one that runs on while main has ended well": (finished(0, phase="Running"), running("d"), Succeeded),
    "one that runs on while main has failed": (finished(7, phase="Running"), running("d"), Failed),
    "one that runs on after an OOM kill": (finished(137, "OOMKilled", phase="Running"), running("d"), Failed),
    "one that has failed beside a success": (finished(0), ended(1, name="d"), Succeeded),
    "one that was killed for memory beside a success": (finished(0), ended(137, "OOMKilled", name="d"), Succeeded),
    "one that has ended well beside a failure": (finished(7), ended(0, name="d"), Failed),
    "one whose image is not there": (finished(0), waiting("ImagePullBackOff", name="d"), Succeeded),
    "one that could not be started": (finished(0), ended(128, "StartError", name="d"), Succeeded),
}


@pytest.mark.parametrize("what", ENDS)
def test_a_debugger_neither_delays_the_verdict_nor_counts_for_it(what: str) -> None:
    there, debugger, kind = ENDS[what]
    for seen in (debugged(there, debugger), trim(debugged(there, debugger))):
        found = judge(seen)
        assert found is not None
        assert type(found.outcome) is kind


@pytest.mark.parametrize(
    "debugger", [waiting("ImagePullBackOff", name="d"), ended(0, name="d"), waiting("ContainerCreating", name="d")]
)
def test_the_phase_is_waited_for_where_no_debugger_keeps_it_back(debugger: Pod) -> None:
    assert judge(debugged(finished(0, phase="Running"), debugger)) is None


@pytest.mark.parametrize("debugger", [running("d"), ended(0, name="d"), ended(1, name="d")])
def test_a_debugger_does_not_end_a_pod_whose_main_container_runs(debugger: Pod) -> None:
    assert judge(debugged(pod(), debugger)) is None


@pytest.mark.parametrize("debugger", [running("d"), ended(0, name="d", at="2026-11-23T05:02:10Z")])
def test_a_pod_that_was_deleted_first_is_no_success_because_a_debugger_ended_late(debugger: Pod) -> None:
    """Deleted at 05:00:09 with a grace of 120 s; main ended at 05:00:10, the debugger by KILL, and only then the pod."""
    there = deleted(finished(0), at="2026-11-23T05:02:11Z", grace=0)
    there["spec"]["terminationGracePeriodSeconds"] = 120
    found = judge(debugged(there, debugger), Known())
    assert found is not None
    assert isinstance(found.outcome, Retry)
    assert found.kind == "deleted"


def test_a_debugger_of_a_pod_that_waits_is_no_start_and_no_obstacle() -> None:
    there = debugged(pending(waiting("ContainerCreating")), running("d"))
    assert waiting_reason(there) is None
    assert startup_expired(there, 60.0) is not None
    there = debugged(pending(waiting("ErrImagePull")), waiting("CrashLoopBackOff", name="d"))
    assert "ErrImagePull" in (waiting_reason(there) or "")


def test_a_debuggers_restarts_and_image_are_not_the_pods() -> None:
    debugger = running("d") | {"restartCount": 7}
    told = facts(trim(debugged(pod(), debugger)))
    assert (told.restarts, told.image) == (0, "shop/etl:7")


def test_the_room_for_a_message_is_shared_with_debuggers() -> None:
    """Three of them leave 3 KiB: what is as long as that may have been cut."""
    cut = '{"a": "' + "x" * 3071
    found = judge(debugged(finished(0, None, cut), *(ended(0, name=f"d{n}") for n in range(3))))
    assert found is not None
    assert isinstance(found.outcome, Failed)
    assert found.kind == "result"


# -- times that are none


def start_error(started: str | None = EPOCH, finished_at: str | None = EPOCH) -> Pod:
    state = {"exitCode": 128, "reason": "StartError", "message": "no such file", "startedAt": started, "finishedAt": finished_at}
    return pod("Failed", containerStatuses=[container({"terminated": state})])


@pytest.mark.parametrize("moment", [EPOCH, "1970-01-01T00:00:00.000000Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", None])
def test_a_program_that_could_not_be_started_began_at_no_time(moment: str | None) -> None:
    told = facts(trim(start_error(moment, moment))).as_json()
    assert "started" not in told
    assert "ended" not in told
    assert not has_run(start_error(moment))


def test_the_time_at_which_a_start_failed_is_told() -> None:
    told = facts(start_error(EPOCH, STARTED)).as_json()
    assert ("started" in told, told["ended"]) == (False, STARTED)


def test_a_container_that_was_killed_before_its_program_began_has_not_run() -> None:
    state = {"exitCode": 137, "reason": "Error", "startedAt": EPOCH, "finishedAt": STARTED}
    assert not has_run(pod("Failed", containerStatuses=[container({"terminated": state})]))


def test_a_condition_without_a_time_tells_none() -> None:
    there = pod()
    for one in there["status"]["conditions"]:
        one["lastTransitionTime"] = EPOCH
    told = facts(there).as_json()
    assert not {"scheduled", "prepared", "initialized"} & told.keys()


@pytest.mark.parametrize("gave_up", [True, False])
def test_a_start_that_failed_is_judged_as_that_whatever_its_times(gave_up: bool) -> None:
    known = Known(stop_reason="startup", gave_up=Failed("No start.", "startup")) if gave_up else Known()
    found = judge(start_error(), known)
    assert found is not None
    assert found.kind == ("startup" if gave_up else "never_started")
