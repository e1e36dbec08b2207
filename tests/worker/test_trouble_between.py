"""Trouble of a cluster at the same time as something else: a launcher's death, a limit, a hand that edits pods. Real launchers, a
fake API server, real PostgreSQL."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from isolation.launcher_ground import INNOCENT, NAMESPACE, OVER, marked
from kubernetes_fake import Says
from kubernetes_node import saying
from pod_builders import finished, pending, pod, waiting
from waiting import wait_until
from worker.test_cluster_trouble import RUNS, VERBS, Scene, no_right  # noqa: TID251 (the folder tests/worker)

WAITS = marked("waits", startup_timeout=6)


@pytest.fixture
def scene(database_url: str, tmp_path: Path) -> Iterator[Scene]:
    with closing(Scene(database_url, tmp_path)) as made:
        made.node.scripts["waits"] = [saying(pending(waiting("ContainerCreating")))]
        made.begin()
        yield made


@contextmanager
def flapping(scene: Scene, name: str) -> Iterator[None]:
    """Somebody takes the pod's installation label off, and puts it on again, ten times a second."""
    label, over = "halfstep.io/installation", threading.Event()
    known = scene.fake.store.get(NAMESPACE, "pods", name)["metadata"]["labels"][label]

    def flap() -> None:
        while not over.wait(0.05):
            scene.fake.store.change(name, lambda there: there["metadata"]["labels"].pop(label, None), namespace=NAMESPACE)
            over.wait(0.05)
            scene.fake.store.change(name, lambda there: there["metadata"]["labels"].update({label: known}), namespace=NAMESPACE)

    thread = threading.Thread(target=flap, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_pods_are_adopted_while_nothing_can_be_read_and_end_as_they_did(scene: Scene) -> None:
    scene.add(RUNS)
    wait_until(scene.all_run, what="running pods")
    scene.fake.standing = dict.fromkeys(VERBS, no_right())
    scene.fake.store.end_watches()
    scene.launchers[0].send_signal(signal.SIGKILL)
    scene.launchers[0].wait()
    scene.finish_pods()
    scene.launch(metrics=f"127.0.0.1:{scene.port}")
    wait_until(lambda: "were adopted" in scene.log.read_text(), what="an adoption")
    wait_until(scene.troubles, what="a trouble in SQL")
    reads = len(scene.fake.calls("get"))
    wait_until(lambda: len(scene.fake.calls("get")) > reads, what="another read")
    assert not any(scene.state(task) in OVER for task in scene.tasks)
    scene.fake.standing = {}
    scene.all_end()


def test_a_pod_that_began_where_nobody_could_see_it_outlives_its_startup_timeout(scene: Scene) -> None:
    scene.add(WAITS, 3)
    wait_until(lambda: len(scene.fake.accepted) == 3 and all(one["pod"] for one in scene.last_attempts()), what="pods that wait")
    names = list(scene.fake.accepted)
    scene.fake.standing = dict.fromkeys(VERBS, no_right())
    scene.fake.store.end_watches()
    wait_until(scene.troubles, what="a trouble in SQL")
    for name in names:
        scene.fake.store.change(name, saying(pod()), namespace=NAMESPACE)
    over = threading.Event()
    assert not over.wait(8.0)  # longer than the limit
    scene.fake.standing = {}
    wait_until(scene.all_run, what="pods that are known to run")
    assert not scene.fake.calls("delete")
    scene.finish_pods()
    scene.all_end()


@pytest.mark.parametrize("verb", ["create", "get", "delete", "patch", "list", "watch"])
def test_a_single_fault_is_told_to_nobody(scene: Scene, verb: str) -> None:
    scene.fake.meet(verb, Says(503, "etcdserver: leader changed", "ServiceUnavailable"))
    scene.fake.store.end_watches()
    scene.add(RUNS, 5)
    wait_until(scene.all_run, what="running pods")
    (name, *_) = scene.fake.accepted
    scene.fake.store.change(name, lambda there: there["metadata"].update(labels={}), namespace=NAMESPACE)
    wait_until(lambda: scene.fake.calls("get"), what="a read")
    wait_until(lambda: scene.fake.store.get(NAMESPACE, "pods", name)["metadata"]["labels"], what="its labels")
    scene.finish_pods()
    scene.all_end()
    wait_until(lambda: not scene.fake.store.page(NAMESPACE, {"labelSelector": ""})["items"], what="the pods' removal")
    assert "Nothing is claimed" not in scene.log.read_text()
    assert not any("held back" in line for line in scene.log.read_text().splitlines())


def test_a_label_that_comes_and_goes_ten_times_a_second_costs_few_calls_and_nobody_anything(scene: Scene) -> None:
    scene.add(RUNS, 3)
    wait_until(scene.all_run, what="running pods")
    (name, *_) = scene.fake.accepted
    with flapping(scene, name):
        more = scene.add(INNOCENT, 10)
        wait_until(lambda: all(scene.state(task) in OVER for task in more), what="the others' ends")
    assert len(scene.fake.calls("patch")) < 60
    assert scene.log.read_text().count("put back") <= 1
    assert not scene.troubles()
    for one in scene.last_attempts()[:3]:
        scene.fake.store.change(one["pod"]["name"], saying(finished()), namespace=NAMESPACE)
    scene.all_end()


def test_a_proxys_page_of_json_makes_no_hidden_pod_vanish(scene: Scene) -> None:
    scene.add(RUNS, 3)
    wait_until(scene.all_run, what="running pods")
    scene.fake.standing = {"get": Says(200, body=b'{"error": "login required"}'), "patch": no_right()}
    for name in scene.fake.accepted:
        scene.fake.store.change(name, lambda there: there["metadata"].update(labels={}), namespace=NAMESPACE)
    wait_until(lambda: len(scene.fake.calls("get")) > 6, what="reads")
    assert all(scene.state(task) == "running" for task in scene.tasks)
    scene.fake.standing = {}
    scene.finish_pods()
    scene.all_end()
