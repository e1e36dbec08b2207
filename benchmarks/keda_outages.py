"""Scalers that die, streams that break, a database that stops, a KEDA that is restarted: workers stay, and activation comes back.

Two fleets are looked at at the same time: workers that have work all the while, whose number must never be zero; and launchers
at rest, which get their first task in the moment of recovery. The launchers' pods find no node: only their number matters.
"""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kubernetes.client.exceptions import ApiException

from benchmarks.bars import Bar, Measure
from benchmarks.keda_end_to_end import NotMeasured
from benchmarks.keda_ground import (
    ENQUEUE,
    SCALERS,
    container_of,
    fleet,
    kill,
    nowhere,
    patch_of,
    processes_of,
    reach,
    tasks,
    to_rest,
)
from benchmarks.pods_ground import pause, size, wait_until
from cluster.full_run import LAUNCHERS, WORKERS, FullRun
from cluster.installation import SETTINGS, SYSTEM
from cluster.manifest_ground import kubectl
from halfstep.errors import HalfstepError

DOWN_SECONDS = size("DOWN_SECONDS", 60)
BREAKS = size("BREAKS", 5)
POLLED_SECONDS = float(SETTINGS["polling-interval"]) + 2
RESOLVED_SECONDS, LED_SECONDS = 40.0, 25.0
"""grpc-go looks names up again every 30 s at most; KEDA's leader lease is 15 s."""
PATIENCE_SECONDS, BREAKS_SECONDS = 90.0, 150.0
KEDA, OPERATOR = "keda", "app=keda-operator"
SCALER_LABELS = "app.kubernetes.io/name=halfstep, app.kubernetes.io/component=scaler"
HOLD = "/var/lib/postgresql/data/hold"
DATABASE = container_of(
    "halfstep-postgres",
    command=["sh", "-c", f"while [ -e {HOLD} ]; do sleep 0.1; done; exec sh /etc/halfstep/start.sh"],
    startupProbe={"failureThreshold": 600},
)
"""Its data outlive its container: it stays down for as long as that file is there."""
NO_FALLBACK = patch_of("ScaledObject", LAUNCHERS, {"fallback": None})
"""Or KEDA would start one while no scaler answers, and there would be nothing left to activate. The workers keep theirs."""


@dataclass(frozen=True, slots=True)
class Outage:
    """cause: returns in the moment of recovery. bound: seconds from then until activation works."""

    name: str
    cause: Callable[[FullRun], None]
    bound: float


def outages_bars(url: str) -> list[Bar]:
    """The given database is not used."""
    with fleet(patches=[nowhere(LAUNCHERS), NO_FALLBACK, DATABASE]) as run:
        busy = _keep_busy(run)
        return [*(_survived(run, outage) for outage in OUTAGES), _never_at_zero(run, busy)]


def _keep_busy(run: FullRun) -> float:
    """Two tasks that don't end; since when there are workers for them."""
    at = run.commit(ENQUEUE, tasks(2, "sleep 3600"))
    return at + reach(run, 1, WORKERS, since=at, within=30)


def _survived(run: FullRun, outage: Outage) -> Bar:
    name = f"keda: activation after: {outage.name}"
    try:
        to_rest(run, LAUNCHERS)
        outage.cause(run)
    except (HalfstepError, AssertionError) as error:
        return Bar(name, "could not be measured", str(error), ok=False)
    at = time.time()
    if run.replicas.now(LAUNCHERS):
        return Bar(name, "there were launchers before there was work", f"<= {outage.bound:.0f} s", ok=False)
    run.commit(ENQUEUE, tasks(1, placement="pod"))
    back = reach(run, 1, LAUNCHERS, since=at, within=PATIENCE_SECONDS)
    figure = f"{back:.2f} s" if back < math.inf else f"not within {PATIENCE_SECONDS:.0f} s"
    return Bar(name, figure, f"<= {outage.bound:.0f} s", back <= outage.bound)


def _never_at_zero(run: FullRun, since: float) -> Bar:
    numbers = [number for _, number in run.replicas.since(since, WORKERS)]
    least = min([*numbers, run.replicas.now(WORKERS)])
    left = run.one("SELECT count(*) FROM halfstep.task WHERE placement = 'worker'")
    figure = f"{least} (of {left} tasks' workers, {time.time() - since:.0f} s)"
    return Bar("keda: least replicas while there was work", figure, ">= 1", least >= 1 and left == 2)


# -- what breaks


def _kill_scaler(run: FullRun) -> None:
    kill(run.here.pods(SCALERS)[0])


def _delete_scaler(run: FullRun) -> None:
    _delete(run, SYSTEM, [run.here.pods(SCALERS)[-1]])


def _break_streams(run: FullRun) -> None:
    """KEDA backs off for 2, 4, 8 … seconds before it opens a stream again; an open one is broken within half a second."""
    begun = time.time()
    while _broken(run, begun) < BREAKS:
        if time.time() - begun > BREAKS_SECONDS:
            raise NotMeasured(f"KEDA's streams could not be broken {BREAKS} times within {BREAKS_SECONDS:.0f} s.")
        for pod in _pods(run, KEDA, OPERATOR):
            _cut(pod)
        pause(0.5)


def _broken(run: FullRun, begun: float) -> int:
    """How often KEDA lost the stream that tells it of launchers, by its own log."""
    since, read = int(time.time() - begun) + 1, run.here.cluster.core.read_namespaced_pod_log
    logs = [str(read(pod.metadata.name, KEDA, since_seconds=since)) for pod in _pods(run, KEDA, OPERATOR)]
    lines = [line for log in logs for line in log.splitlines()]
    return sum("error running StreamIsActive" in line and f'"{LAUNCHERS}"' in line for line in lines)


def _stop_database(run: FullRun) -> None:
    _in_database(f"touch {HOLD}; kill -INT 1")
    pause(DOWN_SECONDS)
    _in_database(f"rm {HOLD}")
    run.here.connect().close()


def _replace_scalers(run: FullRun) -> None:
    _replace(run, SYSTEM, SCALER_LABELS)


def _restart_keda(run: FullRun) -> None:
    _replace(run, KEDA, "")


OUTAGES = (
    Outage(f"stream broken {BREAKS} times", _break_streams, POLLED_SECONDS),
    Outage("one scaler killed", _kill_scaler, POLLED_SECONDS),
    Outage("one scaler deleted", _delete_scaler, POLLED_SECONDS),
    Outage(f"database stopped for {DOWN_SECONDS} s", _stop_database, POLLED_SECONDS),
    Outage("both scalers replaced", _replace_scalers, RESOLVED_SECONDS),
    Outage("KEDA restarted", _restart_keda, LED_SECONDS),
)


# -- with what


def _cut(pod: Any) -> None:
    """Breaks its connections to scalers, in its network."""
    there = ["nsenter", "--target", str(processes_of(pod)[0]), "--net"]
    words = ["ss", "--tcp", "--kill", "--no-header", "dport", "=", ":9443"]
    subprocess.run([*there, *words], capture_output=True, timeout=10, check=True)


def _in_database(script: str) -> None:
    answer = kubectl("--namespace", SYSTEM, "exec", "deployment/halfstep-postgres", "--", "sh", "-c", script)
    if answer.code:
        raise NotMeasured(answer.err)


def _pods(run: FullRun, namespace: str, labels: str) -> list[Any]:
    return list(run.here.cluster.core.list_namespaced_pod(namespace, label_selector=labels).items)


def _delete(run: FullRun, namespace: str, pods: list[Any]) -> None:
    for pod in pods:
        with suppress(ApiException):  # gone
            run.here.cluster.core.delete_namespaced_pod(pod.metadata.name, namespace, grace_period_seconds=0)


def _replace(run: FullRun, namespace: str, labels: str) -> None:
    """All of them at once, without grace; until as many others are ready."""
    old = _pods(run, namespace, labels)
    _delete(run, namespace, old)
    gone = {pod.metadata.uid for pod in old}
    wait_until(
        lambda: sum(_is_ready(pod) and pod.metadata.uid not in gone for pod in _pods(run, namespace, labels)) == len(old),
        seconds=180, what=f"other pods of {namespace}", every=0.2,
    )  # fmt: skip


def _is_ready(pod: Any) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())


MEASUREMENTS: dict[str, Measure] = {"outages": outages_bars}
