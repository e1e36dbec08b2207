"""The table of disturbances (`disturbances.py`) on a real cluster: a hand that has the API server's rights, and a phase's course.

Used by tests/cluster/test_disturbances.py and benchmarks/pods_disturbances.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kubernetes.client.exceptions import ApiException

from cluster.kube import TOOLS, Cluster, pod
from cluster.launchers import LauncherProcess, Witness
from disturbances import ENDED, FIRST, FOREIGN, JUDGED, PENDING, RUNNING, Disturbance, Json, Seen
from halfstep.database import Database
from halfstep.installation import settle
from halfstep.pods import PodBook
from halfstep.producer import enqueue
from halfstep.reports import Reports
from waiting import wait_until

OVER = ("succeeded", "failed", "cancelled")
SECONDS = 240
STRANGER_SECONDS = 45
"""A launcher asks every 30 s about what it can't explain, and writes that down within 5."""
WORK_SECONDS = {FIRST: 0, PENDING: 0, RUNNING: 60, ENDED: 20, JUDGED: 20}
"""So long the first attempts' programs run: while hands are laid on them, or until their launcher is dead."""
QUOTA = "nothing-without-a-deadline"
GATE = "halfstep.test/gate"


@dataclass
class RealHand:
    """At one pod of the cluster."""

    cluster: Cluster
    namespace: str
    name: str
    task: int
    installation: str
    other: str = ""
    uid: str = ""
    made: list[Json] = field(default_factory=list)

    def pod(self) -> Json | None:
        return self._read(self.name)

    def _read(self, name: str) -> Json | None:
        try:
            found = self.cluster.core.read_namespaced_pod(name, self.namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        plain: Json = self.cluster.api.sanitize_for_serialization(found)
        return plain

    def patch(self, metadata: Json) -> None:
        self._patch({"metadata": metadata})

    def edit(self, spec: Json) -> None:
        there = (self.pod() or {}).get("spec", {})
        whole = {key: [*there.get(key, ()), *value] if isinstance(value, list) else value for key, value in spec.items()}
        self._patch({"spec": whole})

    def _patch(self, body: Json) -> None:
        with suppress(ApiException):  # gone, or takes no finalizer any more
            self.cluster.core.patch_namespaced_pod(self.name, self.namespace, body)

    def delete(self, grace: int | None = None) -> None:
        options = {} if grace is None else {"grace_period_seconds": grace}
        self.cluster.core.delete_namespaced_pod(self.name, self.namespace, **options)

    def make(self, name: str, *, like: Json | None, **metadata: Any) -> None:
        about = {key: like["metadata"].get(key) or {} for key in ("labels", "annotations")} if like else {}
        about |= {"name": name, **metadata}
        known = {"installation": self.installation, "task": self.task}
        about["labels"] = {key: value.format(**known) for key, value in about.get("labels", {}).items()}
        wanted = pod(name, command=["true"])
        wanted["spec"] |= {"activeDeadlineSeconds": 3600}
        made = self.cluster.core.create_namespaced_pod(self.namespace, wanted | {"metadata": about})
        self.made.append(self.cluster.api.sanitize_for_serialization(made))

    def wait_until_gone(self) -> None:
        wait_until(lambda: not self.is_there(), seconds=SECONDS, what="the pod's end")

    def is_there(self) -> bool:
        """The pod itself, and not another of its name."""
        there = self.pod()
        return there is not None and there["metadata"]["uid"] == self.uid

    def is_untouched(self) -> bool:
        """What it made is there, as it was made."""
        return all(self._is_as_made(one["metadata"]) for one in self.made)

    def _is_as_made(self, made: Json) -> bool:
        there = (self._read(made["name"]) or {"metadata": {}})["metadata"]
        kept = ("uid", "labels", "annotations", "finalizers", "deletionTimestamp")
        return all(there.get(key) == made.get(key) for key in kept)


@dataclass
class Course:
    """One phase of a pod's life, and the rows that are played in it. start: a launcher of the namespace, by its name."""

    cluster: Cluster
    namespace: str
    database: Database
    start: Callable[[str], LauncherProcess]
    phase: str
    rows: Sequence[Disturbance]

    def play(self) -> dict[str, Seen]:
        """What came of each row. AssertionError: the launcher ended, or an attempt had two pods of a launcher's."""
        self.book, self.reports = PodBook(self.database), Reports(self.database)
        witness = Witness(self.cluster, self.namespace)
        launcher = self.start(f"first-{self.phase}")
        hands = self._hands()
        try:
            launcher = self._reach(hands, launcher)
            for row, hand in zip(self.rows, hands, strict=True):
                row.act(hand)
            if self.phase == ENDED:
                launcher = self.start(f"second-{self.phase}")
            self._release()
            seen = {row.says: self._seen(row, hand) for row, hand in zip(self.rows, hands, strict=True)}
        finally:
            self._release()
            self._let_go()
            witness.stop()
        assert launcher.process.poll() is None, launcher.log.read_text()[-3000:]
        self._has_one_pod_an_attempt(witness, hands)
        return seen

    # -- the way to the phase

    def _hands(self) -> list[RealHand]:
        if self.phase == FIRST:
            hard = {"hard": {"pods": "0"}, "scopes": ["NotTerminating"]}
            self.cluster.core.create_namespaced_resource_quota(self.namespace, {"metadata": {"name": QUOTA}, "spec": hard})  # type: ignore[arg-type, unused-ignore]
            self._wait_for_quota()
        installation = settle(self.database)
        tasks = [enqueue(self.database, "pod", self._args(), placement="pod", max_attempts=1) for _ in self.rows]
        wait_until(lambda: self._known(tasks).keys() == set(tasks), seconds=SECONDS, what="the pods")
        names = self._known(tasks)
        hands = [RealHand(self.cluster, self.namespace, names[task], task, installation) for task in tasks]
        for hand, neighbour in zip(hands, hands[1:] + hands[:1], strict=True):
            hand.other = neighbour.name.removeprefix("hs-")
            hand.uid = (hand.pod() or {"metadata": {"uid": ""}})["metadata"]["uid"]
        return hands

    def _wait_for_quota(self) -> None:
        """The controller has counted; before that it refuses nothing."""
        read = self.cluster.core.read_namespaced_resource_quota
        wait_until(lambda: (read(QUOTA, self.namespace).status.hard or {}).get("pods") == "0", seconds=30, what="the quota")

    def _args(self) -> Json:
        work = f'[ "$HALFSTEP_ATTEMPT" -gt 1 ] || sleep {WORK_SECONDS[self.phase]}'
        args: Json = {"image": TOOLS, "image_pull_policy": "IfNotPresent", "grace_seconds": 1, "command": ["sh", "-c", work]}
        return args | ({"node_selector": {GATE: self.namespace}, "startup_timeout": 3600} if self.phase == PENDING else {})

    def _known(self, tasks: list[int]) -> dict[int, str]:
        wanted = self.phase != FIRST
        rows = self.book.list(limit=1000)
        return {row["task_id"]: row["name"] for row in rows if row["task_id"] in tasks and row["acknowledged"] == wanted}

    def _reach(self, hands: list[RealHand], launcher: LauncherProcess) -> LauncherProcess:
        if self.phase in (RUNNING, ENDED, JUDGED):
            wait_until(lambda: self._are("Running", hands), seconds=SECONDS, what="the running of all")
        if self.phase == ENDED:
            launcher.kill()
            wait_until(lambda: self._are("Succeeded", hands), seconds=SECONDS, what="the end of all")
        if self.phase == JUDGED:
            for hand in hands:
                hand.patch({"finalizers": [FOREIGN]})
            wait_until(lambda: all(self._is_over(hand.task) for hand in hands), seconds=SECONDS, what="all outcomes")
        return launcher

    def _are(self, phase: str, hands: list[RealHand]) -> bool:
        """Or beyond it."""
        pods = {one.metadata.name: one.status.phase for one in self.cluster.core.list_namespaced_pod(self.namespace).items}
        return all(pods.get(hand.name) in {phase, "Succeeded"} for hand in hands)

    def _release(self) -> None:
        """What held pods back is taken away. Twice is fine."""
        with suppress(ApiException):
            if self.phase == FIRST:
                self.cluster.core.delete_namespaced_resource_quota(QUOTA, self.namespace)
            if self.phase == PENDING:
                for node in self.cluster.core.list_node().items:
                    self.cluster.core.patch_node(node.metadata.name, {"metadata": {"labels": {GATE: self.namespace}}})

    def _let_go(self) -> None:
        for one in self.cluster.core.list_namespaced_pod(self.namespace).items:
            if FOREIGN in (one.metadata.finalizers or ()):
                with suppress(ApiException):
                    gone = {"$deleteFromPrimitiveList/finalizers": [FOREIGN]}
                    self.cluster.core.patch_namespaced_pod(one.metadata.name, self.namespace, {"metadata": gone})

    # -- what came of it

    def _is_over(self, task: int) -> bool:
        return self.reports.states([task]).get(task) in OVER

    def _seen(self, row: Disturbance, hand: RealHand) -> Seen:
        wait_until(lambda: self._is_over(hand.task), seconds=SECONDS, what=f"the end of task {hand.task} ({row.says})")
        report = self.reports.show(hand.task)
        with suppress(AssertionError):
            wait_until(lambda: self._strangers(hand) >= row.strangers, seconds=STRANGER_SECONDS, what="the strangers")
        classes = tuple((attempt["pod"] or {}).get("class") for attempt in report["attempts"])
        return Seen(report["state"], classes, hand.is_untouched(), self._strangers(hand), report["error"])

    def _strangers(self, hand: RealHand) -> int:
        made = {one["metadata"]["uid"] for one in hand.made}
        return sum(one["uid"] in made for one in self.book.strangers(limit=1000))

    @staticmethod
    def _has_one_pod_an_attempt(witness: Witness, hands: list[RealHand]) -> None:
        by_hand = {one["metadata"]["uid"] for hand in hands for one in hand.made}
        twice = [name for name, uids in witness.names.items() if name.startswith("hs-") and len(uids - by_hand) > 1]
        assert not twice, f"attempts with two pods: {twice}"
