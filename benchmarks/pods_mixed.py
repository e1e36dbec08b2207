"""200 pods that end in every way: what their tasks are told, and how many pods there were for an attempt.

The figure beside it is Airflow's, by its design and not measured here: "The Kubernetes executor runs each task instance in its
own pod on a Kubernetes cluster", and a KubernetesPodOperator that runs in there launches another
(https://airflow.apache.org/docs/apache-airflow-providers-cncf-kubernetes/stable/kubernetes_executor.html, and operators.html):
2 pods for an attempt. With deferrable=True the executor starts a third one to take up the task again (apache/airflow#56895).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException

from benchmarks.bars import Bar, Measure
from benchmarks.pods_ground import Ground, ground, size, wait_until
from benchmarks.pods_kinds import KINDS, End, Kind, Target
from cluster.launchers import Witness
from halfstep.producer import NewTask, enqueue_many
from halfstep.reports import Report

TASKS = size("MIXED", 200)
OPEN = 24
"""Pods at once. Ten times as many at a start make a node of two cores tell wrong things: such as `Error` for `OOMKilled`."""
OVER = ("succeeded", "failed", "cancelled")
SECONDS = 1800.0
LAUNCHER_MIB = 300
"""Far above what a launcher with 200 pods needs, far below what 20 MB of log for each of 17 would take at once."""


def mixed_bars(url: str) -> list[Bar]:
    """One launcher, one real node."""
    with ground(url) as here:
        witness = Witness(here.cluster, here.namespace)
        launcher = here.launcher("mixed").process
        tasks = _run(here)
        reports = {task: here.reports.show(task) for task in tasks}
        wrong = list(_wrong(here, tasks, reports))
        witness.stop()
        return [
            _outcomes(tasks, wrong),
            *_pods(witness, list(reports.values())),
            Bar("beside it: Airflow's KubernetesExecutor with KPO", "2 pods an attempt", "cited, not measured", ok=True),
            _unharmed(launcher.poll(), _peak_mib(launcher.pid)),
        ]


MEASUREMENTS: dict[str, Measure] = {"mixed": mixed_bars}


def _run(here: Ground) -> dict[int, Kind]:
    """The tasks and their kinds, when all have ended."""
    tasks: dict[int, Kind] = {}
    disturbed: set[int] = set()

    def all_over() -> bool:
        _disturb(here, tasks, disturbed)
        states = here.reports.states(list(tasks))
        room = OPEN - sum(states.get(task) not in OVER for task in tasks)
        numbers = range(len(tasks), min(TASKS, len(tasks) + room))
        tasks.update(_enqueued(here, numbers))
        return room == OPEN and not numbers

    wait_until(all_over, seconds=SECONDS, what="the end of all mixed pods", every=1.0)
    return tasks


def _enqueued(here: Ground, numbers: range) -> dict[int, Kind]:
    """By task."""
    kinds = [KINDS[number % len(KINDS)] for number in numbers]
    tasks = [NewTask("pod", kind.args, kind.options | {"placement": "pod"}) for kind in kinds]
    return dict(zip(enqueue_many(here.database, tasks), kinds, strict=True))


def _disturb(here: Ground, tasks: dict[int, Kind], disturbed: set[int]) -> None:
    """Each once."""
    for target in _due(here, tasks, disturbed):
        with suppress(ApiException):  # such as 429 for an eviction: the next round tries again
            tasks[target.task].disturb(target)  # type: ignore[misc]  # `_due` gives only those that have one
            disturbed.add(target.task)


def _due(here: Ground, tasks: dict[int, Kind], disturbed: set[int]) -> Iterator[Target]:
    """Pods that run and are to be disturbed."""
    running = here.cluster.core.list_namespaced_pod(here.namespace, field_selector="status.phase=Running").items
    for pod in running:
        meta: Any = pod.metadata
        task = int(meta.labels["halfstep.io/task"])
        if tasks[task].disturb and task not in disturbed and meta.deletion_timestamp is None:
            yield Target(here, meta.name, task)


# -- what is wrong


def _wrong(here: Ground, tasks: dict[int, Kind], reports: dict[int, Report]) -> Iterator[str]:
    """A line for each task that was told something else than it should; printed, too."""
    for task, kind in tasks.items():
        complaint = _complaint(kind, reports[task])
        if not complaint and kind.log:
            complaint = kind.log([line for _, line in here.reports.log(task)])
        if complaint:
            print(f"wrong: {kind.name}, task {task}: {complaint}", file=sys.stderr)
            yield kind.name


def _complaint(kind: Kind, report: Report) -> str:
    told = [_end(attempt) for attempt in report["attempts"]]
    pairs = zip_longest(kind.ends, told)
    if not all(wanted and got and _is(wanted, got) for wanted, got in pairs) or report["state"] != kind.ends[-1].outcome:
        return f"{report['state']}, {told} instead of {kind.ends}"
    if report["state"] == "succeeded" and (report["result"], report["failures"]) != (kind.result, 0):
        return f"result {report['result']}, {report['failures']} failures"
    return ""


def _end(attempt: Mapping[str, Any]) -> End:
    label = (attempt["pod"] or {}).get("class") or "none"
    return End(attempt["outcome"], label, attempt["reason"], attempt["error"] or "")


def _is(wanted: End, got: End) -> bool:
    return replace(got, words=wanted.words) == wanted and wanted.words in got.words


# -- bars


def _outcomes(tasks: dict[int, Kind], wrong: Sequence[str]) -> Bar:
    listed = ", ".join(f"{count} {name}" for name, count in Counter(wrong).items())
    figure = f"{len(tasks) - len(wrong)}/{len(tasks)}" + (f" (wrong: {listed})" if wrong else "")
    return Bar(f"{len(tasks)} mixed pods: right state, class and message", figure, "all", not wrong)


def _pods(witness: Witness, reports: Sequence[Report]) -> list[Bar]:
    """Every attempt here is accepted by the API server, so each has to have had its pod, and no pod is nobody's."""
    named = [attempt["pod"]["name"].removeprefix("hs-") for report in reports for attempt in report["attempts"]]
    counts = [len(witness.uids.get(attempt, ())) for attempt in named]
    most, strangers = max(counts, default=0), witness.uids.keys() - set(named)
    exact = set(counts) == {1} and not strangers
    return [
        Bar("pods per attempt, by a watch: max", str(most), "<= 1", most <= 1),
        Bar("pods per attempt: where one was accepted", f"{sum(counts)} for {len(counts)} attempts", "exactly 1", exact),
    ]


def _unharmed(code: int | None, peak: int) -> Bar:
    bar = "20 MB of log each: the launcher's peak memory"
    return Bar(
        bar,
        f"{peak} MiB" if code is None else f"ended with {code}",
        f"<= {LAUNCHER_MIB} MiB",
        code is None and peak <= LAUNCHER_MIB,
    )


def _peak_mib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)
