"""`worker`: settings from flags and the environment, signals, and the worker itself."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from halfstep.errors import InvalidSettings
from halfstep_cli.logged import log_to_stderr
from halfstep_cli.options import add
from halfstep_cli.session import Session

if TYPE_CHECKING:
    from halfstep_worker.children import Account
    from halfstep_worker.kubernetes.launcher import Launcher
    from halfstep_worker.settings import WorkerSettings
    from halfstep_worker.worker import Worker

MIB = 1024 * 1024
PODS = 2000
"""How many pods a launcher keeps, unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the worker serves, and how much of it."""

    queues: Annotated[
        str | None, typer.Option(metavar="A,B", envvar="HALFSTEP_QUEUES", help="Queues to serve. Default: all (*).")
    ] = None
    slots: Annotated[
        int | None,
        typer.Option(
            metavar="N", envvar="HALFSTEP_SLOTS", min=1, max=20_000, help="Bodies at once (2), or a launcher's pods (2000)."
        ),
    ] = None
    grace: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", envvar="HALFSTEP_GRACE", min=0, help="How long bodies run on after TERM. Default: 5."),
    ] = None
    linger: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", envvar="HALFSTEP_LINGER", min=0, help="Stay so long after a drain by SQL. Default: 0."),
    ] = None
    patience: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", envvar="HALFSTEP_PATIENCE", min=0, help="Wait so long for the database at the start. Default: 60."
        ),
    ] = None
    memory_per_slot: Annotated[
        int | None,
        typer.Option(
            metavar="MIB",
            envvar="HALFSTEP_MEMORY_PER_SLOT",
            min=16,
            help="Memory of a body. Default: its share of the container's.",
        ),
    ] = None
    name: Annotated[str | None, typer.Option(metavar="NAME", envvar="HALFSTEP_NAME", help="Default: HOST-PID.")] = None
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", envvar="HALFSTEP_METRICS", help="Serve /metrics and probes there.")
    ] = None
    notify: Annotated[
        bool, typer.Option("--notify/--no-notify", envvar="HALFSTEP_NOTIFY", help="Listen for hints, besides polling.")
    ] = True


@dataclass(frozen=True, slots=True)
class Code:
    """What the bodies may run and reach. Lists in the environment are separated by commas or spaces."""

    source: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="HALFSTEP_SOURCE", help="Folder of your scripts and modules.")
    ] = None
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", envvar="HALFSTEP_IMPORT", help="Module with @task functions. Repeatable."),
    ] = None
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", envvar="HALFSTEP_ALLOW", help="Its functions need no @task. Repeatable."),
    ] = None
    connections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", envvar="HALFSTEP_CONNECTIONS", help="YAML of name: url, besides HALFSTEP_CONNECTION_<NAME>=url."
        ),
    ] = None
    isolation: Annotated[
        str,
        typer.Option(
            metavar="shared|fresh", envvar="HALFSTEP_ISOLATION", help="Processes are used again, or each body gets a new one."
        ),
    ] = "shared"
    child_tasks: Annotated[
        int | None,
        typer.Option(
            metavar="N", envvar="HALFSTEP_CHILD_TASKS", min=1, help="Bodies after which a process is replaced. Default: 10000."
        ),
    ] = None
    run_as: Annotated[
        str | None,
        typer.Option(metavar="USER", envvar="HALFSTEP_RUN_AS", help="Bodies run as this user. Needs root."),
    ] = None
    http_allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", envvar="HALFSTEP_HTTP_ALLOW", help="Host or network that http may call though refused by default."
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Pods:
    """What a launcher needs: a worker that keeps pods instead of children."""

    placement: Annotated[
        str, typer.Option(metavar="worker|pod", envvar="HALFSTEP_PLACEMENT", help="Which tasks: run bodies, or launch pods.")
    ] = "worker"
    cluster: Annotated[
        str, typer.Option(metavar="NAME", envvar="HALFSTEP_CLUSTER", help="A launcher's cluster. Default: default.")
    ] = ""
    clusters: Annotated[
        Path | None, typer.Option(metavar="FILE", envvar="HALFSTEP_CLUSTERS", help="YAML of clusters, by name.")
    ] = None
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", envvar="HALFSTEP_POLICY", help="YAML of what tasks may ask for.")
    ] = None


def worker(session: Session, served: Served, code: Code, pods: Pods) -> int:
    """Run tasks until a signal comes.

    A task's placement says who runs it. A worker (--placement worker) runs bodies in processes of its own, and
    knows nothing of Kubernetes. A launcher (--placement pod) makes one pod for each pod task of one cluster, and
    runs no body itself. Start one of each for both kinds. A task waits until somebody serves its queue and,
    if it is a pod task, its cluster: see halfstep workers.

    A launcher finds its cluster by name in --clusters; without that file it is the one of KUBECONFIG. What tasks
    may ask for there, --policy says; without one they get any image, but no Secret, no service account, no root
    and nothing of the node's. The files look like this:

    \b
      clusters.yaml   default: {in_cluster: true, namespace: tasks}
                      gpu: {kubeconfig: gpu.yaml, pods: {image: "ours:12"}}
      policy.yaml     images: ["registry.example.com/team/*"]
                      secrets: [report-*]

    The first TERM or INT drains: nothing more is claimed, what has not started is handed back, what runs may
    end within the grace. The second stops what still runs; it is released, and runs again elsewhere.
    A launcher hands its pods over to another one instead; they run on.
    """
    log_to_stderr()
    running = _launcher(session, served, code, pods) if pods.placement == "pod" else _worker(session, served, code, pods)
    _obey_signals(running)
    return running.run()


def _worker(session: Session, served: Served, code: Code, pods: Pods) -> Worker:
    if pods.placement != "worker":
        raise InvalidSettings(f"--placement is worker or pod, not '{pods.placement}'.")
    from halfstep_worker.worker import Worker

    return Worker(_settings(session, served, code))


def _launcher(session: Session, served: Served, code: Code, pods: Pods) -> Launcher:
    from halfstep_worker.kubernetes.clusters import cluster_of, read_clusters
    from halfstep_worker.kubernetes.cockpit import Cockpit
    from halfstep_worker.kubernetes.launcher import Launcher
    from halfstep_worker.kubernetes.policy import read_policy

    cluster = cluster_of(read_clusters(pods.clusters, session.environment), pods.cluster)
    settings = replace(
        _settings(session, served, code), placement="pod", cluster=cluster.name, slots=served.slots or PODS
    )  # fmt: skip
    return Launcher(settings, Cockpit(settings, cluster, read_policy(pods.policy)))


def _settings(session: Session, served: Served, code: Code) -> WorkerSettings:
    from halfstep_worker.settings import WorkerSettings

    chosen = {
        "queues": _queues(served.queues),
        "grace": served.grace,
        "linger": served.linger,
        "patience": served.patience,
        "memory_bytes": served.memory_per_slot and served.memory_per_slot * MIB,
        "name": served.name,
        "metrics": served.metrics or None,
        "source": _folder(code.source),
        "child_tasks": code.child_tasks,
        "run_as": _account(code.run_as),
    }
    return WorkerSettings(
        database_url=session.url,
        listen_url=session.direct_url,
        slots=served.slots or 2,
        notify=served.notify,
        imports=words(code.imports),
        allow=words(code.allow),
        http_allow=words(code.http_allow),
        connections=_connections(session, code.connections),
        isolation=_isolation(code.isolation),
        **{name: value for name, value in chosen.items() if value is not None},  # type: ignore[arg-type]
    )


def _isolation(word: str) -> str:
    if word not in ("shared", "fresh"):
        raise InvalidSettings(f"--isolation is shared or fresh, not '{word}'.")
    return word


def _account(name: str | None) -> Account | None:
    from halfstep_worker.accounts import account_of

    return account_of(name) if name else None


def words(values: Sequence[str] | None) -> list[str]:
    """Names that may each hold several, separated by commas or spaces."""
    return [word for value in values or () for word in re.split(r"[,\s]+", value) if word]


def _queues(text: str | None) -> list[str] | None:
    from halfstep.names import check_queue_name

    names = words([text]) if text is not None else []
    if names == ["*"]:
        return None
    for name in names:
        check_queue_name(name)
    return names or None


def _folder(source: Path | None) -> Path | None:
    if source is not None and not source.is_dir():
        raise InvalidSettings(f"The source folder {source} does not exist or is no folder.")
    return source.resolve() if source else None


def _connections(session: Session, file: Path | None) -> dict[str, str]:
    from halfstep_worker.connections import load_connections

    return {name: connection.url for name, connection in load_connections(session.environment, file).items()}


def _obey_signals(running: Worker | Launcher) -> None:
    """The handler only sets flags; the worker's loop acts."""
    heard = 0

    def obey(_number: int, _frame: FrameType | None) -> None:
        nonlocal heard
        heard += 1
        running.drain() if heard == 1 else running.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, obey)


def register(app: typer.Typer) -> None:
    """worker."""
    examples = (
        "halfstep worker --queues etl,mail --slots 4",
        "halfstep worker --source ./tasks --import shop.orders --allow pandas",
        "halfstep worker --placement pod --clusters clusters.yaml --policy policy.yaml",
    )
    add(app, "worker", worker, examples=examples)
