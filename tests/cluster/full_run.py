"""An installation from end to end: tasks come in by SQL, workers appear, everything is done, workers are gone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from kubernetes.client import CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

from cluster.installation import NONE, SCALED, SYSTEM, TASKS, Installation
from cluster.kube import TOOLS, Cluster
from cluster.launchers import Witness
from waiting import wait_until

WORKERS, LAUNCHERS = SCALED
BODIES, PODS, PODS_WITH_BODIES = 200, 16, 4
ALL = BODIES + PODS + PODS_WITH_BODIES
DONE_SECONDS, GONE_SECONDS = 150, 90

SMALL = {"requests": {"cpu": "10m", "memory": "16Mi"}}
BASH = {"command": "sleep 1; echo done"}
POD = {"image": TOOLS, "image_pull_policy": "IfNotPresent", "command": ["sh", "-c", "sleep 1; echo done"], "resources": SMALL}
BASH_IN_A_POD = {"command": "echo done", "pod": {"resources": {"requests": {"cpu": "20m", "memory": "128Mi"}}}}

ENQUEUE = """
SELECT halfstep.enqueue('bash', %(bash)s) FROM generate_series(1, %(bodies)s);
SELECT halfstep.enqueue('pod', %(pod)s, placement => 'pod') FROM generate_series(1, %(pods)s);
SELECT halfstep.enqueue('bash', %(both)s, placement => 'pod') FROM generate_series(1, %(pods_with_bodies)s);
"""


class Replicas:
    """Every change of `spec.replicas`, from a watch, with the time (of time.time()) when it was seen here."""

    def __init__(self, cluster: Cluster) -> None:
        self.seen: list[tuple[float, str, int]] = []
        self._api = CustomObjectsApi(cluster.api)  # its answers are plain JSON: making models takes longer than KEDA does
        found: Any = self._list()
        self._version = found["metadata"]["resourceVersion"]
        self._last = {each["metadata"]["name"]: each["spec"]["replicas"] for each in found["items"]}
        self._stopped = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def since(self, moment: float, name: str) -> list[tuple[float, int]]:
        """Changes after `moment`: seconds after it, and the number."""
        return [(at - moment, number) for at, which, number in self.seen if which == name and at > moment]

    def now(self, name: str) -> int:
        """The number that was seen last."""
        return int(self._last[name])

    def reached(self, number: int, name: str, *, since: float) -> float | None:
        """Seconds from `since` until it was first so many or more; None: not yet."""
        return next((at for at, seen in self.since(since, name) if seen >= number), None)

    def stop(self) -> None:
        """The thread ends with its stream; it is a daemon."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            with suppress(ApiException, HTTPError):
                self._follow()

    def _list(self, **options: Any) -> Any:
        return self._api.list_namespaced_custom_object("apps", "v1", SYSTEM, "deployments", **options)

    def _follow(self) -> None:
        stream = Watch().stream(self._list, resource_version=self._version, timeout_seconds=60)
        for event in stream:
            found: Any = event["object"]
            name, number = found["metadata"]["name"], found["spec"]["replicas"]
            self._version = found["metadata"]["resourceVersion"]
            if self._last.get(name) != number:
                self._last[name] = number
                self.seen.append((time.time(), name, number))


@dataclass(slots=True)
class FullRun:
    """Of one installation that stands at zero. Times: seconds after the COMMIT."""

    here: Installation
    replicas: Replicas
    witness: Witness
    committed_at: float = 0.0
    done_after: float = 0.0
    gone_after: float = 0.0
    pod_restarts: dict[str, int] = field(default_factory=dict)

    def enqueue(self, more: str = "") -> None:
        """All in one transaction; `more`: further SQL in it."""
        values = {"bash": json.dumps(BASH), "pod": json.dumps(POD), "both": json.dumps(BASH_IN_A_POD)}
        counts = {"bodies": BODIES, "pods": PODS, "pods_with_bodies": PODS_WITH_BODIES}
        self.committed_at = self.commit(ENQUEUE + more, values | counts)

    def wait_for_the_end(self, *, tasks: int = ALL) -> None:
        """Until so many tasks are over, and then until KEDA has taken everything away."""
        over = "SELECT count(*) FROM halfstep.history"
        wait_until(lambda: self.one(over) == tasks, seconds=DONE_SECONDS, what=f"the end of {tasks} tasks")
        self.done_after = time.time() - self.committed_at
        for pod in self.here.pods(*SCALED):
            self.pod_restarts[pod.metadata.name] = sum(each.restart_count for each in pod.status.container_statuses or ())
        self.here.wait_for_replicas(NONE, seconds=GONE_SECONDS)
        self.gone_after = time.time() - self.committed_at

    def commit(self, query: str, values: Mapping[str, Any] | None = None) -> float:
        """Changes something; when COMMIT was sent, by time.time()."""
        with closing(self.here.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            sent = time.time()
            connection.commit()
        return sent

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database answers."""
        with closing(self.here.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def one(self, query: str) -> Any:
        """The only value of an answer."""
        ((value,),) = self.rows(query)
        return value

    def first_after(self, name: str) -> float:
        """When it was first wanted."""
        return self.replicas.since(self.committed_at, name)[0][0]

    def most(self, name: str) -> tuple[float, int]:
        """The highest number of replicas, and when it was first wanted."""
        most = max(number for _, number in self.replicas.since(self.committed_at, name))
        return next((at, number) for at, number in self.replicas.since(self.committed_at, name) if number == most)


@contextmanager
def watched(here: Installation) -> Iterator[FullRun]:
    """Watches from before the first task on, so that nothing is missed."""
    run = FullRun(here, Replicas(here.cluster), Witness(here.cluster, TASKS))
    try:
        yield run
    finally:
        run.replicas.stop()
        run.witness.stop()
