"""What hands and tools do to pods, and how the task is to end. One table, for the fake API server, a real one, and the bars.

A row is done to a pod in one phase of its life:

    first     its task is claimed, its name known, and no pod is acknowledged
    pending   acknowledged, its program has not begun
    running   its program runs
    ended     its program ended well while no launcher was there
    judged    the outcome is in SQL, and the object is still there

`ends` says for each phase what the task's first attempt ends with: the class `succeeded`, or one whose task then runs again,
uncounted, and ends well. Of two words either may come: it depends on what was seen first.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]

INSTALLATION, ATTEMPT, TASK = "halfstep.io/installation", "halfstep.io/attempt", "halfstep.io/task"
MADE, OPERATOR, QUEUE, ON_FINISH = "halfstep.io/made", "halfstep.io/operator", "halfstep.io/queue", "halfstep.io/on-finish"
KEEP, FINALIZER, FOREIGN = "halfstep.io/keep", "halfstep.io/verdict", "example.com/hold"
FIRST, PENDING, RUNNING, ENDED, JUDGED = "first", "pending", "running", "ended", "judged"
WELL = "succeeded"


class Hand(Protocol):
    """At the pod of one attempt."""

    name: str
    """The pod's."""
    other: str
    """The attempt of another pod that is there."""

    def pod(self) -> Json | None:
        """As it is now."""

    def patch(self, metadata: Json) -> None:
        """A strategic merge patch: null takes a label or annotation away, or all finalizers."""

    def edit(self, spec: Json) -> None:
        """The same of the spec."""

    def delete(self, grace: int | None = None) -> None:
        """Seconds; None: the pod's own. 0: by force."""

    def make(self, name: str, *, like: Json | None, **metadata: Any) -> None:
        """A pod that ends well at once. like: whose labels and annotations it gets. It is never to be touched by a launcher."""

    def wait_until_gone(self) -> None:
        """Until there is no pod of that name and uid."""


Act = Callable[[Hand], object]


@dataclass(frozen=True)
class Disturbance:
    """`says` completes "its task ends as it should although, while the pod is PHASE, ..."."""

    says: str
    act: Act
    ends: Mapping[str, tuple[str, ...]]
    strangers: int = 0
    """Pods that are then to be named as strangers."""


ALIVE = dict.fromkeys((PENDING, RUNNING, ENDED, JUDGED), (WELL,))
DELETED = {PENDING: ("deleted",), RUNNING: ("deleted",), ENDED: (WELL, "deleted"), JUDGED: (WELL,)}
GONE = {PENDING: ("lost", "deleted"), RUNNING: ("lost", "deleted"), ENDED: ("lost",), JUDGED: (WELL,)}
TAKEN = {FIRST: ("taken",)}


def _labels(**labels: str | None) -> Act:
    names = {"installation": INSTALLATION, "attempt": ATTEMPT, "task": TASK, "keep": KEEP, "team": "example.com/team"}
    return lambda hand: hand.patch({"labels": {names[key]: value for key, value in labels.items()}})


def _annotations(**annotations: str | None) -> Act:
    names = {"made": MADE, "operator": OPERATOR, "queue": QUEUE, "on_finish": ON_FINISH, "note": "example.com/note"}
    return lambda hand: hand.patch({"annotations": {names[key]: value for key, value in annotations.items()}})


def _finalizers(*names: str, without: bool = False) -> Act:
    def act(hand: Hand) -> None:
        if without:
            hand.patch({"finalizers": None})
        if names:
            hand.patch({"finalizers": list(names)})

    return act


def _copy(name: str, *, labels: Mapping[str, str | None] = {}, annotations: bool = True, finalizers: bool = False) -> Act:
    """As `kubectl debug --copy-to NAME --keep-labels` makes one."""

    def act(hand: Hand) -> None:
        about = copy.deepcopy((hand.pod() or {"metadata": {}})["metadata"])
        kept = {**about.get("labels", {}), **labels}
        marks = {"annotations": about.get("annotations", {})} if annotations else {}
        called = name.format(pod=hand.name, uuid=uuid.uuid4(), upper=str(uuid.uuid4()).replace("-", "x"))
        made: Json = {"labels": {key: value for key, value in kept.items() if value is not None}} | marks
        hand.make(called, like=None, **made, **({"finalizers": [FINALIZER]} if finalizers else {}))

    return act


def _several(*acts: Act) -> Act:
    def act(hand: Hand) -> None:
        for one in acts:
            one(hand)

    return act


def _delete(grace: int | None = None) -> Act:
    return lambda hand: hand.delete(grace)


def _take_away(grace: int | None = 0) -> Act:
    """With the finalizer off, the object goes at once, or when its node says so."""

    def act(hand: Hand) -> None:
        hand.delete(grace)
        if hand.pod() is not None:
            hand.patch({"finalizers": None})
        hand.wait_until_gone()

    return act


def _replace(*, marks: bool, finalizers: bool = False) -> Act:
    """`kubectl replace --force`, and its forms."""

    def act(hand: Hand) -> None:
        there = hand.pod()
        assert there is not None
        _take_away()(hand)
        hand.make(hand.name, like=there if marks else None, **({"finalizers": [FINALIZER]} if finalizers else {}))

    return act


def _first(labels: Callable[[Hand], Mapping[str, str]], **metadata: Any) -> Act:
    """Somebody is there before the launcher."""
    return lambda hand: hand.make(hand.name, like=None, labels=dict(labels(hand)), **metadata)


def _ours(hand: Hand) -> dict[str, str]:
    return {INSTALLATION: "{installation}", ATTEMPT: hand.name.removeprefix("hs-"), TASK: "{task}"}


LONG = "x" * 61 + "-9"

TABLE = (
    # labels
    Disturbance("its installation label is taken off", _labels(installation=None), ALIVE),
    Disturbance("its installation label is that of another installation", _labels(installation=str(uuid.uuid4())), ALIVE),
    Disturbance("its installation label is emptied", _labels(installation=""), ALIVE),
    Disturbance("its installation label is no uuid", _labels(installation=LONG), ALIVE),
    Disturbance("its attempt label is taken off", _labels(attempt=None), ALIVE),
    Disturbance("its attempt label is emptied", _labels(attempt=""), ALIVE),
    Disturbance("its attempt label is in capitals", lambda hand: _labels(attempt=hand.name[3:].upper())(hand), ALIVE),
    Disturbance("its attempt label is 63 letters", _labels(attempt=LONG), ALIVE),
    Disturbance("its attempt label is that of another pod", lambda hand: _labels(attempt=hand.other)(hand), ALIVE),
    Disturbance("its attempt label is a uuid of nobody", _labels(attempt=str(uuid.uuid4())), ALIVE),
    Disturbance("its task label is taken off", _labels(task=None), ALIVE),
    Disturbance("its task label is no number", _labels(task="none"), ALIVE),
    Disturbance("all its labels of ours are taken off", _labels(installation=None, attempt=None, task=None), ALIVE),
    Disturbance("it is labelled to be kept", _labels(keep="true"), ALIVE),
    Disturbance("it gets a label of somebody's", _labels(team="shop"), ALIVE),
    Disturbance(
        "a policy takes its labels off again and again",
        _several(*[_labels(installation=None, attempt=None)] * 3),
        ALIVE,
    ),
    # annotations
    Disturbance("its mark is taken off", _annotations(made=None), ALIVE),
    Disturbance("its mark is another's", _annotations(made="0" * 32), ALIVE),
    Disturbance("its operator annotation is another's", _annotations(operator="python"), ALIVE),
    Disturbance("its operator annotation is taken off", _annotations(operator=None), ALIVE),
    Disturbance("its queue annotation is another's", _annotations(queue="elsewhere"), ALIVE),
    Disturbance("it is annotated to be kept", _annotations(on_finish="keep"), ALIVE),
    Disturbance("it gets an annotation of 100 KB", _annotations(note="x" * 100_000), ALIVE),
    Disturbance(
        "all our annotations and labels are taken off",
        _several(_annotations(made=None, operator=None, queue=None), _labels(installation=None, attempt=None, task=None)),
        ALIVE,
    ),
    # finalizers
    Disturbance("its finalizer is taken off", _finalizers(without=True), ALIVE),
    Disturbance("it gets another finalizer", _finalizers(FOREIGN), ALIVE),
    Disturbance("its finalizer is replaced by another", _finalizers(FOREIGN, without=True), ALIVE),
    Disturbance(
        "its finalizer and labels are taken off",
        _several(_finalizers(without=True), _labels(installation=None, attempt=None)),
        ALIVE,
    ),
    # copies
    Disturbance("it is copied with its labels", _copy("dbg-{pod}"), ALIVE, strangers=1),
    Disturbance("it is copied without the attempt label", _copy("dbg-{pod}", labels={ATTEMPT: None}), ALIVE, strangers=1),
    Disturbance("it is copied with an empty attempt label", _copy("dbg-{pod}", labels={ATTEMPT: ""}), ALIVE, strangers=1),
    Disturbance("it is copied with a long attempt label", _copy("dbg-{pod}", labels={ATTEMPT: LONG}), ALIVE, strangers=1),
    Disturbance("it is copied with its finalizer too", _copy("dbg-{pod}", finalizers=True), ALIVE, strangers=1),
    Disturbance("it is copied by the name of an attempt of nobody", _copy("hs-{uuid}", finalizers=True), ALIVE, strangers=1),
    Disturbance("it is copied by a name like an attempt's", _copy("hs-{upper}"), ALIVE, strangers=1),
    Disturbance("it is copied and its own labels are taken off",
                _several(_copy("dbg-{pod}"), _labels(installation=None, attempt=None)), ALIVE, strangers=1),
    Disturbance("it is copied several times", _several(*[_copy("dbg-{uuid}")] * 3), ALIVE, strangers=3),
    Disturbance("it is copied to be kept", _copy("dbg-{pod}", labels={KEEP: "true"}), ALIVE, strangers=1),
    # edits
    Disturbance("it gets a deadline that it does not reach", lambda hand: hand.edit({"activeDeadlineSeconds": 3600}), ALIVE),
    Disturbance(
        "it gets a toleration",
        lambda hand: hand.edit({"tolerations": [{"key": "example.com/x", "operator": "Exists", "effect": "NoSchedule"}]}),
        ALIVE,
    ),
    # deletions
    Disturbance("it is deleted", _delete(), DELETED),
    Disturbance("it is deleted with a grace of 1 s", _delete(1), DELETED),
    Disturbance("it is deleted with a grace of 600 s", _delete(600), DELETED),
    Disturbance("it is deleted by force", _delete(0), DELETED),
    Disturbance("it is deleted twice", _several(_delete(30), _delete(0)), DELETED),
    Disturbance("its labels are taken off and it is deleted", _several(_labels(installation=None), _delete()), DELETED),
    Disturbance("it is deleted and its finalizer is taken off", _take_away(), GONE),
    Disturbance(
        "its labels are taken off, it is deleted and its finalizer is taken off",
        _several(_labels(installation=None, attempt=None), _take_away()),
        GONE,
    ),
    Disturbance("it is replaced by a pod that ends well", _replace(marks=True), GONE, strangers=1),
    Disturbance(
        "it is replaced, with its finalizer, by a pod that ends well", _replace(marks=True, finalizers=True), GONE, strangers=1
    ),
    Disturbance("it is replaced by a pod without our labels", _replace(marks=False), GONE),
    # somebody is there first
    Disturbance("a pod without labels has its name", _first(lambda hand: {}), TAKEN),
    Disturbance("a pod with our labels has its name", _first(_ours), TAKEN, strangers=1),
    Disturbance(
        "a pod with our labels, annotations and finalizer has its name",
        _first(_ours, annotations={OPERATOR: "pod", QUEUE: "default"}, finalizers=[FINALIZER]),
        TAKEN,
        strangers=1,
    ),
    Disturbance(
        "a pod with the mark of another attempt has its name",
        _first(_ours, annotations={OPERATOR: "pod", QUEUE: "default", MADE: "0" * 32}, finalizers=[FINALIZER]),
        TAKEN,
        strangers=1,
    ),
)  # fmt: skip


def rows(phase: str) -> Iterator[Disturbance]:
    """Those that can be done in this phase."""
    yield from (row for row in TABLE if phase in row.ends)


def line(row: Disturbance) -> str:
    """Of docs/reference/pod-outcomes.md."""
    alive = row.ends.get(RUNNING) or row.ends.get(FIRST, ())
    return f"| {row.says} | {_words(alive)} | {_words(row.ends.get(ENDED, ()))} | {row.strangers or 'no'} |"


def _words(ends: tuple[str, ...]) -> str:
    return " or ".join("nothing" if word == WELL else f"`{word}`" for word in ends) or "-"


@dataclass(frozen=True)
class Seen:
    """What came of a row."""

    state: str
    classes: tuple[str | None, ...]
    """Of the attempts."""
    untouched: bool
    """What the hand has made is as it was made."""
    strangers: int
    """Of what it made, so many are in `halfstep pods --strangers`."""
    error: str | None = None


def complaint(row: Disturbance, phase: str, seen: Seen) -> str | None:
    """What is wrong; None: nothing."""
    first, *rest = seen.classes or (None,)
    told = f"({seen})"
    if seen.state != "succeeded":
        return f"the task ended {seen.state} {told}"
    if first not in row.ends[phase]:
        return f"its first attempt ended {first}, not {' or '.join(row.ends[phase])} {told}"
    if rest != ([] if first == WELL else [WELL]):
        return f"its attempts ended {seen.classes} {told}"
    if not seen.untouched:
        return f"a pod that is not ours was touched {told}"
    if seen.strangers != row.strangers:
        return f"{seen.strangers} strangers were named, not {row.strangers} {told}"
    return None
