"""What `halfstep uninstall` finds and does: living workers, pods in clusters, the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from halfstep.administration import Administration
from halfstep.database import Database
from halfstep.pods import PodBook
from halfstep.queue import Queue
from halfstep.reports import Reports
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.clusters import DEFAULT, Cluster, cluster_of, read_clusters
from halfstep_worker.kubernetes.farewell import Farewell, Remaining

SILENT_LEASES = 3
"""A worker that has not renewed its lease for so many of them is taken for gone: nobody may be left to mark it dead."""


@dataclass(frozen=True, slots=True)
class Left:
    """A pod that is left alone, although it looks like one of ours. held: our finalizer keeps its object. why: a sentence."""

    name: str
    uid: str
    held: bool
    why: str


@dataclass(slots=True)
class Place:
    """A namespace of a cluster. strangers: pods that are left alone. error: why it could not be looked at or cleaned up."""

    cluster: Cluster
    namespace: str
    pods: list[Remaining] = field(default_factory=list)
    strangers: list[Left] = field(default_factory=list)
    error: str = ""
    released: int = 0
    deleted: int = 0

    @property
    def held(self) -> int:
        """Pods of ours that our finalizer keeps."""
        return sum(pod.held for pod in self.pods)

    @property
    def active(self) -> int:
        """Pods that have not ended."""
        return sum(pod.active for pod in self.pods)

    def as_report(self) -> dict[str, Any]:
        """For people and as JSON."""
        return {
            "cluster": self.cluster.title, "namespace": self.namespace, "pods": len(self.pods), "held": self.held,
            "running": self.active, "released": self.released, "deleted": self.deleted,
            "strangers": [asdict(left) for left in self.strangers], "error": self.error or None,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look: all clusters of the file unless some are named, and in each the namespaces it has or had pods in."""

    file: Path | None = None
    clusters: Sequence[str] = ()
    namespaces: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def resolve(self, remembered: Sequence[tuple[str, str]]) -> list[Place]:
        """remembered: (cluster, namespace) of all pods in SQL. Raises InvalidSettings."""
        if not (self.file or self.clusters or self.namespaces or remembered):
            return []  # no pods, and nobody speaks of a cluster: there need be none
        known = read_clusters(self.file, self.environment)
        chosen = [cluster_of(known, name) for name in self.clusters] or list(known.values())
        return [Place(cluster, namespace) for cluster in chosen for namespace in self._within(cluster, remembered)]

    def _within(self, cluster: Cluster, remembered: Sequence[tuple[str, str]]) -> list[str]:
        had = [namespace for name, namespace in remembered if name == cluster.name]
        return list(dict.fromkeys(self.namespaces or (*cluster.watched, *had)))


@dataclass(frozen=True, slots=True)
class Found:
    """What there is. unseen: cluster/namespace that SQL remembers pods in, and that was not looked at."""

    installation: str
    living: list[str]
    unfinished: int
    places: list[Place]
    unseen: list[str]

    @property
    def held(self) -> int:
        """Pods that our finalizer keeps."""
        return sum(place.held for place in self.places)

    @property
    def pods(self) -> int:
        """All pods."""
        return sum(len(place.pods) for place in self.places)

    @property
    def active(self) -> int:
        """Pods that have not ended."""
        return sum(place.active for place in self.places)

    @property
    def strangers(self) -> list[tuple[str, Left]]:
        """All that are left alone, each with where it is."""
        return [(f"{place.cluster.title}/{place.namespace}", left) for place in self.places for left in place.strangers]

    @property
    def troubles(self) -> list[str]:
        """Why pods may be left somewhere."""
        failed = [f"{place.cluster.title}/{place.namespace}: {place.error}" for place in self.places if place.error]
        return [*failed, *(f"{unseen} was not looked at, and pods are remembered there" for unseen in self.unseen)]


def look(database: Database, where: Places) -> Found:
    """Looks everywhere. Raises InvalidSettings for a cluster that can't be reached as configured."""
    remembered = Administration(database).pod_places()
    book = PodBook(database)
    installation = book.installation()
    places = where.resolve(remembered)
    for place in places:
        with _talk(place, installation) as farewell:
            _tell_apart(place, farewell.remaining(place.namespace), book)
    seen = {(place.cluster.name, place.namespace) for place in places}
    unseen = [f"{cluster or DEFAULT}/{namespace}" for cluster, namespace in remembered if (cluster, namespace) not in seen]
    return Found(installation, living(database), unfinished(database), places, unseen)


def _tell_apart(place: Place, found: Sequence[Remaining], book: PodBook) -> None:
    """Ours by what SQL knows of them; a stranger has our label, or is remembered here. What is neither is no concern of ours."""
    words = book.owned([pod.doubt for pod in found if pod.doubt is not None])
    for pod in found:
        why = pod.why_strange(words.get(pod.uid))
        if why is None:
            place.pods.append(pod)
        elif pod.labelled or words.get(pod.uid) == "ours":
            place.strangers.append(Left(pod.name, pod.uid, pod.held, why))


def let_go(found: Found, *, delete: bool) -> None:
    """Takes our finalizer off all pods of ours, and deletes them if told so. A place where that fails is left, and says why."""
    for place in found.places:
        if place.error:
            continue
        with _talk(place, found.installation) as farewell:
            for pod in place.pods:
                farewell.let_go(pod, delete=delete)
                place.released += pod.held
                place.deleted += delete


def living(database: Database) -> list[str]:
    """The names of workers and launchers that renew their leases."""
    leases = {row["worker"]: row["seconds"] for row in Queue(database).leases() if not row["dead"]}
    workers = [worker for worker in Reports(database).workers() if worker["id"] in leases]
    return [w["name"] for w in workers if w["renewed_seconds_ago"] <= SILENT_LEASES * leases[w["id"]]]


def unfinished(database: Database) -> int:
    """How many tasks have not ended, as far as the list of queues counts them."""
    return sum(int(queue[state]) for queue in Reports(database).queues() for state in ("ready", "scheduled", "running"))


@contextmanager
def _talk(place: Place, installation: str) -> Iterator[Farewell]:
    """A cluster that does not do what it is asked never holds up the others."""
    with closing(Farewell(place.cluster, installation)) as farewell:
        try:
            yield farewell
        except ApiError as error:
            place.error = str(error)
