"""What surrounds a task's pod: connections, the source folder, its own image, and other clusters. Real everything."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

from cluster.kube import RESTRICTED, RUNTIME, TOOLS, Cluster
from cluster.launchers import LauncherProcess
from cluster.placements import write_clusters
from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.reports import Reports
from waiting import wait_until

pytestmark = pytest.mark.cluster
DATABASE = "/tmp/only-the-secret-knows.db"
URL = f"sqlite:///{DATABASE}"
JOBS = """
import os
from halfstep import task

@task
def environment():
    return sorted(name for name in os.environ if "HALFSTEP" in name)
"""


class Sightings:
    """Everything that a watch of a namespace's pods and ConfigMaps shows, as text."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.seen: dict[str, list[str]] = {"pods": [], "maps": []}
        self._stopped = threading.Event()
        core: Any = cluster.core
        for kind, listing in (("pods", core.list_namespaced_pod), ("maps", core.list_namespaced_config_map)):
            threading.Thread(target=self._follow, args=(kind, listing, namespace, cluster), daemon=True).start()

    def _follow(self, kind: str, listing: Callable[..., Any], namespace: str, cluster: Cluster) -> None:
        while not self._stopped.wait(0.05):
            with suppress(ApiException, HTTPError):
                watch: Any = Watch
                for event in watch().stream(listing, namespace, timeout_seconds=60):
                    self.seen[kind].append(json.dumps(event["raw_object"]))

    def stop(self) -> None:
        """The threads end with their streams; they are daemons."""
        self._stopped.set()


@pytest.fixture
def sightings(cluster: Cluster, namespace: str) -> Iterator[Sightings]:
    """Of the test's namespace."""
    seen = Sightings(cluster, namespace)
    yield seen
    seen.stop()


@pytest.fixture
def start_with(
    start_launcher: Callable[..., LauncherProcess], cluster: Cluster, namespace: str, tmp_path: Path
) -> Callable[..., LauncherProcess]:
    """Starts a launcher whose clusters file has these keys under `pods`, besides the runtime's image."""

    def start(name: str = "first", **pods: Any) -> LauncherProcess:
        image = {"image": RUNTIME, "image_pull_policy": "IfNotPresent"}
        default = {"kubeconfig": str(cluster.kubeconfig), "namespace": namespace, "pods": image | pods}
        return start_launcher(name, clusters=write_clusters(tmp_path / f"of-{name}.yaml", default=default))

    return start


@pytest.fixture
def second_namespace(cluster: Cluster, namespace: str) -> Iterator[str]:
    """Another one, in the part of a second cluster."""
    name = f"{namespace}-b"
    core: Any = cluster.core
    core.create_namespace({"metadata": {"name": name, "labels": RESTRICTED}})
    wait_until(lambda: core.list_namespaced_service_account(name).items, seconds=30, what="the default service account")
    yield name
    core.delete_namespace(name)


def create(cluster: Cluster, namespace: str, **named: dict[str, str]) -> None:
    """A Secret or ConfigMap: `secret={...}`, `config_map={...}`. It is called `shop`."""
    core: Any = cluster.core
    for kind, data in named.items():
        key = "stringData" if kind == "secret" else "data"
        getattr(core, f"create_namespaced_{kind}")(namespace, {"metadata": {"name": "shop"}, key: data})


def lines(reports: Reports, task: int) -> list[str]:
    return [line["text"] for _, line in reports.log(task)]


# -- connections


def test_a_connection_reaches_its_operator_and_its_value_stands_in_no_object_of_ours(
    start_with: Any, database: Database, ended: Any, cluster: Cluster, namespace: str, sightings: Sightings, reports: Reports
) -> None:
    create(cluster, namespace, secret={"url": URL})
    start_with(connections={"shop": {"secret": "shop", "key": "url"}})
    statement = "SELECT upper(file) AS file FROM pragma_database_list"
    task = enqueue(database, "sql", {"connection": "shop", "statement": statement}, placement="pod", max_attempts=1)
    report = ended(task)
    assert (report["error"], report["result"]) == (None, {"rows": [{"file": DATABASE.upper()}]})
    wait_until(lambda: any(task_of(pod) == task for pod in sightings.seen["pods"]), what="the watch to show the pod")
    wait_until(lambda: any(task_of(one) == task for one in sightings.seen["maps"]), what="the watch to show its ConfigMap")
    assert any("HALFSTEP_CONNECTION_SHOP" in pod and "secretKeyRef" in pod for pod in sightings.seen["pods"])
    assert not [text for text in [*sightings.seen["pods"], *sightings.seen["maps"], *lines(reports, task)] if DATABASE in text]


def test_only_the_connections_that_a_task_names_reach_its_pod(
    start_with: Any, database: Database, ended: Any, cluster: Cluster, namespace: str
) -> None:
    create(cluster, namespace, secret={"url": URL, "other": "https://x.invalid"})
    known = {"shop": {"secret": "shop", "key": "url"}, "hooks": {"secret": "shop", "key": "other"}}
    start_with(connections=known)
    names = "tr '\\0' '\\n' < /proc/1/environ | grep -o '^HALFSTEP_CONNECTION_[A-Z]*'"
    task = enqueue(database, "bash", {"command": names, "pod": {"connections": ["hooks"]}}, placement="pod", max_attempts=1)
    assert ended(task)["result"] == {"exit_code": 0, "last_line": "HALFSTEP_CONNECTION_HOOKS"}


def test_a_connection_that_has_no_secret_here_is_refused_before_a_pod_is_made(
    start_with: Any, database: Database, ended: Any, cluster: Cluster, namespace: str
) -> None:
    start_with(connections={"shop": {"secret": "shop", "key": "url"}})
    report = ended(enqueue(database, "sql", {"connection": "lake", "statement": "SELECT 1"}, placement="pod"))
    assert (report["state"], report["reason"], report["attempt"]) == ("failed", "invalid", 1)
    assert report["error"] == "This launcher has no Secret for connection 'lake'; known: shop."
    assert cluster.core.list_namespaced_pod(namespace).items == []


def test_a_secret_that_is_missing_is_named_while_the_pod_waits_and_by_its_failure(
    start_with: Any, database: Database, ended: Any
) -> None:
    start_with(connections={"shop": {"secret": "shop", "key": "url"}})
    args = {"connection": "shop", "statement": "SELECT 1", "pod": {"startup_timeout": 4}}
    report = ended(enqueue(database, "sql", args, placement="pod", max_attempts=1))
    assert (report["state"], report["reason"]) == ("failed", "config")
    assert 'secret "shop" not found' in report["error"]


def task_of(pod: str) -> int:
    return int(json.loads(pod)["metadata"].get("labels", {}).get("halfstep.io/task", 0))


# -- the source folder


def test_the_source_folder_may_be_a_volume(
    start_with: Any, database: Database, ended: Any, cluster: Cluster, namespace: str
) -> None:
    create(cluster, namespace, config_map={"jobs.py": JOBS, "count.sh": 'echo "{\\"in\\": \\"$PWD\\"}"'})
    start_with(source="/source", source_volume={"configMap": {"name": "shop"}})
    called = enqueue(database, "python", {"function": "jobs:environment"}, placement="pod", max_attempts=1)
    script = enqueue(database, "script", {"path": "count.sh"}, placement="pod", max_attempts=1)
    assert (ended(called)["error"], ended(called)["result"]) == (None, [])
    assert (ended(script)["error"], ended(script)["result"]) == (None, {"in": "/source"})


def test_the_source_folder_may_be_a_part_of_the_image(start_with: Any, database: Database, ended: Any) -> None:
    """The folder of Python's own modules plays it; all of them have the script `this.py`."""
    first = start_with("first")
    look = "python -c 'import os; print(os.path.dirname(os.__file__))'"
    folder = ended(enqueue(database, "bash", {"command": look}, placement="pod"))["result"]["last_line"]
    assert first.stop() == 0
    start_with("second", source=folder)
    report = ended(enqueue(database, "script", {"path": "this.py"}, placement="pod", max_attempts=1))
    assert (report["error"], report["result"]) == (None, {"exit_code": 0})


# -- images


def test_an_image_without_halfstep_is_refused_with_what_to_do(start_with: Any, database: Database, ended: Any) -> None:
    start_with()
    pod = {"image": TOOLS, "image_pull_policy": "IfNotPresent"}
    report = ended(enqueue(database, "bash", {"command": "true", "pod": pod}, placement="pod", max_attempts=3))
    assert (report["state"], report["reason"], report["attempt"]) == ("failed", "config", 1)
    assert report["error"] == (
        f"The image '{TOOLS}' can't run operators, as halfstep is not installed in it; install it, or use operator 'pod'."
    )


# -- several clusters from one file


@pytest.fixture
def away() -> Iterator[tuple[str, int]]:
    """Where an API server takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()


@pytest.fixture
def three_clusters(cluster: Cluster, namespace: str, second_namespace: str, away: tuple[str, int], tmp_path: Path) -> Path:
    """`default` and `near` are namespaces of the real one; `far` is away."""
    image = {"pods": {"image": RUNTIME, "image_pull_policy": "IfNotPresent"}}
    far = {"name": "far", "cluster": {"server": f"http://{away[0]}:{away[1]}"}}
    context = {"name": "far", "context": {"cluster": "far", "user": "nobody"}}
    written = {"clusters": [far], "contexts": [context], "users": [{"name": "nobody", "user": {}}], "current-context": "far"}
    (tmp_path / "far.yaml").write_text(json.dumps(written))
    here = {"kubeconfig": str(cluster.kubeconfig)} | image
    return write_clusters(
        tmp_path / "three.yaml",
        default=here | {"namespace": namespace},
        near=here | {"namespace": second_namespace},
        far={"kubeconfig": "far.yaml", "namespace": namespace},
    )


def test_clusters_of_one_file_are_served_side_by_side_and_one_that_is_away_holds_up_no_other(
    start_launcher: Any, three_clusters: Path, run_pod: Any, ended: Any, reports: Reports, cluster: Cluster, namespace: str,
    second_namespace: str,
) -> None:  # fmt: skip
    names = {"": namespace, "near": second_namespace, "far": namespace}
    for name in names:
        start_launcher(f"of-{name or 'default'}", clusters=three_clusters, environment={"HALFSTEP_CLUSTER": name})
    stuck = [run_pod("true", cluster="far") for _ in range(3)]
    wait_until(lambda: set(reports.states(stuck).values()) == {"running"}, seconds=30, what="the claims for the cluster away")
    tasks = {name: [run_pod(f"echo {name}", cluster=name) for _ in range(3)] for name in ("", "near")}
    for name, ids in tasks.items():
        for task in ids:
            attempt = ended(task)["attempts"][0]
            assert (attempt["outcome"], attempt["worker"]) == ("succeeded", f"of-{name or 'default'}")
            assert attempt["pod"]["namespace"] == names[name]
    assert set(reports.states(stuck).values()) == {"running"}
    wait_until(lambda: "does not answer" in waiting_of(reports, stuck[0]), seconds=30, what="`show` to say why they wait")


def waiting_of(reports: Reports, task: int) -> str:
    return ((reports.show(task)["attempts"] or [{}])[0].get("pod") or {}).get("waiting") or ""


def test_a_cluster_that_nobody_serves_waits_and_is_taken_up_when_somebody_does(
    start_launcher: Any, three_clusters: Path, run_pod: Any, ended: Any, reports: Reports
) -> None:
    start_launcher("of-default", clusters=three_clusters)
    waiting, other = run_pod("true", cluster="near"), run_pod("true")
    assert ended(other)["state"] == "succeeded"
    assert reports.states([waiting]) == {waiting: "ready"}
    start_launcher("of-near", clusters=three_clusters, environment={"HALFSTEP_CLUSTER": "near"})
    assert ended(waiting)["attempts"][0]["worker"] == "of-near"
