"""10,000 random pods and events before a launcher: it goes on, and its memory stays what it was.

The launcher is a process like any other; the API server is one of the tests' own, as a real one would not say such things.
"""

from __future__ import annotations

import random
import secrets
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

from benchmarks.bars import Bar, Measure
from benchmarks.pods_gauges import Process
from benchmarks.pods_ground import size, wait_until
from halfstep.errors import HalfstepError
from isolation.launcher_ground import INNOCENT, NAMESPACE, Ground, marked
from kubernetes_node import saying
from pod_builders import pod
from random_pods import bent_pod, odd

EVENTS = size("EVENTS", 10_000)
SEED = size("SEED", secrets.randbelow(2**32))
ROUND = 500
VICTIMS = 20
"""Tasks whose pods are said to be all sorts of things; whatever becomes of them, nobody else pays."""
BROKEN = 0.001
"""Of the events, those that are none: each ends the watch, which lists again."""
GROWN_MIB = 64
LATE_SECONDS = 60.0


def random_bars(url: str) -> list[Bar]:
    """A task that is told of after each 500 events has to end well: all that came before has been taken in by then."""
    print(f"  seed {SEED} (HALFSTEP_BARS_SEED)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="halfstep-bars-") as folder, closing(Ground(url, Path(folder))) as here:
        here.node.scripts["runs"] = [saying(pod())]
        process = here.launch(lease_seconds=10.0, renew_seconds=1.0)
        launcher, luck = Process(process.pid), random.Random(SEED)
        victims = here.enqueue(*[("pod", marked("runs"))] * VICTIMS)
        wait_until(lambda: len(here.fake.accepted) == VICTIMS, seconds=LATE_SECONDS, what="the first pods")
        attempts = _attempts(here, victims)
        sizes, ended = [], 0
        for _ in range(max(2, EVENTS // ROUND)):
            _say(here, luck, attempts)
            ended += _one_more_ends_well(here)
            sizes.append(launcher.memory_kib if process.poll() is None else 0)
        alive = process.poll() is None
        spoken_of = Counter(here.reports.states(victims).values())
    grown = (max(sizes) - sizes[len(sizes) // 5]) / 1024
    rounds, told = len(sizes), ", ".join(f"{number} {state}" for state, number in spoken_of.items())
    return [
        Bar(
            f"{EVENTS:,} random pods and events: the launcher",
            f"{'goes on' if alive else 'has ended'} ({told})",
            "goes on",
            alive,
        ),
        Bar("tasks that ended well meanwhile", f"{ended} of {rounds}", f"{rounds}", ended == rounds),
        Bar("memory that it took more after the first fifth", f"{grown:.1f} MiB", f"<= {GROWN_MIB} MiB", grown <= GROWN_MIB),
    ]


MEASUREMENTS: dict[str, Measure] = {"random": random_bars}


def _attempts(here: Ground, tasks: list[int]) -> list[str]:
    shown = [here.reports.show(task)["attempts"][-1]["pod"] for task in tasks]
    return [str(told["name"]).removeprefix("hs-") for told in shown if told]


def _say(here: Ground, luck: random.Random, attempts: list[str]) -> None:
    wait_until(lambda: here.fake.watching, seconds=LATE_SECONDS, what="the launcher's watch")
    for _ in range(ROUND):
        if luck.random() < BROKEN:
            here.fake.store.say_of_pods(odd(luck), odd(luck), namespace=NAMESPACE)
            wait_until(lambda: here.fake.watching, seconds=LATE_SECONDS, what="the launcher's watch")
        made = bent_pod(luck, installation="i", attempts=attempts)
        made = made if isinstance(made, dict) and isinstance(made.get("metadata"), dict) else {"metadata": {}, "spec": made}
        here.fake.store.say_of_pods(
            luck.choice(["ADDED", "MODIFIED", "MODIFIED", "DELETED", "BOOKMARK"]), made, namespace=NAMESPACE
        )


def _one_more_ends_well(here: Ground) -> bool:
    (task,) = here.enqueue(("pod", INNOCENT))
    try:
        wait_until(lambda: here.state(task) == "succeeded", seconds=LATE_SECONDS, what="a task's end", every=0.05)
    except HalfstepError:
        print(f"  task {task} is {here.state(task)}; {here.log.read_text()[-1500:]}", file=sys.stderr, flush=True)
        return False
    return True
