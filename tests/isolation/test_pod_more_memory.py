"""Memory that grows with each attempt, and labels that reach pods: a real launcher, and a node that kills for memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from isolation.launcher_ground import Ground, marked
from kubernetes_node import Edit, saying
from pod_builders import finished

DEFAULTS = {"resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "128Mi"}}, "labels": {"cost": "tasks"}}


@pytest.fixture(scope="module")
def ground(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    name = server.make_database()
    with closing(Ground(server.url(name), tmp_path_factory.mktemp("ground"), defaults=DEFAULTS, task_labels=["team"])) as made:
        made.node.scripts["hungry"] = [kill_below(2**30)]
        made.launch()
        yield made
    server.drop(name)


def kill_below(bytes: int) -> Edit:
    """The node's kernel: who has less ends for memory."""

    def edit(pod: dict[str, Any]) -> None:
        limit = pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
        number = int(limit[:-2]) * {"Gi": 2**30, "Mi": 2**20}[limit[-2:]]
        saying(finished(0) if number >= bytes else finished(137, "OOMKilled"))(pod)

    return edit


def memory_of(report: Any) -> list[Any]:
    return [attempt["pod"]["memory"] for attempt in report["attempts"]]


def test_each_attempt_gets_more_until_it_is_enough_and_show_tells_what_each_had(ground: Ground) -> None:
    args = marked("hungry", resources={"requests": {"memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                  on_oom={"memory": "x2", "max": "4Gi"})  # fmt: skip
    (task,) = ground.enqueue(("pod", args), backoff_base=0, labels={"team": "shop"})
    report = ground.ended(task)
    assert report["state"] == "succeeded"
    assert [attempt["reason"] for attempt in report["attempts"]] == ["oom", "oom", None]
    assert memory_of(report) == [
        {"request": "128Mi", "limit": "256Mi"},
        {"request": "256Mi", "limit": "512Mi"},
        {"request": "512Mi", "limit": "1Gi"},
    ]


def test_at_the_most_the_task_ends_by_its_retries(ground: Ground) -> None:
    args = marked("hungry", on_oom={"memory": "+128Mi", "max": "256Mi"})
    (task,) = ground.enqueue(("pod", args), backoff_base=0, max_attempts=4)
    report = ground.ended(task)
    assert (report["state"], report["reason"], report["failures"]) == ("failed", "oom", 4)
    assert [told["limit"] for told in memory_of(report)] == ["128Mi", "256Mi", "256Mi", "256Mi"]


def test_without_retries_nothing_grows(ground: Ground) -> None:
    args = marked("hungry", on_oom={"memory": "x2", "max": "4Gi"})
    (task,) = ground.enqueue(("pod", args), max_attempts=1)
    report = ground.ended(task)
    assert (report["state"], len(report["attempts"])) == ("failed", 1)


def test_pods_are_found_by_their_labels(ground: Ground) -> None:
    """As a report of costs sees them, in what was really asked of the API server."""
    ground.node.scripts["kept"] = [saying(finished(0))]
    (task,) = ground.enqueue(("pod", marked("kept", labels={"own": "x"})), labels={"team": "R&D / \u96fb\u8133", "other": "y"})
    ground.ended(task)
    made = [seen.body for seen in ground.fake.requests if seen.verb == "create" and isinstance(seen.body, dict)]
    (metadata,) = [body["metadata"] for body in made if body["metadata"]["labels"].get("halfstep.io/task") == str(task)]
    labels = metadata["labels"]
    assert (labels["halfstep.io/queue"], labels["halfstep.io/operator"], labels["cost"], labels["own"]) == (
        "default",
        "pod",
        "tasks",
        "x",
    )
    assert labels["task.halfstep.io/team"].startswith("R-D-")
    assert metadata["annotations"]["task.halfstep.io/team"] == "R&D / \u96fb\u8133"
    assert "task.halfstep.io/other" not in labels
