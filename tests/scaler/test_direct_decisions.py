"""What direct scaling decides without a cluster: a number, from a wish and a ScaledObject; who may go, from pods and workers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep.scaling import WorkerLoad
from halfstep_scaler.direct.fleet import COST, LEAST_COST, MARK, Fleet, Pod, pods_of, survey
from halfstep_scaler.direct.steering import Rules, Wish, rules_of

NOW = 1_000_000.0
WISH = Wish(now=7, steady=9, placement="worker", triggers=1, since=0.0, taken_at=0.0)


def scaled(*, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A ScaledObject that leaves scale-in to us."""
    behavior = {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}
    usual = {
        "scaleTargetRef": {"name": "halfstep-worker"},
        "minReplicaCount": 1,
        "maxReplicaCount": 20,
        "advanced": {"horizontalPodAutoscalerConfig": behavior},
        "triggers": [{"type": "external-push", "metadata": {}}],
    }
    return {"metadata": {"uid": "u", "annotations": annotations or {}}, "spec": usual | spec}


def rules(**spec: Any) -> Rules:
    return rules_of(scaled(**spec))


def test_what_is_wanted_now_is_given_at_once_and_what_was_wanted_lately_stays() -> None:
    assert (rules().ceiling(WISH), rules().floor(WISH)) == (7, 9)


def test_the_maximum_of_the_scaled_object_holds_both_ways() -> None:
    many = replace(WISH, now=500, steady=600)
    assert (rules().ceiling(many), rules().floor(many)) == (20, 20)
    assert rules(maxReplicaCount=None).ceiling(many) == 100


@pytest.mark.parametrize(("least", "floor"), [(None, 1), (0, 1), (3, 3)])
def test_the_last_replicas_are_kedas_to_take(least: int | None, floor: int) -> None:
    assert rules(minReplicaCount=least).floor(replace(WISH, now=0, steady=0)) == floor


@pytest.mark.parametrize(
    ("annotations", "raises", "lowers"),
    [
        ({}, True, True),
        ({"autoscaling.keda.sh/paused": "true"}, False, False),
        ({"autoscaling.keda.sh/paused": "perhaps"}, False, False),
        ({"autoscaling.keda.sh/paused": "false"}, True, True),
        ({"autoscaling.keda.sh/paused-replicas": "0"}, False, False),
        ({"autoscaling.keda.sh/paused-scale-out": "true"}, False, True),
        ({"autoscaling.keda.sh/paused-scale-in": "true"}, True, False),
    ],
)
def test_who_pauses_a_scaled_object_pauses_us(annotations: dict[str, str], raises: bool, lowers: bool) -> None:
    found = rules_of(scaled(annotations=annotations))
    assert (not found.no_raise, not found.no_lower) == (raises, lowers)
    assert found.ceiling(WISH) == (7 if raises else 0)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"scaleTargetRef": {"name": "x", "kind": "StatefulSet"}}, "only Deployments"),
        ({"scaleTargetRef": {"name": "x", "kind": "Deployment", "apiVersion": "acme.io/v1"}}, "only Deployments"),
        ({"advanced": {"scalingModifiers": {"formula": "a + b"}}}, "scalingModifiers"),
    ],
)
def test_a_number_that_others_make_is_left_alone(spec: dict[str, Any], words: str) -> None:
    found = rules(**spec)
    assert words in found.no_raise
    assert words in found.no_lower


def test_nothing_is_lowered_where_the_hpa_or_another_trigger_has_a_say_in_it() -> None:
    assert "selectPolicy" in rules(advanced={}).no_lower
    cron = [{"type": "external-push"}, {"type": "cron"}]
    assert "cron" in rules(triggers=cron).no_lower
    assert not rules(triggers=cron).no_raise


# -- pods


def pod(name: str, **changes: Any) -> Pod:
    return replace(Pod(name, f"uid-{name}", "worker-1", True, "Running", True, running_since=0.0), **changes)


def load(host: str, *, held: int = 0, leaving: bool = False, id: str | None = None) -> WorkerLoad:
    return WorkerLoad(id or f"w-{host}", host, host, "worker", 4, held, leaving, 100.0)


def marked(name: str, **changes: Any) -> Pod:
    return pod(name, cost=LEAST_COST, **({"mark": f"w-{name}@0.0"} | changes))


def fleet(pods: list[Pod], loads: list[WorkerLoad], *, replicas: int | None = None) -> Fleet:
    return survey(len(pods) if replicas is None else replicas, pods, loads, now=NOW)


def states(seen: Fleet) -> dict[str, str]:
    return {found.name: state for found, state in seen.ranked}


def test_only_a_marked_pod_whose_drained_worker_still_holds_nothing_may_go() -> None:
    pods = [marked("drained"), marked("busy"), marked("other"), pod("idle")]
    loads = [load("drained", leaving=True), load("busy", leaving=True, held=1), load("other", id="new"), load("idle")]
    seen = fleet(pods, loads)
    assert states(seen) == {"drained": "leaving", "busy": "stale", "other": "stale", "idle": "idle"}
    assert seen.removable() == 0  # a stale mark would go as soon as a good one


def test_a_drained_worker_may_leave_before_its_pod_is_deleted_but_not_begin_anew() -> None:
    pods = [marked("gone"), marked("ended", running_since=None), marked("restarted", running_since=NOW - 1)]
    assert states(fleet(pods, [])) == {"gone": "leaving", "ended": "leaving", "restarted": "stale"}


def test_a_mark_is_read_as_it_was_written() -> None:
    young = pod("a", running_since=1767323045.0)
    again = replace(young, mark=young.mark_for("w-a"), cost=LEAST_COST)
    assert states(fleet([again], [load("a", leaving=True)])) == {"a": "leaving"}


def test_marked_pods_go_first_among_those_that_are_ready() -> None:
    pods = [pod("a"), marked("b"), pod("c"), marked("d")]
    seen = fleet(pods, [load("a", held=2), load("b", leaving=True), load("c"), load("d", leaving=True)])
    assert seen.removable() == 2


def test_a_busy_pod_that_is_not_ready_is_in_the_way_of_all_marked_ones() -> None:
    pods = [marked("a"), pod("b", ready=False)]
    seen = fleet(pods, [load("a", leaving=True), load("b", held=1)])
    assert (seen.removable(), "pod b" in seen.blocker()) == (0, True)


def test_a_container_that_has_just_begun_may_claim_at_any_moment() -> None:
    young = pod("young", ready=False, running_since=NOW - 5)
    old = pod("old", ready=False, running_since=NOW - 500)
    crashed = pod("crashed", ready=False, running_since=None)
    pending = pod("pending", ready=False, phase="Pending", assigned=False, running_since=None)
    seen = fleet([young, old, crashed, pending], [])
    assert states(seen) == {"young": "starting", "old": "free", "crashed": "free", "pending": "free"}
    assert seen.removable() == 1  # the young one stands beside the old ones: which of them would go is not known
    assert "just starting" in seen.blocker()


def test_what_does_not_run_yet_goes_before_anything_is_drained() -> None:
    waiting = [pod(name, ready=False, phase="Pending", running_since=None) for name in "ab"]
    assert fleet([pod("c"), *waiting], [load("c", held=1)]).removable() == 2


def test_replicas_without_pods_are_the_first_to_go() -> None:
    assert fleet([pod("a")], [load("a", held=1)], replicas=5).removable() == 4


def test_somebody_elses_deletion_cost_is_respected() -> None:
    seen = fleet([pod("a", cost="-5"), pod("b", cost="7")], [load("a"), load("b")])
    assert set(states(seen).values()) == {"foreign"}


def test_two_workers_on_one_host_are_not_told_apart() -> None:
    assert states(fleet([pod("a")], [load("a"), load("a", id="second")])) == {"a": "busy"}


def test_a_fleet_in_motion_is_waited_for() -> None:
    assert "rolled out" in fleet([pod("a"), pod("b", owner="worker-2")], []).unsettled
    assert "still leaving" in fleet([pod("a"), pod("b")], [], replicas=1).unsettled
    assert not fleet([pod("a")], [], replicas=2).unsettled


def found(name: str, *, hash: str = "1", owner: str = "worker-1", phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    owners = [{"kind": "ReplicaSet", "name": owner, "controller": True}]
    about = {"name": name, "uid": name, "labels": {"pod-template-hash": hash}, "ownerReferences": owners} | metadata
    running = {"state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}
    status = {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [running]}
    return {"metadata": about, "spec": {"nodeName": "n"}, "status": status}


def test_pods_are_read_as_the_replica_set_counts_them() -> None:
    given = [
        found("mine", annotations={COST: "3", MARK: "w"}),
        found("leaving", deletionTimestamp="2026-01-02T03:04:05Z"),
        found("over", phase="Failed"),
        found("foreign", owner="other-1"),
        found("alone", ownerReferences=[]),
    ]
    (mine,) = pods_of(given, "worker")
    assert mine == Pod("mine", "mine", "worker-1", True, "Running", True, "3", "w", 1767323045.0)


PODS = st.lists(
    st.builds(
        lambda ready, phase, cost, mark, started: Pod(
            "", "", "worker-1", True, phase, ready and phase == "Running",
            LEAST_COST if mark else cost, f"drained@{started}" if mark else None, started,
        ),
        st.booleans(), st.sampled_from(["Pending", "Running"]), st.sampled_from([None, "5", "-5"]), st.booleans(),
        st.sampled_from([None, NOW - 5, NOW - 500]),
    ),
    max_size=8,
)  # fmt: skip
WORKERS = st.lists(st.sampled_from([None, (0, False), (0, True), (2, False), (2, True)]), min_size=8, max_size=8)


@given(PODS, WORKERS)
def test_however_pods_are_ordered_among_equals_nobody_who_holds_a_task_goes(
    drawn: list[Pod], workers: list[tuple[int, bool] | None]
) -> None:
    """Kubernetes takes any of those that rank the same."""
    pods = [replace(each, name=str(n)) for n, each in enumerate(drawn)]
    loads = [load(str(n), held=on[0], leaving=on[1], id="drained") for n, on in enumerate(workers[: len(pods)]) if on]
    busy = {each.host for each in loads if each.held}
    seen = fleet(pods, loads)
    last = seen.removable()
    if last:
        limit = sorted(each.rank for each in pods)[last - 1]
        certain = [each for each in pods if each.rank < limit]
        among = [each for each in pods if each.rank == limit]
        assert not busy & {each.name for each in certain + among}
