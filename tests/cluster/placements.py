"""The placements of a task, for tests that hold for all of them: where it runs, and what there does as each body is to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from kubernetes.stream import stream

from cluster.gateway import Gateway
from cluster.kube import RUNTIME, TOOLS, Cluster, has_ended
from cluster.launchers import LauncherProcess
from halfstep.database import Database
from halfstep.producer import enqueue
from halfstep.reports import Reports
from waiting import wait_until
from worker_processes import WorkerProcess

JOBS = """
import os, threading
from halfstep import current, task
from halfstep.context import Stopped

pause = threading.Event().wait

@task
def greet(gate):
    print("hello")
    return {"rows": 3}

@task
def fail(gate):
    raise ValueError("no luck")

@task
def succeed_at_last(gate):
    if current().attempt < 3:
        raise ValueError("no luck")
    return current().attempt

@task
def talk(gate):
    for n in range(500):
        print("line", n)

@task
def build(gate, size):
    return ["x" * size]

@task
def hold(gate):
    print("begun", flush=True)
    try:
        while not os.path.exists(gate):
            pause(0.02)
    except Stopped as stopped:
        print("told", stopped.reason)
        raise
    print("done")
    return "done"

@task
def be_stubborn(gate):
    print("begun", flush=True)
    while True:
        try:
            pause(60)
        except Stopped:
            pass
"""
"""A module of the source folder. `gate`: a file; `hold` runs until it is there."""

SHELL = {
    "greet": "echo hello; echo '{{\"rows\": 3}}' > {result}",
    "fail": "echo no luck; exit 7",
    "succeed_at_last": "[ $HALFSTEP_ATTEMPT -ge 3 ] || exit 7; echo $HALFSTEP_ATTEMPT > {result}",
    "talk": "for n in $(seq 0 499); do echo line $n; done",
    "build": "(printf '[\"'; head -c {size} /dev/zero | tr '\\0' x; printf '\"]') > {result}",
    "hold": "trap 'echo told; exit 3' TERM; echo begun; while [ ! -e {gate} ]; do sleep 0.1; done; "
    "echo done; echo '\"done\"' > {result}",
    "be_stubborn": "trap '' TERM; echo begun; sleep 600",
}
"""The same as programs that know nothing of halfstep."""

POD_GATE = "/tmp/go"
SHORT_LEASE: dict[str, Any] = {"slots": 100, "lease_seconds": 3.0, "renew_seconds": 0.5}


@dataclass(frozen=True)
class Ground:
    """What a test stands on."""

    url: str
    database: Database
    cluster: Cluster
    folder: Path


class Executor(Protocol):
    """A process that takes tasks: a worker or a launcher."""

    def kill(self) -> None: ...

    def stop(self, *, seconds: float = 30) -> int: ...


class QuickLauncher(LauncherProcess):
    """A launcher with a lease of 3 s."""

    def __init__(self, url: str, clusters: Path, log: Path, name: str) -> None:
        self.name, self.log = name, log
        given = SHORT_LEASE | {"database_url": url, "clusters": str(clusters), "name": name}
        environment = {"HALFSTEP_TEST_SETTINGS": json.dumps(given), "PYTHONPATH": os.pathsep.join(sys.path)}
        script = str(Path(__file__).parents[1] / "run_launcher.py")
        with log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, script], env=os.environ | environment, stdout=out, stderr=out)


def write_clusters(file: Path, **clusters: dict[str, Any]) -> Path:
    """A clusters file. JSON is YAML."""
    file.write_text(json.dumps(clusters))
    return file


class Workers:
    """Children of a worker."""

    name = "worker"
    keeps_attempts = False
    """Whether a task that has begun goes on when its executor is lost or leaves."""
    largest = 200_000
    """Bytes of a result, about."""
    failure = "exception"
    told: ClassVar[dict[str, str]] = {"cancelled": "told cancelled", "timeout": "told timeout"}
    timeout = 1
    """Seconds in which a body has certainly begun."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._source = ground.folder / "source"
        self._source.mkdir()
        (self._source / "jobs.py").write_text(JOBS)
        self._gate = ground.folder / "go"
        self.started: list[WorkerProcess] = []

    def start(self, name: str = "first") -> Executor:
        """A worker with a lease of 2 s."""
        log = self._ground.folder / f"{name}.log"
        self.started.append(WorkerProcess(self._ground.url, self._source, log, name=name, stop_grace=2.0))
        return self.started[-1]

    def enqueue(self, body: str, *, size: int | None = None, **options: Any) -> int:
        """A task that does what the body of that name is to do."""
        kwargs = {"gate": str(self._gate)} | ({} if size is None else {"size": size})
        return enqueue(self._ground.database, "python", {"function": f"jobs:{body}", "kwargs": kwargs}, **options)

    def open_gate(self, task: int) -> None:
        """Bodies that hold go on."""
        self._gate.touch()

    def wait_for_end_alone(self, task: int) -> None:
        """Without its worker no body runs."""

    @contextmanager
    def starts_held(self, moment: str) -> Iterator[None]:
        """Meanwhile tasks are claimed and begin nowhere: the zygote and its children are frozen."""
        zygote = wait_until(lambda: _children(self.started[0].process.pid), what="the zygote")[0]
        frozen = [zygote, *wait_until(lambda: _children(zygote), what="the children")]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in frozen:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def held(self) -> int:
        """Tasks that stand where `starts_held` stops them."""
        running = self._ground.database.execute("SELECT count(*) AS n FROM halfstep.task WHERE state = 'running'")
        return int(running[0]["n"])

    def wait_for_cancel(self, task: int) -> None:
        """The worker has heard of it, and it was told after the others: what was not begun is taken back at once."""
        states = Reports(self._ground.database).states
        wait_until(lambda: states([task])[task] == "cancelled", what="the end of what was not begun")

    def has_left_nothing(self) -> bool:
        """No more is to be asked here: children are reaped with their worker."""
        return True

    def close(self) -> None:
        """Kills what still runs."""
        for worker in self.started:
            if worker.process.poll() is None:
                worker.kill()


class OperatorPods:
    """The same operator as on a worker, alone in a pod of the runtime's image."""

    name = "pod"
    keeps_attempts = True
    largest = 200_000
    failure = "exception"
    told: ClassVar[dict[str, str]] = {"cancelled": "told stopped", "timeout": "told timeout"}
    """SIGTERM carries no reason; that the time is over, a body knows by itself."""
    timeout = 5

    def __init__(self, ground: Ground, namespace: str) -> None:
        self._ground, self._namespace = ground, namespace
        self._core: Any = ground.cluster.core
        self._gateway = Gateway(ground.cluster)
        self.started: list[LauncherProcess] = []
        self._clusters = self._write_clusters()
        source: Any = {"metadata": {"name": "source"}, "data": {"jobs.py": JOBS}}
        self._core.create_namespaced_config_map(namespace, source)

    def _write_clusters(self) -> Path:
        kubeconfig = self._gateway.kubeconfig(self._ground.folder / "kubeconfig")
        pods = {"image": RUNTIME, "image_pull_policy": "IfNotPresent", "source": "/source"}
        volume = {"source_volume": {"configMap": {"name": "source"}}}
        one = {"kubeconfig": str(kubeconfig), "namespace": self._namespace, "pods": pods | volume}
        return write_clusters(self._ground.folder / "clusters.yaml", default=one)

    def start(self, name: str = "first") -> Executor:
        """A launcher with a lease of 3 s."""
        log = self._ground.folder / f"{name}.log"
        self.started.append(QuickLauncher(self._ground.url, self._clusters, log, name))
        return self.started[-1]

    def enqueue(self, body: str, *, size: int | None = None, **options: Any) -> int:
        """A task that does what the body of that name is to do."""
        operator, args = self._written(body, size)
        return enqueue(self._ground.database, operator, args, placement="pod", **options)

    def _written(self, body: str, size: int | None) -> tuple[str, dict[str, Any]]:
        kwargs = {"gate": POD_GATE} | ({} if size is None else {"size": size})
        return "python", {"function": f"jobs:{body}", "kwargs": kwargs, "pod": {"grace_seconds": 2}}

    def open_gate(self, task: int) -> None:
        """Bodies of that task that hold go on."""
        call, name = self._core.connect_get_namespaced_pod_exec, self._pod_of(task).metadata.name
        words = ["sh", "-c", f": > {POD_GATE}"]
        stream(call, name, self._namespace, command=words, container="main", stdout=True, stderr=True)

    def wait_for_end_alone(self, task: int) -> None:
        """The pod of that task has ended although no launcher was there."""
        wait_until(lambda: has_ended(self._pod_of(task)), seconds=30, what="the pod's end")

    def _pod_of(self, task: int) -> Any:
        (pod,) = self._core.list_namespaced_pod(self._namespace, label_selector=f"halfstep.io/task={task}").items
        return pod

    @contextmanager
    def starts_held(self, moment: str) -> Iterator[None]:
        """Meanwhile create calls have no end. moment: `asked` (the API server has not heard of it) or `answered`."""
        gate: threading.Event = getattr(self._gateway, moment)
        gate.clear()
        try:
            yield
        finally:
            gate.set()

    def held(self) -> int:
        """Create calls that have come to the gate."""
        return self._gateway.waited

    def wait_for_cancel(self, task: int) -> None:
        """The launcher has heard of it: what was enqueued after it stands at the gate too."""
        before = self.held()
        self.enqueue("greet")
        wait_until(lambda: self.held() > before, seconds=30, what="the next create call at the gate")

    def has_left_nothing(self) -> bool:
        """Neither a pod nor what it read."""
        maps = [one.metadata.name for one in self._core.list_namespaced_config_map(self._namespace).items]
        pods = self._core.list_namespaced_pod(self._namespace).items
        return not pods and not [name for name in maps if name.startswith("hs-")]

    def close(self) -> None:
        """Kills what still runs."""
        for launcher in self.started:
            if launcher.process.poll() is None:
                launcher.kill()
        self._gateway.close()


class Programs(OperatorPods):
    """Operator `pod`: a program that knows nothing of halfstep, in an image without it."""

    name = "program"
    largest = 3_000
    failure = "exit"
    told: ClassVar[dict[str, str]] = {"cancelled": "told", "timeout": "told"}
    timeout = 2

    def _written(self, body: str, size: int | None) -> tuple[str, dict[str, Any]]:
        command = SHELL[body].format(gate=POD_GATE, size=size, result="/dev/termination-log")
        shell = {"command": ["sh", "-c", command], "grace_seconds": 2}
        return "pod", shell | {"image": TOOLS, "image_pull_policy": "IfNotPresent"}


Placement = Workers | OperatorPods


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
