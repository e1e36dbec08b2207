"""Pods that do not start: what people are told, and for how long they are waited for."""

from __future__ import annotations

from typing import Any

import pytest

from halfstep.outcomes import Failed
from halfstep_worker.kubernetes.pending import startup_expired, waiting_reason
from pod_builders import condition, deleted, finished, pending, pod, running, unscheduled, waiting

SENTENCES = [
    (unscheduled(), "No node takes the pod: 0/1 nodes are available: 1 Insufficient cpu. no luck."),
    (unscheduled(message=""), "No node takes the pod."),
    (unscheduled("SchedulingGated", "Scheduling is blocked"), "The pod waits for a scheduling gate to be opened."),
    (
        pending(waiting("ImagePullBackOff", 'Back-off pulling image "shop/etl:7"')),
        "The image 'shop/etl:7' can't be had (ImagePullBackOff): Back-off pulling image \"shop/etl:7\".",
    ),
    (pending(waiting("ErrImageNeverPull")), "The image 'shop/etl:7' can't be had (ErrImageNeverPull)."),
    (
        pending(waiting("CreateContainerConfigError", 'secret "shop" not found')),
        "Container 'main' can't be started (CreateContainerConfigError): secret \"shop\" not found.",
    ),
    (
        pod(reason="NodeLost"),
        "The pod's node does not answer; what became of the pod is known when it comes back, or when the pod is removed.",
    ),
]


@pytest.mark.parametrize(("there", "sentence"), SENTENCES)
def test_a_pod_that_waits_says_why(there: dict[str, Any], sentence: str) -> None:
    assert waiting_reason(there) == sentence


@pytest.mark.parametrize(
    "there",
    [
        {},
        pod(),
        finished(),
        pending(),
        pending(waiting("ContainerCreating")),
        deleted(unscheduled(), at="2026-11-23T05:00:05Z", grace=0),
    ],
)
def test_nothing_is_said_while_all_goes_its_way(there: dict[str, Any]) -> None:
    assert waiting_reason(there) is None


def test_a_container_that_main_waits_for_is_named_and_one_beside_a_running_main_is_not() -> None:
    sidecar = waiting("CrashLoopBackOff", "back-off 10s restarting", name="proxy")
    there = pod("Pending", initContainerStatuses=[sidecar], containerStatuses=[waiting("PodInitializing")])
    assert waiting_reason(there) == "Container 'proxy' can't be started (CrashLoopBackOff): back-off 10s restarting."
    assert waiting_reason(pod("Pending", containerStatuses=[running(), sidecar])) is None


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (pending(waiting("ErrImagePull", "not found")), "image"),
        (pending(waiting("CreateContainerError", "no space left")), "config"),
        (unscheduled(), "unschedulable"),
        (pending(waiting("ContainerCreating")), "startup"),
        (pod("Pending", initContainerStatuses=[running("fetch")], containerStatuses=[waiting("PodInitializing")]), "startup"),
        ({}, "startup"),
    ],
)
def test_a_wait_is_bounded_and_ends_with_its_reason(there: dict[str, Any], reason: str) -> None:
    assert startup_expired(there, 60.0, waited=59.0) is None
    found = startup_expired(there, 60.0)
    assert found is not None
    assert (found.reason, found.final) == (reason, False)
    assert found.error.startswith("The pod did not start within 60 s. ")


def test_a_started_pod_never_expires() -> None:
    assert startup_expired(pod(), 60.0) is None
    assert startup_expired(finished(7), 60.0) is None


@pytest.mark.parametrize(
    "state",
    [
        waiting("InvalidImageName", "couldn't parse image name"),
        waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root (pod: x, container: main)"),
    ],
)
def test_what_can_never_start_is_not_waited_for(state: dict[str, Any]) -> None:
    found = startup_expired(pending(state), 60.0, waited=0.0)
    assert isinstance(found, Failed)
    assert found.final


def test_messages_are_bounded() -> None:
    assert len(waiting_reason(unscheduled(message="x" * 100_000)) or "") < 1100


@pytest.mark.parametrize(
    "there",
    [
        unscheduled(message="no.\nTask 1 failed: \x1b[2J\u2028x"),
        pending(waiting("ImagePullBackOff", "no.\nTask 1 failed: \x1b[2J\u2028x")),
        pending(waiting("Create\nError", "no.\r\nTask 1 failed: \x1b[2J\u2028x")),
    ],
    ids=["of a scheduler", "of a registry", "of a kubelet"],
)
def test_a_message_is_one_line_that_steers_nothing(there: dict[str, Any]) -> None:
    said = waiting_reason(there) or ""
    assert said.isprintable()
    assert said.endswith("no. Task 1 failed: \\x1b[2J\\u2028x.")
    late = startup_expired(there, 60.0)
    assert late is not None
    assert late.error.isprintable()


def test_messages_are_bounded_as_they_are_shown() -> None:
    assert len(waiting_reason(unscheduled(message="\U000e0041" * 100_000)) or "") < 1100


def test_a_pod_whose_node_is_lost_is_told_apart_by_its_ready_condition_too() -> None:
    there = pod(conditions=[condition("Ready", "False", reason="NodeLost")])
    assert "node does not answer" in (waiting_reason(there) or "")
