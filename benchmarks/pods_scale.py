"""How many pods one launcher keeps, and how fast it makes them. The API server's own counters tell what it was asked.

They count for everybody: a figure in requests holds only while nobody else uses the cluster.
"""

from __future__ import annotations

import re
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bars import Bar, Measure
from benchmarks.pods_gauges import Process, Sightings, asked
from benchmarks.pods_ground import Ground, ground, pause, shell, size, wait_until
from cluster.kube import has_kwok, simulated_node
from cluster.launchers import LauncherProcess
from halfstep.errors import HalfstepError
from halfstep.pods import PodBook
from halfstep.producer import NewTask, enqueue, enqueue_many
from halfstep.queue import Queue

WARM = 50
CROWD = size("CROWD", 2000)
TALKERS = size("TALKERS", 100)
SAMPLES = size("SAMPLES", 300)
SETTLED_SECONDS = 10.0
REST_SECONDS = 30.0
TALK_SECONDS = 60.0
PER_POD_KIB = 60
LATE_SECONDS = 15.0
AIRFLOW = "Airflow's sync operator: 106-169 MB"
NOWHERE = {"halfstep.test/no": "such-node"}
"""A node selector that no node has: the pod is made and stays pending."""


# -- pods that are kept


def crowd_bars(url: str) -> list[Bar]:
    """2,000 pods that run on simulated nodes: what they cost their launcher, and that their ends are noticed.

    Simulated pods have no logs: each is asked for, seldom, and the answer is 404; so little of log collection is in the figures.
    """
    with ground(url) as here, simulated_nodes(here):
        launcher = Process(here.launcher("keeper").process.pid)
        few = _run_crowd(here, WARM)
        few_threads = launcher.threads
        _end_crowd(here, few)
        pause(SETTLED_SECONDS)
        before = launcher.memory_kib
        many = _run_crowd(here, CROWD)
        pause(SETTLED_SECONDS)
        each = (launcher.memory_kib - before) / CROWD
        load = launcher.share_of_a_core(REST_SECONDS)
        many_threads = launcher.threads
        begun = time.monotonic()
        ends = _end_crowd(here, many)
        seconds = time.monotonic() - begun
    wanted = Counter(succeeded=CROWD // 2, cancelled=CROWD - CROWD // 2)
    who = f"{CROWD:,} running pods"
    return [
        Bar(f"{who}: memory a pod", f"{each:.1f} KiB ({AIRFLOW})", f"<= {PER_POD_KIB} KiB", each <= PER_POD_KIB),
        Bar(f"{who}: launcher at rest", f"{load:.1%} of a core", "<= 5 %", load <= 0.05),
        Bar(f"{who}: launcher's threads", f"{many_threads}", f"as with {WARM}: {few_threads}", many_threads == few_threads),
        Bar(f"{who}: verdicts when they end", f"{_counted(ends)} in {seconds:.0f} s", _counted(wanted), ends == wanted),
    ]


@contextmanager
def simulated_nodes(here: Ground, count: int = 2) -> Iterator[None]:
    """Nodes that KWOK plays, gone when the block ends. Raises HalfstepError where KWOK does not run."""
    if not has_kwok(here.cluster):
        raise HalfstepError("Simulated nodes need KWOK in the cluster; `make cluster-up KWOK=1` adds it to one of our own.")
    core: Any = here.cluster.core
    names = [f"simulated-{secrets.token_hex(4)}" for _ in range(count)]
    for name in names:
        core.create_node(simulated_node(name))
    try:
        yield
    finally:
        for name in names:
            core.delete_node(name)


def _run_crowd(here: Ground, count: int) -> list[int]:
    """Returns when their launcher has seen all of them run."""
    args = shell(
        "true",
        node_selector={"halfstep.test/simulated": "true"},
        tolerations=[{"key": "halfstep.test/simulated", "operator": "Exists"}],
    )
    ids = enqueue_many(here.database, [NewTask("pod", args, {"placement": "pod", "max_attempts": 1})] * count)
    wait_until(lambda: _running(here, count) == count, seconds=60 + count / 10, what=f"{count} running pods", every=2.0)
    return ids


def _running(here: Ground, count: int) -> int:
    known = PodBook(here.database).list(limit=2 * count)
    return sum(1 for pod in known if (pod["facts"] or {}).get("started"))


def _end_crowd(here: Ground, ids: Sequence[int]) -> Counter[str]:
    """Half of them end by themselves, half are cancelled. The states of all when there is no pod left, or no more time."""
    half = set(ids[: len(ids) // 2])
    ending = {"metadata": {"annotations": {"halfstep.test/runs-for": "0s"}}}
    for pod in here.pods():
        if int(pod.metadata.labels["halfstep.io/task"]) in half:
            here.cluster.core.patch_namespaced_pod(pod.metadata.name, here.namespace, ending)
    for id in ids[len(ids) // 2 :]:
        Queue(here.database).cancel(id)
    with suppress(HalfstepError):
        wait_until(lambda: not here.pods(), seconds=60 + len(ids) / 10, what="the pods' removal", every=2.0)
    return Counter(here.reports.states(ids).values())


def _counted(states: Counter[str]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))


# -- pods that talk


def talk_bars(url: str) -> list[Bar]:
    """100 real pods that print a number and the time every second: how often logs are asked for, and how late lines are."""
    script = "n=0; while true; do echo $((n += 1)) $(date +%s); sleep 1; done"
    args = shell(script, resources={"requests": {"cpu": "1m", "memory": "1Mi"}})
    with ground(url) as here:
        here.launcher("listener")
        ids = enqueue_many(here.database, [NewTask("pod", args, {"placement": "pod"})] * TALKERS)
        wait_until(lambda: _running(here, TALKERS) == TALKERS, seconds=300, what=f"{TALKERS} real pods", every=1.0)
        listener = Listener(here, ids)
        listener.listen(LATE_SECONDS)  # what was printed while the last pods started
        listener.delays.clear()
        before, begun = asked(here, 'subresource="log"'), time.monotonic()
        listener.listen(TALK_SECONDS)
        rate = (asked(here, 'subresource="log"') - before) / (time.monotonic() - begun)
        latest = max(*listener.delays, listener.silence())
        _cancel(here, ids)
    who = f"{TALKERS} pods, a line a second"
    lateness = f"{latest:.1f} s (median {statistics.median(listener.delays):.1f} s)"
    lost = f"{listener.lost:,} of {len(listener.delays):,}"
    return [
        Bar(f"{who}: log requests", f"{rate:.1f}/s", "<= 10/s", rate <= 10),
        Bar(f"{who}: latest line", lateness, f"<= {LATE_SECONDS:.0f} s", latest <= LATE_SECONDS),
        Bar(f"{who}: lines lost", lost, "0", listener.lost == 0),
    ]


@dataclass(slots=True)
class Listener:
    """Reads what the log store has, as a reader would. The cluster's clock has to be this machine's, to a second."""

    here: Ground
    ids: Sequence[int]
    delays: list[float] = field(default_factory=list)
    """Seconds from a line's printing (the whole second that it tells) to its being readable."""
    lost: int = 0
    """Lines whose number does not follow on the one before."""
    _positions: dict[int, tuple[int, int]] = field(default_factory=dict)
    _newest: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By task: number and time of its last line."""

    def listen(self, seconds: float) -> None:
        """Looks twice a second."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for id in self.ids:
                self._look(id)
            pause(0.5)

    def silence(self) -> float:
        """Seconds since the task longest unheard should have been heard again."""
        return time.time() - 1.0 - min(at for _, at in self._newest.values())

    def _look(self, id: int) -> None:
        for position, line in self.here.reports.log(id, after=self._positions.get(id, (0, -1))):
            self._positions[id] = position
            if line["stream"] != "stdout":  # a marker of ours
                continue
            number, at = map(int, line["text"].split())
            self.lost += number != self._newest.get(id, (0, 0.0))[0] + 1
            self._newest[id] = number, at
            self.delays.append(time.time() - at)


def _cancel(here: Ground, ids: Sequence[int]) -> None:
    for id in ids:
        Queue(here.database).cancel(id)
    wait_until(lambda: not here.pods(), seconds=120, what="the pods' removal", every=1.0)


# -- pods that are made


def delay_bars(url: str) -> list[Bar]:
    """One pod after the other: from enqueue until our own watch shows it."""
    args = shell("true", node_selector=NOWHERE)
    with ground(url) as here, closing(Sightings(here)) as sightings:
        here.launcher("maker")
        _warm_up(here, sightings, args)
        delays = [_creation_ms(here, sightings, args) for _ in range(SAMPLES)]
    p50, p99 = (statistics.quantiles(delays, n=100)[n] for n in (49, 98))
    return [
        Bar(f"enqueue to pod object, {SAMPLES} times: p50", f"{p50:.1f} ms", "<= 30 ms", p50 <= 30),
        Bar(f"enqueue to pod object, {SAMPLES} times: p99", f"{p99:.1f} ms", "<= 150 ms", p99 <= 150),
    ]


def burst_bars(url: str) -> list[Bar]:
    """2,000 pods at once, from the first that our own watch shows to the last."""
    args = shell("true", node_selector=NOWHERE)
    with ground(url) as here, closing(Sightings(here)) as sightings:
        launcher = here.launcher("maker")
        wait_until(lambda: here.reports.workers(), seconds=30, what="the launcher")
        refused = asked(here, 'code="429"')
        ids = enqueue_many(here.database, [NewTask("pod", args, {"placement": "pod"})] * CROWD)
        wait_until(lambda: sightings.moments.keys() >= set(ids), seconds=120, what=f"{CROWD} pods")
        refused = asked(here, 'code="429"') - refused + _complaints(launcher)
        moments = sorted(sightings.moments[id] for id in ids)
    rate = (CROWD - 1) / (moments[-1] - moments[0])
    return [
        Bar(f"{CROWD:,} pods made at once", f"{rate:.0f}/s", ">= 100/s", rate >= 100),
        Bar("requests refused for their number (429)", f"{refused:.0f}", "0", refused == 0),
    ]


def _warm_up(here: Ground, sightings: Sightings, args: dict[str, Any]) -> None:
    for _ in range(3):  # the launcher has to start, to connect, to read its modules
        sightings.wait_for(enqueue(here.database, "pod", args, placement="pod"), seconds=30)


def _creation_ms(here: Ground, sightings: Sightings, args: dict[str, Any]) -> float:
    begun = time.monotonic()
    return (sightings.wait_for(enqueue(here.database, "pod", args, placement="pod")) - begun) * 1000


def _complaints(launcher: LauncherProcess) -> int:
    """Lines of the launcher's output that speak of too many requests."""
    return sum(1 for line in launcher.log.read_text().splitlines() if re.search(r"\b429\b|too many requests", line, re.I))


MEASUREMENTS: dict[str, Measure] = {"crowd": crowd_bars, "talk": talk_bars, "delay": delay_bars, "burst": burst_bars}
