"""Halfstep as a user installs it: an overlay of ours with one on top of it for the tests' cluster, applied in one go by kubectl.

    with installed(cluster, tmp_path) as here:          # an overlay rendered into tmp_path; everything is gone at the end
        with closing(here.connect()) as connection: ...  # psycopg, to the demo's PostgreSQL
        here.wait_for_replicas({"halfstep-worker": 0, "halfstep-launcher": 0}, seconds=60)

There is one installation at a time in a cluster: its namespaces have their fixed names. Tests of other processes wait.
"""

from __future__ import annotations

import base64
import fcntl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import yaml
from kubernetes.client import AppsV1Api
from kubernetes.client.exceptions import ApiException
from sqlalchemy.engine import URL, make_url

from cluster.kube import RUNTIME, Cluster
from cluster.manifest_ground import kubectl, record
from kustomize import MANIFESTS, Object, kustomization, one, render_with
from waiting import wait_until

SYSTEM, TASKS = "halfstep", "halfstep-tasks"
SCALED = ("halfstep-worker", "halfstep-launcher")
NONE = dict.fromkeys(SCALED, 0)
SETTINGS = {"polling-interval": "5", "cooldown": "10"}
"""Of the demo's all else is left as it is, so that it is the demo that is tested."""
DATABASE = "localhost/postgres:test"
DATABASE_SECRET = "halfstep-database"
START_SECONDS = 240
END_SECONDS = 150
MIGRATED = ("wait", "--for=condition=Complete", "job/halfstep-migrate")
SCALED_OBJECTS = ("wait", "--for=condition=Ready", "scaledobject", "--all")
STARTED = (("rollout", "status", "deployment/halfstep-scaler"), SCALED_OBJECTS)
EXTRA = "extra.yaml"


@dataclass(frozen=True, slots=True)
class Installation:
    """One that is there. objects: as they were applied."""

    cluster: Cluster
    objects: Sequence[Object]
    url: URL = field(repr=False)
    """Of the demo's database, by an address that can be reached from here; as a string: `here.dsn`."""

    @property
    def dsn(self) -> str:
        """The URL with its password."""
        return self.url.render_as_string(hide_password=False)

    def connect(self) -> Any:
        """A connection of psycopg2. The server may have been started a moment ago, so it is asked until it answers."""
        return wait_until(self._connection, seconds=30, what="the demo's PostgreSQL")

    def replicas(self) -> dict[str, int]:
        """`spec.replicas` of what KEDA scales."""
        found: Any = AppsV1Api(self.cluster.api).list_namespaced_deployment(SYSTEM).items
        return {each.metadata.name: each.spec.replicas for each in found if each.metadata.name in SCALED}

    def wait_for_replicas(self, wanted: Mapping[str, int], *, seconds: float) -> None:
        """Until KEDA has made exactly these numbers of it, and no other pods of theirs are left."""
        wait_until(lambda: self.replicas() == dict(wanted), seconds=seconds, what=f"replicas {dict(wanted)}")
        count = sum(wanted.values())
        wait_until(lambda: len(self.pods(*SCALED)) == count, seconds=seconds, what=f"{count} pods of workers and launchers")

    def pods(self, *deployments: str) -> list[Any]:
        """Pods of these Deployments that have not ended; those that are being deleted count."""
        parts = ", ".join(name.removeprefix("halfstep-") for name in deployments)
        selector = f"app.kubernetes.io/name=halfstep, app.kubernetes.io/component in ({parts})"
        found: Any = self.cluster.core.list_namespaced_pod(SYSTEM, label_selector=selector).items
        return [pod for pod in found if pod.status.phase not in ("Succeeded", "Failed")]

    def _connection(self) -> Any:
        with suppress(psycopg2.OperationalError):
            return psycopg2.connect(self.dsn, connect_timeout=3)
        return None


@contextmanager
def installed(
    cluster: Cluster,
    folder: Path,
    *,
    components: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    patches: Sequence[Object] = (),
    extra: Sequence[Object] = (),
) -> Iterator[Installation]:
    """The demo, ready and at zero replicas. folder: gets the overlay. AssertionError if it does not come up."""
    objects = write_overlay(folder, components=components, settings=settings or {}, patches=patches, extra=extra)
    with applied(cluster, folder, objects) as here:
        wait_until_ready()
        here.wait_for_replicas(NONE, seconds=60)
        yield here


@contextmanager
def applied(cluster: Cluster, folder: Path, objects: Sequence[Object]) -> Iterator[Installation]:
    """Any overlay that brings the demo's PostgreSQL along; nobody has waited for anything of it. objects: what is in `folder`."""
    with ExitStack() as stack:
        stack.enter_context(alone())
        stack.callback(remove, cluster, objects)
        remove(cluster, objects)  # of a run that was killed
        answer = kubectl("apply", "--kustomize", str(folder))
        assert answer.code == 0, answer.err
        yield Installation(cluster, objects, database_of(cluster, objects))


def write_overlay(
    folder: Path,
    *,
    components: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    patches: Sequence[Object] = (),
    extra: Sequence[Object] = (),
) -> list[Object]:
    """An overlay as a user writes one, with our images, a shorter cooldown and `extra` objects; what kustomize makes of it."""
    name, _, tag = RUNTIME.rpartition(":")
    database, _, version = DATABASE.rpartition(":")
    images = [
        {"name": "halfstep", "newName": name, "newTag": tag},
        {"name": "postgres", "newName": database, "newTag": version},
    ]
    values = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": SYSTEM}}
    changed = [{"patch": _yaml(values | {"data": SETTINGS | dict(settings or {})})}, *patches]
    overlay = kustomization(MANIFESTS / "overlays" / "demo", components=components, images=images, patches=changed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EXTRA).write_text(yaml.safe_dump_all(extra))
    overlay["resources"] += [EXTRA] if extra else []
    return render_with(folder, overlay)


def wait_until_ready(steps: Sequence[Sequence[str]] = (MIGRATED, *STARTED)) -> None:
    """As the tutorial waits; or through other steps, each the words of a kubectl that waits."""
    deadline = time.monotonic() + START_SECONDS
    for words in steps:
        left = max(1, int(deadline - time.monotonic()))
        answer = kubectl("--namespace", SYSTEM, *words, f"--timeout={left}s", seconds=START_SECONDS + 10)
        assert answer.code == 0, answer.err + why_not()


def why_not() -> str:
    """What the cluster knows of an installation that does not come up."""
    pods = kubectl("--namespace", SYSTEM, "get", "pods,scaledobjects,hpa")
    log = kubectl("--namespace", SYSTEM, "logs", "deployment/halfstep-scaler", "--tail=20")
    return f"\n{pods.out}\n{log.out}{log.err}"


def database_of(cluster: Cluster, objects: Sequence[Object]) -> URL:
    """The URL in the Secret, with the Service's address: names of Services are not known outside pods."""
    secret = one(objects, "Secret", DATABASE_SECRET)
    url = make_url(base64.b64decode(secret["data"]["url"]).decode())
    name = str(url.host).partition(".")[0]
    service: Any = cluster.core.read_namespaced_service(name, SYSTEM)
    return url.set(host=service.spec.cluster_ip)


@contextmanager
def alone() -> Iterator[None]:
    """No other test has anything in our namespaces meanwhile: waits for those that have."""
    with record("Namespace").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove(cluster: Cluster, objects: Sequence[Object]) -> None:
    """Everything that was applied, and what came of it. The launchers go first, so their finalizers are taken off from here."""
    answer = kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", given=objects)
    assert answer.code == 0 or "no matches for kind" in answer.err, answer.err
    wait_until(lambda: _is_gone(cluster), seconds=END_SECONDS, what="the installation's removal")


def _is_gone(cluster: Cluster) -> bool:
    pods: Any = cluster.core.list_namespaced_pod(TASKS).items
    for pod in pods:
        if pod.metadata.finalizers:
            with suppress(ApiException):
                cluster.core.patch_namespaced_pod(pod.metadata.name, TASKS, {"metadata": {"finalizers": None}})
    namespaces: Any = cluster.core.list_namespace().items
    names = {each.metadata.name for each in namespaces}
    return not {SYSTEM, TASKS} & names


def _yaml(value: Object) -> str:
    return str(yaml.safe_dump(value))
