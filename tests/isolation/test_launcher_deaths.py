"""A task that kills launchers is found out, whatever kills them; the ones that were made beside it, or run, are not blamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from isolation.launcher_ground import INNOCENT, OVER, Ground
from kubernetes_fake import Says
from kubernetes_node import CASE, saying
from pod_builders import pod
from waiting import wait_until

DEADLY = '{"image": "deadly"}'


@pytest.fixture
def ground(database_url: str, tmp_path: Path) -> Iterator[Ground]:
    with closing(Ground(database_url, tmp_path)) as made:
        yield made


def succession(ground: Ground, deadly: str, over: Callable[[], bool]) -> int:
    """One launcher after the other, as a Deployment starts them, until it is over; how many died."""
    launcher, died = ground.launch(deadly=deadly), 0

    def go_on() -> bool:
        nonlocal launcher, died
        if launcher.poll() is not None:
            died += 1
            launcher = ground.launch(deadly=deadly)
        return over()

    wait_until(go_on, seconds=150, what="the end of the dying")
    return died


@pytest.mark.slow
@pytest.mark.parametrize(("deadly", "words"), [("plan", "planned no other"), ("create", "made no other")])
def test_a_task_that_kills_launchers_ends_as_poison_and_its_neighbours_end_well(ground: Ground, deadly: str, words: str) -> None:
    runs = json.dumps({"image": "x", "annotations": {CASE: "runs"}})
    ground.node.scripts["runs"] = [saying(pod())]
    before, killer, *neighbours = ground.enqueue(("pod", runs), ("pod", DEADLY), *[("pod", INNOCENT)] * 5)
    died = succession(ground, deadly, lambda: all(ground.state(task) in OVER for task in (killer, *neighbours)))
    assert died == 5
    report = ground.reports.show(killer)
    assert (report["state"], report["reason"], report["deaths"], report["lone_deaths"]) == ("failed", "poison", 5, 3)
    assert words in report["error"]
    for task in neighbours:
        told = ground.reports.show(task)
        assert (told["state"], told["lone_deaths"]) == ("succeeded", 0)
        assert told["deaths"] <= 2
    assert ground.reports.show(before)["deaths"] <= 2, "it has run while others died, which is no fault of its own"
    assert set(ground.fake.accepted.values()) == {1}
    assert len(ground.fake.accepted) == 1 + len(neighbours)


@pytest.mark.slow
@pytest.mark.parametrize("deadly", ["plan", "create"])
def test_a_cancel_of_a_task_that_kills_launchers_holds(ground: Ground, deadly: str, queue: Any) -> None:
    (killer,) = ground.enqueue(("pod", DEADLY))
    launcher = ground.launch(deadly=deadly)
    assert launcher.wait(timeout=30) == -9
    assert queue.cancel(killer) == "requested"
    succession(ground, deadly, lambda: ground.state(killer) in OVER)
    assert ground.state(killer) == "cancelled"
    assert not ground.fake.accepted


def test_an_exception_that_nobody_expects_ends_its_own_task_alone(ground: Ground) -> None:
    killer, neighbour = ground.enqueue(("pod", DEADLY), ("pod", INNOCENT))
    launcher = ground.launch(deadly="raise")
    report = ground.ended(killer)
    assert (report["state"], report["reason"], report["attempt"]) == ("failed", "invalid", 1)
    assert "ZeroDivisionError: so the test wants it" in report["error"]
    assert ground.ended(neighbour)["state"] == "succeeded"
    assert launcher.poll() is None
    assert ground.log.read_text().count("stumbled over task") == 1


def test_a_launcher_that_falls_out_of_its_loop_has_died_and_not_left(ground: Ground) -> None:
    (killer,) = ground.enqueue(("pod", DEADLY))
    assert ground.launch(deadly="loop").wait(timeout=30) == 1
    ground.launch()
    report = ground.ended(killer)
    assert (report["state"], report["deaths"]) == ("succeeded", 1)
    workers = ground.database.execute("SELECT state FROM halfstep.worker ORDER BY started_at")
    assert [worker["state"] for worker in workers] == ["dead", "running"]


def test_a_suspect_that_waits_for_room_in_the_cluster_holds_up_nobody(ground: Ground) -> None:
    (suspect,) = ground.enqueue(("pod", INNOCENT))
    ground.database.execute("UPDATE halfstep.task SET alone = true, deaths = 2 WHERE id = %(id)s", {"id": suspect})
    ground.fake.meet("create", Says(403, "exceeded quota: pods", "Forbidden"))
    ground.launch()
    wait_until(lambda: ground.fake.calls("create"), what="the first create call")
    (neighbour,) = ground.enqueue(("pod", INNOCENT))
    assert ground.ended(neighbour, seconds=12)["state"] == "succeeded"
    assert ground.state(suspect) == "running"
