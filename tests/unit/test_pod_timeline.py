"""What is remembered of a pod, and what is told of it."""

from __future__ import annotations

import gc
import sys
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfstep_worker.kubernetes.pending import startup_expired, waiting_reason
from halfstep_worker.kubernetes.timeline import facts, pulled_at, trim
from halfstep_worker.kubernetes.verdict import Known, judge
from pod_builders import CREATED, ENDED, ENDED_PODS, LIVING, STARTED, finished, pod

ALL = ENDED_PODS | LIVING
KNOWN = st.builds(
    Known,
    stop_reason=st.sampled_from([None, "timeout", "cancelled"]),
    deleted_while_running=st.booleans(),
    timeout=st.sampled_from([None, 5.0]),
    gone=st.booleans(),
    forced_for=st.sampled_from([None, 0.0, 100.0]),
    uncounted=st.integers(0, 20),
)


@given(st.sampled_from(list(ALL.values())), KNOWN)
def test_a_trimmed_pod_gets_the_same_verdict(there: dict[str, Any], known: Known) -> None:
    assert judge(trim(there), known) == judge(there, known)


@pytest.mark.parametrize("row", ALL)
def test_a_trimmed_pod_tells_the_same(row: str) -> None:
    there = ALL[row]
    small = trim(there)
    assert facts(small) == facts(there)
    assert waiting_reason(small) == waiting_reason(there)
    assert startup_expired(small, 9.0) == startup_expired(there, 9.0)


@pytest.mark.parametrize("row", ALL)
def test_trimming_twice_changes_nothing_and_never_the_pod_itself(row: str) -> None:
    there = deepcopy(ALL[row])
    once = trim(there)
    assert trim(once) == once
    assert there == ALL[row]


def test_a_running_pod_takes_four_kilobytes() -> None:
    pods = [trim(pod()) for _ in range(20)]
    assert _bytes(pods) / len(pods) < 4096


def full(resources: Any) -> dict[str, Any]:
    """A pod as launchers make them, with these resources."""
    there = pod()
    there["metadata"]["labels"] |= {
        "halfstep.io/queue": "etl",
        "halfstep.io/operator": "python",
        "halfstep.io/function": "jobs.f",
    }
    there["metadata"]["annotations"]["halfstep.io/function"] = "jobs:f"
    there["spec"]["containers"][0]["resources"] = resources
    return there


def test_memory_and_labels_make_it_no_larger() -> None:
    resources = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    pods = [trim(full(resources)) for _ in range(20)]
    assert _bytes(pods) / len(pods) < 4096
    assert sorted(pods[0]["metadata"]["labels"]) == ["halfstep.io/attempt", "halfstep.io/installation", "halfstep.io/task"]


@pytest.mark.parametrize(
    ("resources", "memory"),
    [
        pytest.param({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}, {"request": "1Gi", "limit": "2Gi"}, id="both"),
        pytest.param({"limits": {"memory": "2Gi", "cpu": 1}}, {"limit": "2Gi"}, id="a limit alone"),
        pytest.param({"requests": {"memory": 1024}}, {"request": "1024"}, id="a number"),
        pytest.param({"limits": {"cpu": 1}}, None, id="no memory"),
        pytest.param({"limits": {"memory": "much\x00"}}, None, id="what is no amount"),
        pytest.param({"limits": {"memory": ["1Gi"]}, "requests": 3}, None, id="no text, and no object"),
        pytest.param({"limits": {"memory": "1" * 10_000}}, None, id="an amount that is too long"),
        pytest.param([], None, id="a list"),
    ],
)
def test_the_memory_of_main_is_told_as_the_api_server_has_it(resources: Any, memory: Any) -> None:
    for seen in (full(resources), trim(full(resources))):
        assert facts(seen).memory == memory


def test_ours_are_the_only_labels_that_are_kept() -> None:
    kept = trim(pod())["metadata"]
    assert sorted(kept["labels"]) == ["halfstep.io/attempt", "halfstep.io/installation", "halfstep.io/task"]
    assert kept["finalizers"] == ["halfstep.io/verdict"]
    assert kept["resourceVersion"] == "4711"


def test_the_start_up_is_told_step_by_step() -> None:
    told = facts(finished(7), pulled="2026-11-23T05:00:01Z")
    assert (told.created, told.scheduled, told.pulled, told.started, told.ended) == (
        CREATED,
        CREATED,
        "2026-11-23T05:00:01Z",
        STARTED,
        ENDED,
    )
    assert (told.node, told.phase, told.exit_code, told.image) == ("node1", "Failed", 7, "shop/etl:7")


def test_what_is_not_known_is_not_told() -> None:
    told = facts(LIVING["unschedulable"]).as_json()
    assert "node" not in told
    assert "scheduled" not in told
    assert told["waiting"].startswith("No node takes the pod")
    assert facts({}).as_json() == {"name": "", "restarts": 0}


def test_the_image_is_there_when_an_event_of_main_says_so() -> None:
    def event(container: str, reason: str, at: str) -> dict[str, Any]:
        return {"reason": reason, "firstTimestamp": at, "involvedObject": {"fieldPath": f"spec.containers{{{container}}}"}}

    events = [event("proxy", "Pulled", "1"), event("main", "Pulling", "2"), event("main", "Pulled", "3"), {}]
    assert pulled_at(events) == "3"
    assert pulled_at([]) is None


def _bytes(things: object) -> int:
    """Of all objects below, each once."""
    seen: dict[int, int] = {}
    todo = [things]
    while todo:
        thing = todo.pop()
        if id(thing) not in seen and not isinstance(thing, type):
            seen[id(thing)] = sys.getsizeof(thing)
            todo += gc.get_referents(thing)
    return sum(seen.values())
