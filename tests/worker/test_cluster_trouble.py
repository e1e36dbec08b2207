"""A cluster that does nothing for its launcher, by kind of trouble and by what the launcher was about: no task pays for it,
people are told why, and all goes on when it is over. Real launchers, a fake API server, real PostgreSQL."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from halfstep.queue import Queue
from halfstep.troubles import TroubleBook
from isolation.launcher_ground import INNOCENT, NAMESPACE, OVER, Ground, marked
from kubernetes_fake import Fault, LosesReply, Says
from kubernetes_node import saying
from pod_builders import finished, pod
from ports import free_port
from waiting import wait_until

TASKS = 20
VERBS = ("create", "get", "list", "watch", "log", "delete", "patch")
USER = "system:serviceaccount:halfstep:launcher"
RUNS = marked("runs")


def no_right(user: str = USER) -> Says:
    """As RBAC says it; of whichever verb."""
    said = f'pods is forbidden: User "{user}" cannot do resource "pods" in API group "" in the namespace "{NAMESPACE}"'
    return Says(403, said, "Forbidden")


def forbidden(why: str) -> Says:
    """As an admission plugin says it."""
    return Says(403, f'pods "x" is forbidden: {why}', "Forbidden")


ACCESS: dict[str, Fault] = {
    "the right is taken away": no_right(),
    "the launcher is anonymous": no_right("system:anonymous"),
    "the token is unknown": Says(401, "Unauthorized", "Unauthorized"),
    "something else answers there": Says(404, body=b"<html>404 Not Found, nginx</html>"),
    "the server has a fault": Says(503, "apiserver is shutting down", "ServiceUnavailable"),
    "nobody answers": LosesReply(),
}
PLACE: dict[str, Fault] = {
    "the namespace is missing": Says(404, f'namespaces "{NAMESPACE}" not found', "NotFound"),
    "the namespace is being terminated": forbidden(
        f"unable to create new content in namespace {NAMESPACE} because it is being terminated"
    ),
    "the service account is missing": forbidden('error looking up service account x/default: serviceaccount "default" not found'),
    "admission is not ready": forbidden("not yet ready to handle request"),
}


class Scene(Ground):
    """One launcher that serves probes, and what is seen of it."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        self.node.scripts["runs"] = [saying(pod())]
        self.port = free_port()
        self.tasks: list[int] = []

    def begin(self) -> None:
        """The launcher works."""
        self.launch(metrics=f"127.0.0.1:{self.port}", lease_seconds=10.0, renew_seconds=1.0)
        wait_until(lambda: self.probe("/readyz") == (200, "ok\n"), what=f"a ready launcher; {self.log.read_text()[-2000:]}")
        wait_until(lambda: self.fake.watching == 1, what="the watch")

    def probe(self, path: str) -> tuple[int, str]:
        """What the launcher answers there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def add(self, args: str = INNOCENT, count: int = TASKS) -> list[int]:
        """More tasks."""
        made = self.enqueue(*[("pod", args)] * count)
        self.tasks += made
        return made

    def all_run(self) -> bool:
        """Every task's pod is known to run."""
        return all(report["pod"] and report["pod"].get("started") for report in self.last_attempts())

    def last_attempts(self) -> list[Any]:
        """One a task, or none."""
        shown = [self.reports.show(task)["attempts"] for task in self.tasks]
        return [attempts[-1] if attempts else {"pod": None} for attempts in shown]

    def finish_pods(self) -> None:
        """Programs end well."""
        for task in self.last_attempts():
            self.fake.store.change(task["pod"]["name"], saying(finished()), namespace=NAMESPACE)

    def troubles(self) -> list[str]:
        """As SQL has them."""
        return [row["sentence"] for row in TroubleBook(self.database).list()]

    @contextmanager
    def trouble(self, fault: Fault, verbs: tuple[str, ...]) -> Iterator[None]:
        """It lasts for as long as the block, from which people have to be told."""
        self.fake.standing = dict.fromkeys(verbs, fault)
        yield
        told = wait_until(self.troubles, what="a trouble in SQL")
        assert told[0].startswith("The API server of cluster 'default', namespace 'tasks' answers ")
        wait_until(lambda: "the API server answers" in self.log.read_text(), what="a line in the log")
        assert self.probe("/healthz") == (200, "ok\n"), "a restart does not help"
        wait_until(lambda: self.probe("/readyz")[0] == 503, what="a launcher that is not ready")
        assert "The API server of cluster 'default'" in self.probe("/readyz")[1]
        assert not any(self.state(task) in OVER for task in self.tasks), "nothing can have ended"
        self.fake.standing = {}

    def all_end(self, state: str = "succeeded") -> None:
        """By themselves; nobody has paid, and nobody is told of trouble any more."""
        wait_until(lambda: all(self.state(task) in OVER for task in self.tasks), what=f"the ends; {self.log.read_text()[-3000:]}")
        for report in map(self.reports.show, self.tasks):
            told = {word: report[word] for word in ("state", "attempt", "failures", "deaths", "reason", "error")}
            assert told["state"] == state, told
            assert (told["attempt"], told["failures"], told["deaths"]) == (1, 0, 0), told
        assert set(self.fake.accepted.values()) <= {1}
        wait_until(lambda: not self.troubles(), what="the end of the troubles")
        wait_until(lambda: self.probe("/readyz") == (200, "ok\n"), what="a ready launcher")


@pytest.fixture
def scene(database_url: str, tmp_path: Path) -> Iterator[Scene]:
    with closing(Scene(database_url, tmp_path)) as made:
        made.begin()
        yield made


@pytest.mark.parametrize("fault", (ACCESS | PLACE).values(), ids=ACCESS | PLACE)
def test_while_pods_are_to_be_made(scene: Scene, fault: Fault) -> None:
    verbs = VERBS if fault in ACCESS.values() else ("create",)
    with scene.trouble(fault, verbs):
        scene.add()
        wait_until(lambda: scene.fake.calls("create"), what="a first create")
    scene.all_end()
    assert len(scene.fake.accepted) == TASKS


@pytest.mark.parametrize("fault", ACCESS.values(), ids=ACCESS)
def test_while_pods_run(scene: Scene, fault: Fault) -> None:
    scene.add(RUNS)
    wait_until(scene.all_run, what="running pods")
    with scene.trouble(fault, VERBS):
        scene.fake.store.end_watches()
        scene.finish_pods()
    scene.all_end()


@pytest.mark.parametrize("fault", ACCESS.values(), ids=ACCESS)
def test_while_pods_are_to_be_deleted(scene: Scene, fault: Fault, queue: Queue) -> None:
    scene.add(RUNS)
    wait_until(scene.all_run, what="running pods")
    with scene.trouble(fault, VERBS):
        scene.fake.store.end_watches()
        for task in scene.tasks:
            assert queue.cancel(task) == "requested"
        wait_until(lambda: scene.fake.calls("delete"), what="a first delete")
    scene.all_end("cancelled")


@pytest.mark.parametrize("fault", ACCESS.values(), ids=ACCESS)
def test_while_logs_are_to_be_read(scene: Scene, fault: Fault) -> None:
    scene.add(RUNS)
    wait_until(scene.all_run, what="running pods")
    for attempt in scene.last_attempts():
        scene.fake.log(attempt["pod"]["name"], "its last words", at=1_800_000_000.0)
    with scene.trouble(fault, ("log",)):
        scene.finish_pods()
        wait_until(lambda: len(scene.fake.calls("log")) > 4, what="tries")
    scene.all_end()
    for task in scene.tasks:
        assert [line["text"] for _, line in scene.reports.log(task)] == ["its last words"]


@pytest.mark.parametrize("fault", ACCESS.values(), ids=ACCESS)
def test_while_pods_are_to_be_let_go(scene: Scene, fault: Fault) -> None:
    """The verdicts are written meanwhile: nothing of theirs depends on it. The pods go afterwards."""
    scene.add(RUNS)
    wait_until(scene.all_run, what="running pods")
    scene.fake.standing = dict.fromkeys(("delete", "patch"), fault)
    scene.finish_pods()
    wait_until(scene.troubles, what="a trouble in SQL")
    wait_until(lambda: all(scene.state(task) == "succeeded" for task in scene.tasks), what="the verdicts")
    scene.fake.standing = {}
    scene.all_end()
    selector = {"labelSelector": ""}
    wait_until(lambda: not scene.fake.store.page(NAMESPACE, selector)["items"], what="the pods' removal")


def test_what_waits_for_long_goes_back_to_the_queue_and_says_why(scene: Scene) -> None:
    """No attempt is used up by it either."""
    with scene.trouble(no_right(), ("create",)):
        scene.add()
        wait_until(lambda: "go back to the queue" in scene.log.read_text(), what="the hand-back")
        wait_until(lambda: all(scene.state(task) == "ready" for task in scene.tasks), what="ready tasks")
        why = scene.reports.show(scene.tasks[0])["why"]
        assert why.startswith("The API server of cluster 'default', namespace 'tasks' answers 'create pods' with 403: ")
    scene.all_end()


def test_a_task_that_runs_says_it_too(scene: Scene) -> None:
    scene.add(RUNS, 1)
    wait_until(scene.all_run, what="a running pod")
    with scene.trouble(no_right(), VERBS):
        scene.fake.store.end_watches()
        wait_until(lambda: "watch pods' with 403" in scene.reports.show(scene.tasks[0])["why"] or
                   "list pods' with 403" in scene.reports.show(scene.tasks[0])["why"], what="the sentence")  # fmt: skip
        scene.finish_pods()
    scene.all_end()


def test_pods_that_go_with_their_namespace_run_again_and_use_up_no_attempt(scene: Scene) -> None:
    scene.add(RUNS)
    wait_until(scene.all_run, what="running pods")
    first = [attempt["pod"]["name"] for attempt in scene.last_attempts()]
    with scene.trouble(PLACE["the namespace is being terminated"], ("create",)):
        for name in first:
            scene.fake.store.remove(name, namespace=NAMESPACE)
        wait_until(lambda: scene.fake.calls("create")[TASKS:], what="a second create")
    wait_until(lambda: len(scene.fake.accepted) == 2 * TASKS and scene.all_run(), what="pods again")
    scene.finish_pods()
    wait_until(lambda: all(scene.state(task) in OVER for task in scene.tasks), what="the ends")
    for report in map(scene.reports.show, scene.tasks):
        assert (report["state"], report["failures"], report["deaths"]) == ("succeeded", 0, 0)
    assert set(scene.fake.accepted.values()) == {1}


def test_a_policys_denial_fails_its_task_and_nobody_elses(scene: Scene) -> None:
    denied = 'admission webhook "policy.example.com" denied the request: no latest tags'
    scene.fake.meet("create", Says(403, denied))
    scene.add(count=2)
    wait_until(lambda: all(scene.state(task) in OVER for task in scene.tasks), what="the ends")
    reports = sorted(map(scene.reports.show, scene.tasks), key=lambda report: str(report["state"]))
    assert [report["state"] for report in reports] == ["failed", "succeeded"]
    assert denied in reports[0]["error"]
    assert not scene.troubles()
