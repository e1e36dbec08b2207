"""The bars of the tests' own cluster: how soon it is there, and that it leaves nothing.

Measured on a second one in a folder of its own, so that a cluster which runs stays as it is. Its
programs and images have to be built already.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bars import Bar, Measure
from benchmarks.pods_ground import wait_until
from cluster.harness import keda, stage
from cluster.harness.paths import CHECKOUT, group_of
from cluster.harness.programs import COREDNS, ETCD, KEDA, KUBERNETES_MODULE
from cluster.harness.requirements import unfit
from cluster.traces import Process, family, furniture, left_of
from halfstep.errors import HalfstepError

MODULES = (ETCD, KUBERNETES_MODULE, COREDNS, KEDA)
PLAIN_SECONDS = 60
KEDA_SECONDS = 150
SMALLEST_FAMILY = 12
"""Processes that a cluster has at the least; with fewer of them known, that none is left would prove nothing."""


class NoSecondCluster(HalfstepError):
    """No cluster of our own can be started here."""


def start_bars(url: str) -> list[Bar]:
    """From nothing to a node with DNS, on to KEDA, and back to nothing. The time to KEDA counts from the beginning."""
    with second_cluster() as second:
        plain = second.timed("up")
        keda = plain + second.timed("up", "--keda")
        members = family(second.holder)
        down = second.timed("down")
        left = second.left_of(members)
    traces = ", ".join(sorted(left)) or f"nothing ({down:.0f} s)"
    known = len(members) >= SMALLEST_FAMILY
    return [
        Bar("cluster-up, warm: node and DNS", f"{plain:.0f} s", f"<= {PLAIN_SECONDS} s", plain <= PLAIN_SECONDS),
        Bar("cluster-up, warm: with KEDA", f"{keda:.0f} s", f"<= {KEDA_SECONDS} s", keda <= KEDA_SECONDS),
        Bar(f"cluster-down: left of {len(members)} processes", traces, "nothing", known and not left),
    ]


@dataclass(frozen=True, slots=True)
class SecondCluster:
    """Its commands, as another process runs them. before: mounts, links and control groups that there were without it."""

    folder: Path
    before: set[str]

    @property
    def holder(self) -> int:
        """The process that all of it descends from."""
        return int(json.loads((self.folder / "holder.json").read_text())["pid"])

    def timed(self, *words: str) -> float:
        """Seconds that the harness's command took. Raises NoSecondCluster where it failed."""
        environment = os.environ | {"HALFSTEP_CLUSTER_FOLDER": str(self.folder), "PYTHONPATH": str(CHECKOUT / "tests")}
        command = [sys.executable, "-m", "cluster.harness", *words]
        begun = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoSecondCluster(f"cluster.harness {' '.join(words)} failed: {done.stderr.strip()[-500:]}")
        return time.monotonic() - begun

    def left_of(self, members: set[Process]) -> set[str]:
        """Processes, namespaces, mounts, links and control groups that stay, a little later at the latest."""
        with suppress(HalfstepError):
            wait_until(lambda: not self._left(members), seconds=10, what="the end of all that belonged to the cluster")
        return self._left(members)

    def _left(self, members: set[Process]) -> set[str]:
        return left_of(members) | (furniture(group_of(self.folder)) - self.before)


@contextmanager
def second_cluster() -> Iterator[SecondCluster]:
    """Not started; stopped at the end if it runs. Raises NoSecondCluster."""
    if reason := unfit():
        raise NoSecondCluster(f"No cluster of our own can be started here: {reason}.")
    _refuse_cold_caches()
    with tempfile.TemporaryDirectory(prefix="halfstep-bars-") as top:
        folder = Path(top) / "cluster"
        second = SecondCluster(folder, furniture(group_of(folder)))
        try:
            yield second
        finally:
            second.timed("down")


def _refuse_cold_caches() -> None:
    """Nothing is built here: beside another cluster, in its network, nothing can be downloaded."""
    cold = [module.name for module in MODULES if not module.target.exists()]
    cold = cold or [image.tag for image in (*stage.IMAGES, *keda.IMAGES) if not image.archive.exists()]
    if cold:
        raise NoSecondCluster(f"Not built yet: {', '.join(cold)}. `make cluster-up KEDA=1` builds all; then measure again.")


MEASUREMENTS: dict[str, Measure] = {"cluster": start_bars}
