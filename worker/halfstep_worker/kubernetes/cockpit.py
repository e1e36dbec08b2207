"""Everything of one cluster that the launcher's loop touches: calls, watches, logs, timers, and the flights themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from halfstep_worker.desk import Outgoing
from halfstep_worker.kubernetes.answers import DEFAULT_ACCOUNT
from halfstep_worker.kubernetes.api import ClusterApi
from halfstep_worker.kubernetes.clusters import Cluster
from halfstep_worker.kubernetes.defaults import PodDefaults
from halfstep_worker.kubernetes.flightlogs import FlightLogs, Lines, LogDone
from halfstep_worker.kubernetes.flights import Flights
from halfstep_worker.kubernetes.inbox import CALL_SECONDS, Answer, Calls, Inbox
from halfstep_worker.kubernetes.names import INSTALLATION
from halfstep_worker.kubernetes.objects import inside
from halfstep_worker.kubernetes.planner import Planner
from halfstep_worker.kubernetes.podlogs import READ_SECONDS
from halfstep_worker.kubernetes.policy import LauncherPolicy
from halfstep_worker.kubernetes.probes import Probes
from halfstep_worker.kubernetes.sweep import Sweep
from halfstep_worker.kubernetes.timeline import trim
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.trouble import READ, Troubles
from halfstep_worker.kubernetes.values import Listed, PodGone, PodSeen
from halfstep_worker.kubernetes.watch import TURN_SECONDS, PodWatch, WatchTimes
from halfstep_worker.progress import Progress
from halfstep_worker.settings import WorkerSettings

TIMES = WatchTimes(retry_cap=5.0)
"""Whatever kept the watch away: seconds after its end all goes on."""


class Cockpit:
    """Built before the database is asked, started when the installation is known. Used by the loop only."""

    flights: Flights
    _sweep: Sweep

    def __init__(
        self, settings: WorkerSettings, cluster: Cluster, policy: LauncherPolicy, progress: Progress | None = None
    ) -> None:
        self.progress = progress or Progress()
        self._settings = settings
        self._cluster = cluster
        self._policy = policy
        self._inbox = Inbox()
        self._calls = Calls(self._inbox, part=self.progress.part("calls", bound=CALL_SECONDS))
        self._timers = Timers()
        self._api = _api_of(cluster)
        self._probes = Probes(self._api, self._calls)
        self._logs = FlightLogs(self._api, self._inbox, part=self.progress.part("logs", bound=READ_SECONDS))
        self._watches: list[PodWatch] = []

    @property
    def wake_fd(self) -> int:
        """Readable when `turn` has something to do."""
        return self._inbox.wake_fd

    @property
    def defaults(self) -> PodDefaults:
        """What the launcher puts into pods here."""
        return self._cluster.pods

    @property
    def troubles(self) -> Troubles:
        """What keeps us from getting on with the cluster."""
        return self._api.troubles

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that pods may be in, the default one first."""
        return self._cluster.watched

    def blocked(self) -> str | None:
        """Why nothing can be made where tasks go that name no namespace."""
        return self._api.troubles.blocked(self._cluster.namespace)

    def start(self, installation: str, lease_left: Callable[[], float]) -> None:
        """Watches and reads from now on."""
        settings = self._settings
        body = {"imports": list(settings.imports), "allow": list(settings.allow), "http_allow": list(settings.http_allow)}
        planner = Planner(self._cluster, self._policy, installation, settings.source, body)
        self.flights = Flights(
            self._cluster.name, installation=installation, api=self._api, calls=self._calls, timers=self._timers,
            planner=planner, logs=self._logs,
        )  # fmt: skip
        self.flights.course.making.lease_left = lease_left
        self.flights.course.making.blocked = self._api.troubles.blocked
        self._sweep = Sweep(
            self._cluster.name, namespaces=self._cluster.watched, installation=installation, api=self._api, calls=self._calls
        )
        self._logs.start()
        selector = f"{INSTALLATION}={installation}"
        for namespace in self._cluster.watched:
            part = self.progress.part(f"watch {namespace}", bound=TURN_SECONDS)
            watch = PodWatch(
                self._api, namespace=namespace, selector=selector, trim=trim, tell=self._inbox.put, times=TIMES, part=part
            )  # fmt: skip
            watch.start()
            self._watches.append(watch)

    def stop(self) -> None:
        """Returns when no thread of the cluster's is left."""
        for watch in self._watches:
            watch.stop()
        self._logs.stop()
        self._calls.stop()
        self._api.close()

    def turn(self, now: float) -> None:
        """Takes what has come, and does what is due."""
        for thing in self._inbox.take():
            self._take(thing, now)
        for attempt_id, word in self._timers.due(now):
            self.flights.heard(attempt_id, word, now)
        self._probes.turn(now)
        self._sweep.turn(now)
        for watch in self._watches:
            self._look_at(watch)

    def _look_at(self, watch: PodWatch) -> None:
        """A watch that does not get on although the API server answers: what it answers can't be read."""
        trouble, troubles = watch.trouble, self._api.troubles
        if trouble is None:
            troubles.over(watch.namespace, READ)
        elif not troubles.knows(watch.namespace, "list pods", "watch pods"):
            where = f"cluster {self._api.name!r}, namespace {watch.namespace!r}"
            troubles.met(
                watch.namespace, READ, f"What the API server of {where} says of pods can't be read: {trouble}.", sure=False
            )

    def _take(self, thing: object, now: float) -> None:
        match thing:
            case Answer(call="sweep", result=result):
                self._calls.open -= 1
                self.flights.swept(self._sweep.answered(result, now))
            case Answer():
                self.flights.answered(thing, now)
            case PodSeen() | PodGone() | Listed():
                self.flights.watched(thing, now)
            case Lines():
                self._logs.take(thing, self.flights.course.outgoing, now)
            case LogDone(attempt_id=attempt_id):
                self.flights.log_finished(attempt_id, now)

    def doubt(self, now: float) -> None:
        """What does not add up is looked at again."""
        doubted = self.flights.doubt(now)
        for watch in self._watches:
            if watch.namespace in doubted:
                watch.request_relist()

    def take_outgoing(self, now: float) -> Outgoing:
        """What is to be written."""
        self._logs.flush(self.flights.course.outgoing, now)
        return self.flights.take_outgoing()

    def next_at(self) -> float | None:
        """When something is due, monotonic seconds."""
        due = [at for at in (self._timers.next_at(), self._logs.due_at()) if at is not None]
        return min(due, default=None)


def _api_of(cluster: Cluster) -> ClusterApi:
    kubeconfig = None if cluster.in_cluster else cluster.kubeconfig or str(Path.home() / ".kube" / "config")
    rate, account = cluster.rate, inside(cluster.pods.under, "spec").get("serviceAccountName")
    return ClusterApi(
        cluster.title, kubeconfig=kubeconfig, context=cluster.context, qps=rate.qps, burst=rate.burst,
        account=account or DEFAULT_ACCOUNT,
    )  # fmt: skip
