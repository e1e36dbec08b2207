"""How pods end: every row of docs/reference/pod-outcomes.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from halfstep.outcomes import Cancelled, Failed, Lost, Outcome, Retry, Succeeded
from halfstep_worker.kubernetes.findings import kind_of
from halfstep_worker.kubernetes.frames import seal
from halfstep_worker.kubernetes.verdict import Known, Verdict, judge
from pod_builders import (
    ENDED,
    ENDED_PODS,
    LIVING,
    STARTED,
    deleted,
    disrupted,
    ended,
    finished,
    never_begun,
    pending,
    pod,
    refused,
    running,
    unscheduled,
    waiting,
)

KINDS = {
    "exit 0": ("succeeded", Succeeded),
    "exit 0 with a result": ("succeeded", Succeeded),
    "exit 7": ("application", Failed),
    "SIGKILL without a condition": ("application", Failed),
    "OOM": ("oom", Failed),
    "OOM of a child, survived": ("succeeded", Succeeded),
    "preempted": ("preempted", Retry),
    "preempted, name of the KEP": ("preempted", Retry),
    "tainted": ("disrupted", Retry),
    "drained": ("disrupted", Retry),
    "drained, exit 0": ("disrupted", Retry),
    "node gone": ("node_lost", Retry),
    "node pressure": ("evicted", Retry),
    "own storage": ("evicted", Failed),
    "own emptyDir": ("evicted", Failed),
    "node shutdown": ("node_shutdown", Retry),
    "node shutdown, exit 0": ("node_shutdown", Retry),
    "refused: OutOfcpu": ("admission", Retry),
    "refused: node pressure": ("admission", Retry),
    "refused: affinity": ("admission", Retry),
    "init failed": ("application", Failed),
    "start error": ("never_started", Failed),
    "status unknown": ("lost", Lost),
    "node restarted": ("lost", Lost),
    "deadline": ("deadline", Failed),
    "deleted while it ran, exit 0": ("deleted", Retry),
    "deleted while it ran, all said": ("deleted", Retry),
    "deleted long after its end": ("succeeded", Succeeded),
    "deleted unscheduled": ("deleted", Retry),
    "sidecar runs on": ("succeeded", Succeeded),
    "sidecar never began": ("succeeded", Succeeded),
}


def verdict(there: dict[str, Any], **known: Any) -> Verdict:
    found = judge(there, Known(**known))
    assert found is not None
    return found


def outcome(there: dict[str, Any], **known: Any) -> Outcome:
    return verdict(there, **known).outcome


def test_the_table_is_complete() -> None:
    assert KINDS.keys() == ENDED_PODS.keys()


@pytest.mark.parametrize("row", ENDED_PODS)
def test_each_way_to_end_has_its_class_and_outcome(row: str) -> None:
    found = verdict(ENDED_PODS[row])
    assert (found.kind, type(found.outcome)) == KINDS[row]
    assert not isinstance(found.outcome, Retry) or not found.outcome.counts


@pytest.mark.parametrize("row", LIVING)
def test_a_pod_that_is_not_over_has_no_verdict(row: str) -> None:
    assert judge(LIVING[row]) is None


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "pod-outcomes.md"


@pytest.mark.parametrize("row", ENDED_PODS)
def test_each_class_and_reason_stands_in_the_documented_table(row: str) -> None:
    rows = [[cell.strip(" `") for cell in line.split("|")] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    found = verdict(ENDED_PODS[row])
    assert [found.kind, getattr(found.outcome, "reason", "")] in [cells[2:4] for cells in rows]


# -- success and its result


@pytest.mark.parametrize("message", ['{"rows": 3}', "[1, 2]", "7", '"done"', "null", " [1.10, 12345678901234567890123] \n"])
def test_a_termination_message_that_is_json_is_the_result_as_it_was_written(message: str) -> None:
    assert outcome(finished(0, None, message)) == Succeeded(message.strip())


@pytest.mark.parametrize("message", [None, "", "all done", "{broken", "NaN", "[1e999, Infinity]"])
def test_any_other_message_of_a_program_that_ended_well_gives_its_exit_code(message: str | None) -> None:
    assert outcome(finished(0, None, message)) == Succeeded('{"exit_code": 0}')


def test_json_that_was_cut_off_is_an_error_and_not_silently_dropped() -> None:
    found = verdict(finished(0, None, ('{"rows": "' + "x" * 5000)[:4096]))
    assert found.kind == "result"
    assert found.outcome == Failed(found.outcome.error, "result", final=True)
    assert "4 KiB" in found.outcome.error


@pytest.mark.parametrize("message", ['"a\\u0000b"', '"\\ud800"'])
def test_a_result_that_the_database_cannot_store_is_the_tasks_failure(message: str) -> None:
    assert verdict(finished(0, None, message)).kind == "result"


# -- failures


def test_an_exit_code_comes_with_the_last_words() -> None:
    found = outcome(finished(7, None, "one\n\ntwo\nthree\n"))
    assert found == Failed("The container exited with code 7. Its last words: one\ntwo\nthree", "exit")


def test_last_words_are_bounded() -> None:
    assert len(outcome(finished(1, None, "é" * 4000)).error.encode()) < 1200


def test_codes_of_signals_are_named() -> None:
    assert outcome(finished(137)).error == "The container exited with code 137 (SIGKILL)."


def test_out_of_memory_is_a_class_of_its_own() -> None:
    found = outcome(finished(137, "OOMKilled"))
    assert (found.reason, found.final) == ("oom", False)
    assert "OOMKilled" in found.error


def test_storage_over_the_pods_own_limit_is_its_own_fault() -> None:
    found = outcome(ENDED_PODS["own storage"])
    assert (type(found), found.reason) == (Failed, "storage")
    assert "exceeds the total limit of containers 1Gi" in found.error


def test_a_failed_init_container_is_named() -> None:
    assert outcome(ENDED_PODS["init failed"]).error == "Init container 'fetch' exited with code 3."


def test_a_sidecars_failure_is_not_the_tasks() -> None:
    there = pod("Failed", containerStatuses=[ended(0), ended(1, name="proxy")])
    assert isinstance(outcome(there), Succeeded)


def test_a_program_that_ended_before_the_deadline_took_its_sidecar_succeeded() -> None:
    there = pod(
        "Failed", reason="DeadlineExceeded", containerStatuses=[ended(0), ended(137, name="proxy", at="2026-11-23T05:01:00Z")]
    )
    there["spec"]["activeDeadlineSeconds"] = 60
    assert isinstance(outcome(there), Succeeded)
    there["spec"]["activeDeadlineSeconds"] = 10
    assert outcome(there).reason == "timeout"


# -- disruptions


def test_a_pod_seen_deleted_while_it_ran_never_succeeded() -> None:
    assert verdict(finished(0), deleted_while_running=True).kind == "deleted"


def test_a_disruption_names_the_node_s_own_words() -> None:
    assert "low on resource: memory" in outcome(ENDED_PODS["node pressure"]).error


def test_pauses_between_disruptions_grow_to_a_minute() -> None:
    delays = [outcome(ENDED_PODS["drained"], uncounted=n).delay for n in (0, 1, 2, 10, 5000)]
    assert delays == [1.0, 2.0, 4.0, 60.0, 60.0]


def test_an_eviction_after_the_end_takes_no_success_away() -> None:
    assert isinstance(outcome(disrupted(finished(0), "EvictionByEvictionAPI", at="2026-11-23T05:00:11Z")), Succeeded)


def test_a_pod_that_nodes_refuse_again_and_again_fails_at_last() -> None:
    there = refused("OutOfmemory", "Node didn't have enough resource: memory")
    assert isinstance(outcome(there, uncounted=9), Retry)
    assert outcome(there, uncounted=10) == Failed(
        "The node refused the pod: Node didn't have enough resource: memory.", "admission"
    )


def test_a_deletion_that_began_before_the_end_is_told_by_its_grace() -> None:
    assert verdict(deleted(finished(0), at="2026-11-23T05:00:39Z", grace=30)).kind == "deleted"
    assert verdict(deleted(finished(0), at="2026-11-23T05:00:40Z", grace=30)).kind == "deleted"  # the same second: in doubt
    assert verdict(deleted(finished(0), at="2026-11-23T05:00:41Z", grace=30)).kind == "succeeded"


def test_when_the_kubelet_has_hidden_the_request_only_a_late_one_leaves_a_success() -> None:
    for at, kind in (("05:00:10", "deleted"), ("05:00:39", "deleted"), ("05:00:41", "succeeded")):
        assert verdict(deleted(finished(0), at=f"2026-11-23T{at}Z", grace=0)).kind == kind, at


@pytest.mark.parametrize(("reported", "kind"), [(1, "succeeded"), (2, "deleted")])
def test_an_end_that_the_kubelet_reported_before_the_deletion_counts(reported: int, kind: str) -> None:
    there = deleted(finished(0, observedGeneration=reported), at="2026-11-23T05:00:11Z", grace=0)
    there["metadata"]["generation"] = 2
    assert verdict(there).kind == kind


def test_a_sidecar_that_took_its_time_does_not_make_a_deleted_pod_look_finished() -> None:
    both = pod("Succeeded", containerStatuses=[ended(0), ended(0, name="proxy", at="2026-11-23T05:00:40Z")])
    assert verdict(deleted(both, at="2026-11-23T05:00:41Z", grace=0)).kind == "deleted"


# -- stopped by us


@pytest.mark.parametrize("code", [0, 143, 137])
def test_a_pod_that_we_stopped_ends_for_that_reason(code: int) -> None:
    there = deleted(finished(code), at="2026-11-23T05:00:35Z", grace=30)
    assert verdict(there, stop_reason="cancelled").outcome == Cancelled()
    found = verdict(there, stop_reason="timeout", timeout=2.5)
    assert found == Verdict(Failed("The pod ran longer than its timeout of 2.5 s.", "timeout"), "timeout")


def test_an_end_that_came_before_our_stop_counts() -> None:
    assert isinstance(outcome(finished(0), stop_reason="cancelled"), Succeeded)
    assert isinstance(outcome(finished(0), stop_reason="timeout"), Succeeded)
    assert outcome(finished(7), stop_reason="timeout").reason == "exit"


def test_a_cancelled_task_does_not_run_again_whatever_became_of_its_pod() -> None:
    for row in ("exit 7", "drained", "refused: OutOfcpu", "status unknown"):
        assert outcome(ENDED_PODS[row], stop_reason="cancelled") == Cancelled()


def test_a_pod_stopped_before_it_had_a_node_is_over_at_once() -> None:
    assert outcome(deleted(unscheduled(), at=CREATED_LATER, grace=0), stop_reason="cancelled") == Cancelled()


# -- given up, as it did not start

GAVE_UP = Failed("The pod did not start within 600 s. The image 'a' can't be had.", "image")


def given_up(there: dict[str, Any], **known: Any) -> Verdict:
    return verdict(there, stop_reason="startup", gave_up=GAVE_UP, **known)


@pytest.mark.parametrize(
    "there",
    [
        never_begun(),
        deleted(never_begun(), at=ENDED, grace=30),
        deleted(unscheduled(), at=STARTED, grace=0),
        pod("Failed", initContainerStatuses=[ended(137, name="fetch")], containerStatuses=[waiting("PodInitializing")]),
        deleted(finished(128, "StartError", "no such file"), at=ENDED, grace=30),
    ],
)
def test_a_pod_that_was_given_up_and_never_began_failed_for_the_reason_found_then(there: dict[str, Any]) -> None:
    assert given_up(there, deleted_while_running=True) == Verdict(GAVE_UP, "image")


def test_a_pod_that_is_given_up_has_no_verdict_before_it_is_gone() -> None:
    for there in (pending(waiting("ErrImagePull")), deleted(pending(waiting("ErrImagePull")), at=ENDED, grace=30)):
        assert judge(there, Known(stop_reason="startup", gave_up=GAVE_UP)) is None


@pytest.mark.parametrize(("there", "known"), [(deleted(finished(143), at=ENDED, grace=30), {}), (never_begun(), {"began": True})])
def test_a_pod_that_began_before_it_was_deleted_is_not_told_that_it_never_did(there: dict[str, Any], known: Any) -> None:
    found = given_up(there, deleted_while_running=True, **known)
    assert (found.kind, found.outcome.reason, found.outcome.final) == ("startup", "startup", False)
    assert found.outcome.error.endswith("It began just then and was stopped, and may have had an effect.")


def test_a_pod_that_ended_by_itself_before_it_was_given_up_keeps_its_outcome() -> None:
    assert given_up(finished(0)).kind == "succeeded"
    assert given_up(finished(7)).outcome.reason == "exit"


@pytest.mark.parametrize("there", [{}, pending(waiting("ErrImagePull")), unscheduled()])
def test_a_pod_that_was_given_up_and_vanished_may_have_begun(there: dict[str, Any]) -> None:
    assert given_up(there, gone=True).kind == "lost"


def test_a_pod_that_was_given_up_on_a_silent_node_may_have_begun() -> None:
    there = deleted(pending(waiting("ErrImagePull")), at=ENDED, grace=0)
    assert given_up(there, deleted_while_running=True, forced_for=60.0).kind == "node_lost"


CREATED_LATER = "2026-11-23T05:00:05Z"


# -- gone


def test_a_pod_that_is_gone_without_an_end_is_lost() -> None:
    for there in ({}, pod(), pending(waiting("ContainerCreating")), LIVING["on a lost node, deleted by the taint manager"]):
        assert isinstance(outcome(there, gone=True), Lost | Retry)
    assert verdict({}, gone=True).kind == "lost"
    assert verdict(pod(), gone=True).kind == "lost"


def test_what_was_last_seen_of_a_pod_that_is_gone_counts() -> None:
    assert isinstance(outcome(finished(0), gone=True), Succeeded)
    assert isinstance(outcome(finished(0, phase="Running"), gone=True), Succeeded)
    assert outcome(finished(7), gone=True).reason == "exit"
    assert outcome({}, gone=True, stop_reason="cancelled") == Cancelled()


def test_a_pod_that_no_node_has_taken_is_deleted_at_once_whatever_grace_it_was_given() -> None:
    there = deleted(unscheduled(), at=ENDED, grace=0)
    assert verdict(there, deleted_while_running=True, forced_for=0.0).kind == "deleted"


def test_a_forced_deletion_on_a_silent_node_is_given_a_minute() -> None:
    there = deleted(pod(), at="2026-11-23T05:00:05Z", grace=0)
    assert judge(there, Known(deleted_while_running=True, forced_for=59.0)) is None
    assert verdict(there, deleted_while_running=True, forced_for=60.0).kind == "node_lost"


# -- bodies: our own program around an operator


def body(outcome: Outcome, code: int, reason: str | None = None) -> dict[str, Any]:
    return finished(code, reason, seal(outcome).message, operator="bash")


@pytest.mark.parametrize(
    "left", [Failed("no", "invalid", True), Retry("later", 9.0), Cancelled("no"), Lost("x", "y"), Failed("f", "result")]
)
def test_a_body_says_itself_how_it_ended(left: Outcome) -> None:
    assert verdict(body(left, 1)) == Verdict(left, kind_of(left))


def test_a_body_succeeded_when_it_says_so_and_its_exit_code_too() -> None:
    assert verdict(body(Succeeded('{"a": 1}'), 0)) == Verdict(Succeeded('{"a": 1}'), "succeeded")
    assert outcome(body(Succeeded("1"), 137)).reason == "crash"
    assert outcome(body(Failed("no"), 0)).reason == "crash"


def test_a_body_that_left_no_outcome_crashed_also_with_exit_code_0() -> None:
    assert outcome(finished(0, operator="bash")) == Failed(
        "The body's process exited with code 0 before the body returned.", "crash"
    )
    found = outcome(finished(139, None, "Fatal Python error: Segmentation fault", operator="python"))
    assert found == Failed(
        "The body's process exited with code 139 (SIGSEGV). Its last words: Fatal Python error: Segmentation fault", "crash"
    )


def test_a_body_killed_for_memory_is_out_of_memory_whatever_it_wrote() -> None:
    assert verdict(finished(137, "OOMKilled", operator="bash")).kind == "oom"
    found = verdict(body(Failed("bash was killed by SIGKILL."), 1, "OOMKilled"))
    assert found.kind == "oom"
    assert "halfstep" not in found.outcome.error
    assert isinstance(outcome(body(Succeeded("1"), 0, "OOMKilled")), Succeeded)


def test_a_large_outcome_is_looked_for_in_the_log() -> None:
    found = verdict(body(Succeeded(json.dumps("x" * 9000)), 0))
    assert (found.kind, found.outcome.reason, len(found.framed or "")) == ("result", "result", 64)


@pytest.mark.parametrize(
    "message", ["python: No module named halfstep_worker", "ModuleNotFoundError: No module named 'halfstep'"]
)
def test_an_image_without_halfstep_is_said_to_be_one(message: str) -> None:
    found = verdict(finished(1, None, message, operator="bash"))
    assert (found.kind, found.outcome.final) == ("config", True)
    assert "'shop/etl:7'" in found.outcome.error
    assert "halfstep is not installed" in found.outcome.error


def test_a_body_s_message_cannot_smuggle_in_what_the_database_refuses() -> None:
    forged = json.dumps({"halfstep": 1, "kind": "succeeded", "body": '"a\\u0000"'})
    assert outcome(finished(1, None, forged, operator="bash")).reason == "result"
    for message in ('{"halfstep": 1}', '{"halfstep": 1, "kind": [], "body": 3}', '{"halfstep": 2}', "[]", "3"):
        assert outcome(finished(1, None, message, operator="bash")).reason == "crash"


def test_a_running_sidecar_and_a_failed_program_are_told_apart() -> None:
    assert outcome(pod("Running", containerStatuses=[running("proxy"), ended(4)])).error == "The container exited with code 4."
