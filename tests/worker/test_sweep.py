"""Pods of attempts that are over, which lost our label while no launcher ran: our finalizer does not hold them for ever.

One launcher (a real process, beside the stateful fake API server) meets all cases at once; each is then a test.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from halfstep.installation import settle
from halfstep.pods import PodBook, PodRow
from halfstep_worker.kubernetes.answers import ApiError
from halfstep_worker.kubernetes.api import PodPage
from halfstep_worker.kubernetes.flight import ON_FINISH
from halfstep_worker.kubernetes.identity import mark
from halfstep_worker.kubernetes.names import ATTEMPT, FINALIZER, INSTALLATION, KEEP, MADE, OPERATOR, QUEUE
from halfstep_worker.kubernetes.sweep import AGAIN_SECONDS as SWEEP_AGAIN
from halfstep_worker.kubernetes.sweep import FIRST_SECONDS, SWEEP_SECONDS, Sweep
from halfstep_worker.kubernetes.unexplained import MOST_BARE, Unexplained
from halfstep_worker.kubernetes.values import PodSeen
from isolation.launcher_ground import INNOCENT, NAMESPACE, Ground
from pod_builders import finished, pod
from waiting import wait_until

Json = dict[str, Any]
ANOTHER = "00000000-0000-4000-8000-0000000000aa"
GOES, STAYS, KEPT = "goes", "stays as it is", "stays, without our finalizer"
SECONDS = 120


@dataclass(frozen=True)
class Case:
    """A pod, of which labels and annotations are changed (None: taken off). uid: what SQL has; "": the pod's own."""

    becomes: str
    labels: dict[str, str | None] = field(default_factory=lambda: {INSTALLATION: None})
    annotations: dict[str, str | None] = field(default_factory=dict)
    status: Callable[[], Json] = finished
    uid: str | None = ""
    known: bool = True
    held: bool = True


BARE: dict[str, str | None] = {INSTALLATION: None, ATTEMPT: None}
TABLE = {
    "its installation label is off": Case(GOES),
    "its installation label is empty": Case(GOES, {INSTALLATION: ""}),
    "its installation label is no uuid": Case(GOES, {INSTALLATION: "x"}),
    "its installation label is that of another installation": Case(GOES, {INSTALLATION: ANOTHER}),
    "all our labels and annotations are off": Case(GOES, BARE, {MADE: None, QUEUE: None, OPERATOR: None}),
    "it still runs": Case(GOES, status=pod),
    "it was never acknowledged, and has our mark": Case(GOES, uid=None),
    "its task wanted it kept": Case(KEPT, annotations={ON_FINISH: "keep"}),
    "its task wanted it kept, and it is labelled so already": Case(KEPT, {INSTALLATION: None, KEEP: "true"}, {ON_FINISH: "keep"}),
    "it was never acknowledged, and has no mark": Case(STAYS, annotations={MADE: None}, uid=None),
    "another pod was the attempt's": Case(STAYS, uid="another"),
    "nobody knows its attempt": Case(STAYS, known=False),
    "nobody knows its attempt, and it has no mark": Case(STAYS, BARE, {MADE: None}, known=False),
    "label and mark are another installation's": Case(STAYS, {INSTALLATION: ANOTHER}, {MADE: "0" * 32}),
    "our finalizer is off": Case(STAYS, held=False),
}


def changed(there: Json, edit: dict[str, str | None]) -> Json:
    return {key: value for key, value in (there | edit).items() if value is not None}


class Stage:
    """The cases' pods, each remembered by SQL for a task that is over."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.installation = settle(ground.database)
        self.made = {says: self._make(case) for says, case in TABLE.items()}

    def _make(self, case: Case) -> Json:
        attempt, store = str(uuid4()), self.ground.fake.store
        labels = changed({INSTALLATION: self.installation, ATTEMPT: attempt}, case.labels)
        about: Json = {"name": f"hs-{attempt}", "labels": labels, "finalizers": [FINALIZER] if case.held else []}
        marks = {MADE: mark(self.installation, attempt), QUEUE: "default", OPERATOR: "pod"}
        about["annotations"] = changed(marks, case.annotations)
        made = store.create(NAMESPACE, "pods", {"metadata": about, "spec": {"containers": []}, "status": case.status()["status"]})
        uid = made["metadata"]["uid"] if case.uid == "" else case.uid
        if case.known:
            row = PodRow(attempt, 2**40, 1, "", NAMESPACE, about["name"], uid)
            PodBook(self.ground.database).write([row])
        return made

    def now(self, says: str) -> Json | None:
        with suppress(KeyError):
            return self.ground.fake.store.get(NAMESPACE, "pods", self.made[says]["metadata"]["name"])
        return None

    def became(self, says: str) -> str:
        before, there = self.made[says], self.now(says)
        if there is None:
            return GOES
        if there["metadata"].get("labels", {}).get(KEEP) == "true" and not there["metadata"].get("finalizers"):
            return KEPT
        kept = ("uid", "labels", "annotations", "finalizers", "deletionTimestamp")
        return STAYS if all(there["metadata"].get(key) == before["metadata"].get(key) for key in kept) else "is changed"

    def sweeps(self) -> int:
        return sum("labelSelector" not in call.query for call in self.ground.fake.calls("list"))

    def play(self) -> dict[str, str]:
        launcher = self.ground.launch(doubt_seconds=0.5, sweep_seconds=0.5)
        due = [says for says, case in TABLE.items() if case.becomes != STAYS]
        with suppress(AssertionError):  # each case tells for itself
            wait_until(lambda: all(self.became(says) == TABLE[says].becomes for says in due), seconds=SECONDS, what="the ends")
        more = self.sweeps() + 3
        wait_until(lambda: self.sweeps() >= more, seconds=SECONDS, what="sweeps after that")
        self.ground.ended(*self.ground.enqueue(("pod", INNOCENT)), seconds=SECONDS)
        assert launcher.poll() is None, self.ground.log.read_text()[-3000:]
        return {says: self.became(says) for says in TABLE}


@pytest.fixture(scope="module")
def became(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What became of each case's pod."""
    with closing(Ground(server.url(server.make_database()), tmp_path_factory.mktemp("sweep"))) as ground:
        yield Stage(ground).play()


@pytest.mark.parametrize("says", TABLE)
def test_a_pod_without_our_label_is_let_go_of_if_it_was_ours(became: dict[str, str], says: str) -> None:
    assert became[says] == TABLE[says].becomes


class Pages:
    """An API of pages by (namespace, page), that notes what was asked; and the calls, which are made at once."""

    def __init__(self, pages: dict[tuple[str, str], PodPage | Exception]) -> None:
        self.pages = pages
        self.asked: list[tuple[str, str]] = []
        self.answers: deque[object] = deque()

    def list_pods(self, namespace: str, *, selector: str, page: str = "") -> PodPage:
        self.asked.append((namespace, page))
        found = self.pages[namespace, page]
        if isinstance(found, Exception):
            raise found
        return found

    def submit(self, attempt_id: str, call: str, function: Callable[[], object]) -> None:
        try:
            self.answers.append(function())
        except ApiError as error:
            self.answers.append(error)


def swept(pages: Pages, sweep: Sweep, now: float) -> list[str]:
    """One turn, and all that comes of it: the names that were found."""
    sweep.turn(now)
    names = []
    while pages.answers:
        names += [event.pod["metadata"]["name"] for event in sweep.answered(pages.answers.popleft(), now)]
    return names


def held_pod(number: int) -> Json:
    return {"metadata": {"name": f"hs-00000000-0000-4000-8000-{number:012}", "uid": f"u-{number}", "finalizers": [FINALIZER]}}


def test_it_reads_page_after_page_and_goes_on_after_one_that_fails() -> None:
    pages = Pages(
        {
            ("jobs", ""): PodPage([held_pod(1)], "1", "next"),
            ("jobs", "next"): PodPage([held_pod(2)], "1", ""),
            ("more", ""): ApiError("no luck", status=410),
            ("last", ""): PodPage([held_pod(3), {}, {"metadata": {"name": "x"}}], "1", ""),
        }
    )
    sweep = Sweep("", namespaces=["jobs", "more", "last"], installation="i", api=pages, calls=pages)  # type: ignore[arg-type]
    assert swept(pages, sweep, 0.0) == []
    assert swept(pages, sweep, FIRST_SECONDS - 1) == []
    found = [held_pod(number)["metadata"]["name"] for number in (1, 2, 3)]
    assert swept(pages, sweep, FIRST_SECONDS) == found
    assert pages.asked == [("jobs", ""), ("jobs", "next"), ("more", ""), ("last", "")]
    assert swept(pages, sweep, FIRST_SECONDS + SWEEP_AGAIN - 1) == []
    pages.pages["more", ""] = PodPage([], "1", "")
    assert swept(pages, sweep, FIRST_SECONDS + SWEEP_AGAIN) == found
    assert swept(pages, sweep, FIRST_SECONDS + SWEEP_AGAIN + SWEEP_SECONDS - 1) == []
    assert swept(pages, sweep, FIRST_SECONDS + SWEEP_AGAIN + SWEEP_SECONDS) == found


def test_they_are_asked_about_once_and_not_too_many_at_a_time() -> None:
    unexplained = Unexplained("", "i")
    unexplained.see_bare(PodSeen("", "jobs", held_pod(number)) for number in range(MOST_BARE + 5))
    asked = unexplained.doubts()
    assert (len(asked), {doubt.twin for doubt in asked}) == (MOST_BARE, {False})
    assert unexplained.doubts() == []
    assert unexplained.bare("u-1") is not None
    assert unexplained.bare("u-1") is None
    unexplained.call_strangers({"u-2": "unknown"})
    unexplained.listed("jobs")
    told = unexplained.report(0.0)
    assert told is not None
    assert told.pods == []
