"""Launchers are killed and frozen at every point between a claim and the pod's removal, 50 times, while pods come and go.

What is counted afterwards comes from elsewhere than the launchers: pods from a watch of our own, results from what each pod
wrote of itself, ends from a trail in the database that says who wrote them (`pods_trail`).
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bars import Bar, Measure
from benchmarks.pods_ground import Ground, ground, pause, shell, size, wait_until
from benchmarks.pods_siege import Siege, plan
from benchmarks.pods_trail import Trail, trail
from cluster.launchers import Witness
from halfstep.errors import HalfstepError
from halfstep.pods import Doubt, PodBook
from halfstep.producer import NewTask, enqueue_many
from halfstep.reports import Report

TIMES = size("KILLS", 50)
SEED = size("SEED", secrets.randbelow(2**32))
OPEN = 8
"""Tasks that wait or run at any time, as long as launchers are disturbed."""
OVER = ("succeeded", "failed", "cancelled")
ORPHAN_SECONDS = 60.0
BY_OPERATOR = 5
"""Every so-manyth task is a bash task in the runtime's image; the others are pods of a small one."""
START_SECONDS = 60
"""A pod that can never start, such as one whose ConfigMap nobody made, ends its attempt then: it is told of as a lost result."""


def kill_bars(url: str) -> list[Bar]:
    """Three launchers at a time get their disturbance each, a fourth is left alone."""
    print(f"  seed {SEED} (HALFSTEP_BARS_SEED)", file=sys.stderr, flush=True)
    with ground(url) as here, trail(here.database) as kept:
        try:
            return _measured(here, kept)
        finally:
            here.end_launchers()


MEASUREMENTS: dict[str, Measure] = {"kills": kill_bars}


def _measured(here: Ground, kept: Trail) -> list[Bar]:
    witness, feed = Witness(here.cluster, here.namespace), Feed(here)
    siege = Siege(here, plan(TIMES, SEED))
    siege.start()
    while siege.step():
        feed.top_up()
        siege.note(here.reports.workers())
        pause(0.2)
    with suppress(HalfstepError):  # those that have not ended by then are lost, and listed
        wait_until(feed.is_over, seconds=180, what="the end of all tasks")
    orphans = _orphan_seconds(here)
    witness.stop()
    _tell(siege.complaints())
    reports = feed.reports()
    return [
        _made(siege),
        _pods(witness, reports),
        _no_orphans(here, orphans),
        _results(list(_lost(here, reports)), len(reports)),
        _fence(here, siege, kept),
    ]


# -- what runs meanwhile


@dataclass(slots=True)
class Feed:
    """Short pods, each of which writes its number and its own name."""

    here: Ground
    tasks: list[int] = field(default_factory=list)
    open: set[int] = field(default_factory=set)

    def top_up(self) -> None:
        """Keeps `OPEN` tasks waiting or running."""
        self.is_over()
        numbers = range(len(self.tasks), len(self.tasks) + OPEN - len(self.open))
        if numbers:
            ids = enqueue_many(self.here.database, [_task(number) for number in numbers])
            self.tasks += ids
            self.open.update(ids)

    def is_over(self) -> bool:
        """Whether no task waits or runs."""
        states = self.here.reports.states(list(self.open))
        self.open = {task for task in self.open if states.get(task) not in OVER}
        return not self.open

    def reports(self) -> list[Report]:
        """In the order of their numbers."""
        return [self.here.reports.show(task) for task in self.tasks]


def _task(number: int) -> NewTask:
    said = f'[{number}, \\"$HOSTNAME\\"]'
    if number % BY_OPERATOR == 0:
        command = f'echo line {number}; echo "{said}"'
        return NewTask("bash", {"command": command, "pod": {"startup_timeout": START_SECONDS}}, {"placement": "pod"})
    script = f'sleep {number % 3}; echo line {number}; echo "{said}" > /dev/termination-log'
    return NewTask("pod", shell(script), {"placement": "pod"})


# -- what became of it


def _orphan_seconds(here: Ground) -> float | None:
    """From the end of the tasks until no orphan is left; None: not within the time."""
    begun = time.monotonic()
    try:
        wait_until(lambda: not _orphans(here), seconds=ORPHAN_SECONDS, what="the orphans' removal", every=1.0)
    except HalfstepError:
        return None
    return time.monotonic() - begun


def _orphans(here: Ground) -> list[str]:
    """Pods that no attempt needs, and pods that still run although their attempts have ended.

    One that has ended may stay for its name: its create was not acknowledged to a launcher that died, and might still arrive.
    """
    pods = {pod.metadata.labels["halfstep.io/attempt"]: pod for pod in here.pods()}
    running = {row["name"].removeprefix("hs-") for row in PodBook(here.database).list()}
    words = PodBook(here.database).doubted([
        Doubt(attempt, pod.metadata.uid, here.namespace, marked=True, older=False, twin=False) for attempt, pod in pods.items()
    ])  # fmt: skip
    needed = {attempt for attempt, pod in pods.items() if words[pod.metadata.uid] == "live"}
    ended = {attempt for attempt, pod in pods.items() if pod.status.phase in ("Succeeded", "Failed")}
    return [pods[attempt].metadata.name for attempt in pods.keys() - (needed & (ended | running))]


def _lost(here: Ground, reports: Sequence[Report]) -> Iterator[str]:
    """A line for each task that did not end with its own pod's result and log, at the first attempt that had a pod."""
    for number, report in enumerate(reports):
        attempts: list[Any] = report["attempts"]
        pod = (attempts[-1]["pod"] or {}).get("name") if attempts else None
        lines = [line["text"] for _, line in here.reports.log(report["id"])]
        told = f"task {report['id']}: {report['state']}, {report['result']}, log {lines}, {attempts}"
        if report["state"] != "succeeded" or _said(report) != [number, pod]:
            yield f"not its own pod's result: {told}"
        elif sum(attempt["pod"] is not None for attempt in attempts) != 1:
            yield f"more pods than one: {told}"
        elif lines.count(f"line {number}") != 1:
            yield f"not its own pod's log: {told}"


def _said(report: Report) -> Any:
    result = report["result"]
    try:
        return json.loads(result["last_line"]) if isinstance(result, dict) else result
    except (KeyError, TypeError, ValueError):
        return None


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"  {line}", file=sys.stderr, flush=True)


# -- bars


def _made(siege: Siege) -> Bar:
    made = siege.made()
    figure = f"{made['kill']} kills, {made['stop']} freezes, seed {SEED}"
    return Bar("disturbances of launchers at their failpoints", figure, f"{TIMES}", made.total() == TIMES)


def _pods(witness: Witness, reports: Sequence[Report]) -> Bar:
    """Also no pod may be there that is of no attempt in SQL: it would be a task's second one."""
    named = {attempt["pod"]["name"].removeprefix("hs-") for report in reports for attempt in report["attempts"] if attempt["pod"]}
    most, strangers = max(witness.pods_by_attempt(), default=0), witness.uids.keys() - named
    _tell([f"a pod of no attempt in SQL: {attempt}" for attempt in strangers])
    figure = f"{most} ({len(witness.uids)} pods, {len(reports)} tasks)" + (f", {len(strangers)} strangers" if strangers else "")
    return Bar("pods per attempt, after them: max", figure, "<= 1", most <= 1 and not strangers)


def _no_orphans(here: Ground, seconds: float | None) -> Bar:
    left, orphans = here.pods(), _orphans(here)
    _tell([f"an orphan: {name}" for name in orphans])
    figure = f"{len(orphans)} left" if seconds is None else f"none after {seconds:.0f} s ({len(left)} names kept on purpose)"
    return Bar("orphaned pods, after them", figure, "none after 60 s", seconds is not None)


def _results(lost: Sequence[str], tasks: int) -> Bar:
    _tell(lost)
    return Bar("results and logs lost, after them", f"{len(lost)} of {tasks}", "0", not lost)


def _fence(here: Ground, siege: Siege, kept: Trail) -> Bar:
    """refused: late writes that the frozen ones tried when they were back, as they counted them themselves."""
    accepted = kept.accepted_late()
    _tell(accepted)
    frozen = {victim.name for victim in siege.done if victim.fate.action == "stop"}
    dead = {worker["name"] for worker in here.reports.workers(everyone=True) if worker["state"] == "dead"} & frozen
    refused = sum(siege.refused[name] for name in frozen)
    figure = f"{len(accepted)} of {kept.ends()} ({refused} refused; {len(dead)} of {len(frozen)} frozen were taken for dead)"
    return Bar("late finishes accepted, after them", figure, "0", not accepted and dead == frozen)
