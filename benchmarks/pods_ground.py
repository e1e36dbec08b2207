"""What a measurement of pods stands on: a cluster, a namespace of its own, a database, launchers; all gone when it ends.

    with ground(url) as here:                     # here.cluster, here.namespace, here.database, here.reports
        here.launcher("first")                    # `halfstep worker --placement pod`, killed at the end if it still runs
        task = enqueue(here.database, "pod", shell("exit 7"), placement="pod")
        wait_until(lambda: here.reports.states([task])[task] == "failed", seconds=60, what="the end of the task")

The cluster is that of KUBECONFIG. `join_cluster` is called by `benchmarks.bars` before anything is measured in the room pods:
without KUBECONFIG it starts the harness's own cluster if there is none, and runs the program again beside it, in its network.
A database at a TCP address of this machine can't be reached from there; the embedded one, by its socket, can.
The folder tests/ has to be on PYTHONPATH (`make bars` puts it there).
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kubernetes.client import V1Namespace, V1ObjectMeta
from kubernetes.client.exceptions import ApiException

from cluster.harness import stage
from cluster.harness.commands import ClusterError
from cluster.harness.extras import EXTRAS
from cluster.harness.paths import ENTER
from cluster.kube import RESTRICTED, RUNTIME, TOOLS, Cluster, connect
from cluster.launchers import LauncherProcess
from halfstep.database import Database
from halfstep.errors import HalfstepError
from halfstep.reports import Reports

T = TypeVar("T")


class NoCluster(HalfstepError):
    """There is no cluster to measure on."""


def join_cluster(extras: Sequence[str] = ("--kwok",)) -> None:
    """Returns at once where KUBECONFIG is set. Otherwise this program starts anew beside our own cluster. Raises NoCluster.

    extras: of the harness (`cluster.harness.extras`), started with it; they stay if it runs already.
    """
    if os.environ.get("KUBECONFIG"):
        return
    try:
        with redirect_stdout(sys.stderr):  # standard output is the bars'
            stage.up([EXTRAS[extra] for extra in extras])
    except ClusterError as error:
        raise NoCluster(str(error)) from None
    sys.stdout.flush()
    os.execv(ENTER, [str(ENTER), sys.executable, *sys.orig_argv[1:]])


@dataclass(frozen=True, slots=True)
class Ground:
    """One measurement's. folder: for logs of launchers and files of configuration, removed at the end."""

    url: str = field(repr=False)
    cluster: Cluster
    namespace: str
    folder: Path
    database: Database
    """For the measuring thread alone."""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Killed at the end; add to it what else has to be."""

    @property
    def reports(self) -> Reports:
        """What SQL says, read over `database`."""
        return Reports(self.database)

    def clusters_file(self, more: str = "") -> Path:
        """For `--clusters`: this cluster and namespace by the name default. more: further lines of YAML, indented by 2."""
        path = self.folder / "clusters.yaml"
        image = f"  pods:\n    image: {RUNTIME}\n    image_pull_policy: IfNotPresent\n"
        path.write_text(
            f"default:\n  kubeconfig: {self.cluster.kubeconfig.resolve()}\n  namespace: {self.namespace}\n{image}{more}"
        )
        return path

    def launcher(self, name: str, **options: Any) -> LauncherProcess:
        """A launcher of this namespace; options: those of `LauncherProcess`. Its output: `folder/NAME.log`."""
        launcher = LauncherProcess(self.url, self.clusters_file(), self.folder / f"{name}.log", name, **options)
        self.started.append(launcher.process)
        return launcher

    def pods(self) -> list[Any]:
        """The namespace's pods as they are now."""
        return list(self.cluster.core.list_namespaced_pod(self.namespace).items)

    def end_launchers(self) -> None:
        """SIGKILL for all that still run; twice is fine."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait(timeout=10)


@contextmanager
def ground(url: str) -> Iterator[Ground]:
    """url: of a migrated database. A namespace under restricted security; at the end launchers and the namespace go."""
    cluster = _connected()
    with tempfile.TemporaryDirectory(prefix="halfstep-bars-") as folder, closing(Database(url)) as database:
        here = Ground(url, cluster, _new_namespace(cluster), Path(folder), database)
        try:
            yield here
        finally:
            here.end_launchers()
            _remove_namespace(cluster, here.namespace)


def shell(script: str, **args: Any) -> dict[str, Any]:
    """Args of operator `pod`: a shell script in the small test image. Further args are the operator's."""
    small = {"image": TOOLS, "image_pull_policy": "IfNotPresent", "grace_seconds": 1}
    return small | {"command": ["sh", "-c", script]} | args


def wait_until(condition: Callable[[], T], *, seconds: float, what: str, every: float = 0.1) -> T:
    """The first true value of `condition`. HalfstepError after `seconds`: the bar is short then."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise HalfstepError(f"Waited {seconds:.0f} s for {what}.")
        pause(every)
    return value


def pause(seconds: float) -> None:
    """Lets time pass."""
    threading.Event().wait(seconds)


def size(name: str, default: int, environ: Mapping[str, str] = os.environ) -> int:
    """How much to measure: the promised size, or a smaller one from the environment, for whoever develops a measurement."""
    return int(environ.get(f"HALFSTEP_BARS_{name}") or default)


def _connected() -> Cluster:
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig:
        raise NoCluster("There is no cluster to measure on; `make bars ROOM=pods` starts one, or takes that of KUBECONFIG.")
    try:
        cluster = connect(kubeconfig)
        cluster.core.get_api_resources(_request_timeout=5)
    except Exception as error:  # whatever it is, it is the one line that the reader needs
        raise NoCluster(f"The cluster of KUBECONFIG={kubeconfig} does not answer: {type(error).__name__}.") from error
    return cluster


def _new_namespace(cluster: Cluster) -> str:
    name = f"halfstep-bars-{secrets.token_hex(4)}"
    cluster.core.create_namespace(V1Namespace(metadata=V1ObjectMeta(name=name, labels=RESTRICTED)))
    # Admission refuses pods before their service account exists.
    wait_until(lambda: _has_default_account(cluster, name), seconds=30, what="the default service account")
    return name


def _has_default_account(cluster: Cluster, namespace: str) -> bool:
    try:
        return bool(cluster.core.read_namespaced_service_account("default", namespace))
    except ApiException as error:
        if error.status == 404:
            return False
        raise


def _remove_namespace(cluster: Cluster, name: str) -> None:
    """No launcher is left to take the finalizers off, so they go from here, until the namespace is gone."""
    cluster.core.delete_namespace(name)
    with suppress(HalfstepError):  # it goes later
        wait_until(lambda: _is_gone(cluster, name), seconds=120, what="the namespace's removal", every=0.5)


def _is_gone(cluster: Cluster, namespace: str) -> bool:
    for pod in cluster.core.list_namespaced_pod(namespace).items:
        meta: Any = pod.metadata
        if meta.finalizers:
            with suppress(ApiException):
                cluster.core.patch_namespaced_pod(meta.name, namespace, {"metadata": {"finalizers": None}})
    try:
        cluster.core.read_namespace(namespace)
    except ApiException as error:
        return bool(error.status == 404)
    return False
