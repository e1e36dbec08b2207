"""What hands and tools do to pods, in each phase of a pod's life: no false success, no second pod, no innocent pod touched.

One launcher (a real process, beside the stateful fake API server) meets all rows of a phase at once; each row is then a test.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from disturbances import ENDED, FIRST, FOREIGN, JUDGED, PENDING, RUNNING, TABLE, Disturbance, Json, Seen, complaint, line, rows
from halfstep.installation import settle
from halfstep.pods import PodBook
from halfstep_worker.kubernetes.reading import OVER, phase
from isolation.launcher_ground import INNOCENT, NAMESPACE, Ground, marked
from kubernetes_fake import Says
from kubernetes_node import saying
from kubernetes_store import Invalid
from pod_builders import finished, pending, pod
from waiting import wait_until

HELD = "held"
SECONDS = 120


def held(there: Json) -> None:
    """The first attempts' pods wait for the test, the others end well."""
    numbers = {one["name"]: one.get("value") for one in there["spec"]["containers"][0].get("env", ())}
    saying(pending() if numbers.get("HALFSTEP_ATTEMPT") == "1" else finished())(there)


class FakeHand:
    """Straight into the store."""

    def __init__(self, ground: Ground, name: str, task: int, installation: str) -> None:
        self.name, self.task, self.other = name, task, ""
        self.made: list[Json] = []
        self.uid = ""
        self._ground, self._store, self._installation = ground, ground.fake.store, installation
        with suppress(KeyError):
            self.uid = self._store.get(NAMESPACE, "pods", name)["metadata"]["uid"]

    def pod(self) -> Json | None:
        with suppress(KeyError):
            return self._store.get(NAMESPACE, "pods", self.name)
        return None

    def patch(self, metadata: Json) -> None:
        with suppress(KeyError, Invalid):
            self._store.patch(NAMESPACE, self.name, {"metadata": metadata})

    def edit(self, spec: Json) -> None:
        self._store.change(self.name, lambda there: there["spec"].update(spec), namespace=NAMESPACE)

    def delete(self, grace: int | None = None) -> None:
        self._store.delete(NAMESPACE, self.name, {} if grace is None else {"gracePeriodSeconds": grace})

    def make(self, name: str, *, like: Json | None, **metadata: Any) -> None:
        known = {"installation": self._installation, "task": self.task}
        about = {key: like["metadata"][key] for key in ("labels", "annotations")} if like else {}
        about |= {"name": name, **metadata}
        about["labels"] = {key: value.format(**known) for key, value in about.get("labels", {}).items()}
        about["annotations"] = about.get("annotations", {}) | {"example.com/case": "ends"}
        self.made.append(self._store.create(NAMESPACE, "pods", {"metadata": about, "spec": {"containers": []}}))

    def wait_until_gone(self) -> None:
        wait_until(lambda: not self.is_there(), what="the pod's end")

    def is_there(self) -> bool:
        """The pod itself, and not another of its name."""
        there = self.pod()
        return there is not None and there["metadata"]["uid"] == self.uid

    def run(self, status: Json) -> None:
        """The pod's node says so, unless it has ended or is to."""
        with suppress(KeyError):
            self._store.change(self.name, self._saying(status), namespace=NAMESPACE)

    def _saying(self, status: Json) -> Callable[[Json], None]:
        def edit(there: Json) -> None:
            about = there["metadata"]
            if about["uid"] == self.uid and phase(there) not in OVER and not about.get("deletionTimestamp"):
                there.update(status=status["status"])

        return edit

    def is_untouched(self) -> bool:
        """What it made is there, as it was made."""
        return all(self._is_as_made(one) for one in self.made)

    def _is_as_made(self, one: Json) -> bool:
        there = self._store.get(NAMESPACE, "pods", one["metadata"]["name"])["metadata"]
        kept = ("uid", "labels", "annotations", "finalizers", "deletionTimestamp")
        return all(there.get(key) == one["metadata"].get(key) for key in kept)


class Phase:
    """One launcher, one task and one hand a row."""

    def __init__(self, ground: Ground, name: str) -> None:
        self.ground, self.name = ground, name
        self.rows = list(rows(name))
        self.book = PodBook(ground.database)
        self.installation = settle(ground.database)
        ground.node.scripts[HELD] = [held]
        self.launcher = ground.launch(doubt_seconds=2.0)

    def play(self) -> dict[str, Seen]:
        """What came of each row."""
        hands = self._hands()
        self._reach(hands)
        for row, hand in zip(self.rows, hands, strict=True):
            row.act(hand)
        if self.name == ENDED:
            self.launcher = self.ground.launch(doubt_seconds=2.0)
        if self.name != FIRST:
            self.ground.ended(*self.ground.enqueue(("pod", INNOCENT)), seconds=SECONDS)  # all before has been seen by then
        for hand in hands:
            hand.run(finished())
        seen = {row.says: self._seen(row, hand) for row, hand in zip(self.rows, hands, strict=True)}
        assert self.launcher.poll() is None, self.ground.log.read_text()[-3000:]
        assert set(self.ground.fake.accepted.values()) == {1}, "no attempt has two pods"
        return seen

    def _hands(self) -> list[FakeHand]:
        if self.name == FIRST:
            self.ground.fake.meet("create", *[Says(409, "the object has been modified", "Conflict")] * len(self.rows))
        tasks = self.ground.enqueue(*[("pod", marked(HELD))] * len(self.rows), max_attempts=1)
        wait_until(lambda: len(self._known()) == len(tasks), seconds=SECONDS, what="the pods")
        names = self._known()
        hands = [FakeHand(self.ground, names[task], task, self.installation) for task in tasks]
        for hand, neighbour in zip(hands, hands[1:] + hands[:1], strict=True):
            hand.other = neighbour.name.removeprefix("hs-")
        return hands

    def _known(self) -> dict[int, str]:
        """The names of the first pods, by task: of those that are intended, or acknowledged."""
        wanted = self.name != FIRST
        tried = len(self.ground.fake.calls("create")) >= len(self.rows)
        return {row["task_id"]: row["name"] for row in self.book.list() if row["acknowledged"] == wanted and (wanted or tried)}

    def _reach(self, hands: list[FakeHand]) -> None:
        if self.name in (FIRST, PENDING):
            return
        for hand in hands:
            hand.run(pod())
        running = {row["task_id"] for row in self.book.list() if (row["facts"] or {}).get("phase") == "Running"}
        wait_until(lambda: len(self._running()) == len(hands), seconds=SECONDS, what=f"the running of all but {len(running)}")
        if self.name == ENDED:
            os.kill(self.launcher.pid, signal.SIGKILL)
            self.launcher.wait()
        if self.name == JUDGED:
            for hand in hands:
                hand.patch({"finalizers": [FOREIGN]})
        if self.name in (ENDED, JUDGED):
            for hand in hands:
                hand.run(finished())
        if self.name == JUDGED:
            for hand in hands:
                self.ground.ended(hand.task, seconds=SECONDS)
                wait_until(lambda hand=hand: self._is_cleaned(hand), what="the pod's release")

    def _running(self) -> list[Json]:
        return [row for row in self.book.list() if (row["facts"] or {}).get("phase") == "Running"]

    @staticmethod
    def _is_cleaned(hand: FakeHand) -> bool:
        there = hand.pod()
        return there is not None and there["metadata"]["finalizers"] == [FOREIGN]

    def _seen(self, row: Disturbance, hand: FakeHand) -> Seen:
        report = self.ground.ended(hand.task, seconds=SECONDS)
        made = {one["metadata"]["uid"] for one in hand.made}
        count = lambda: sum(one["uid"] in made for one in self.book.strangers())  # noqa: E731
        with suppress(AssertionError):
            wait_until(lambda: count() >= row.strangers, seconds=45, what="the strangers")
        classes = tuple((attempt["pod"] or {}).get("class") for attempt in report["attempts"])
        return Seen(report["state"], classes, hand.is_untouched(), count(), report["error"])


@pytest.fixture(scope="module")
def outcomes(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Seen]]:
    """What came of all rows of a phase."""
    known: dict[str, dict[str, Seen]] = {}

    def played(name: str) -> dict[str, Seen]:
        if name not in known:
            database = server.make_database()
            with closing(Ground(server.url(database), tmp_path_factory.mktemp(name))) as ground:
                known[name] = Phase(ground, name).play()
            server.drop(database)
        return known[name]

    return played


PHASES = (FIRST, PENDING, RUNNING, ENDED, JUDGED)
CASES = [
    pytest.param(row, name, id=f"{name}: {row.says}", marks=pytest.mark.xdist_group(f"disturbances, {name}"))
    for name in PHASES
    for row in rows(name)
]


def test_each_row_has_its_line_in_the_manual() -> None:
    lines = Path("docs/reference/pod-outcomes.md").read_text().splitlines()
    assert [line(row) for row in TABLE if line(row) not in lines] == []


@pytest.mark.parametrize(("row", "name"), CASES)
def test_a_task_ends_as_it_should_although_somebody_lays_hands_on_its_pod(
    row: Disturbance, name: str, outcomes: Callable[[str], dict[str, Seen]]
) -> None:
    assert complaint(row, name, outcomes(name)[row.says]) is None
