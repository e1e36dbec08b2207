"""A launcher process for tests: `halfstep worker --placement pod` with a short lease. Settings are JSON in the environment.

deadly: what kills it, by the step in which it meets a task with `deadly` in its args: `plan` or `create` are kills, `raise` and
`loop` exceptions that nobody expects, in the planner and out of the loop.
doubt_seconds: how often it asks about pods that it can't explain. sweep_seconds: how often it looks through whole namespaces.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import halfstep_worker.kubernetes.launcher as launcher_module
import halfstep_worker.kubernetes.sweep as sweep_module
from halfstep_worker.kubernetes.api import ClusterApi
from halfstep_worker.kubernetes.clusters import read_clusters
from halfstep_worker.kubernetes.cockpit import Cockpit
from halfstep_worker.kubernetes.flights import Flights
from halfstep_worker.kubernetes.launcher import Launcher
from halfstep_worker.kubernetes.planner import Planner
from halfstep_worker.kubernetes.policy import LauncherPolicy
from halfstep_worker.settings import WorkerSettings


def die(*_: object, **__: object) -> Any:
    """As by the kernel, for memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def stumble(*_: object, **__: object) -> Any:
    """As nobody has thought of."""
    raise ZeroDivisionError("so the test wants it")


def arm(deadly: str | None) -> None:
    """What has `deadly` in its args has that effect."""
    plan, create, begin = Planner._plan, ClusterApi.create_pod, Flights._begin
    met = {"plan": die, "raise": stumble}.get(deadly or "")
    if met is not None:
        Planner._plan = lambda self, claim: (met if "deadly" in claim.args else plan)(self, claim)  # type: ignore[method-assign]
    if deadly == "create":
        ClusterApi.create_pod = lambda self, namespace, manifest, *, seconds: (  # type: ignore[method-assign]
            die if "deadly" in json.dumps(manifest) else create
        )(self, namespace, manifest, seconds=seconds)
    if deadly == "loop":
        Flights._begin = lambda self, claim, past, now: (  # type: ignore[method-assign]
            stumble if "deadly" in claim.args else begin
        )(self, claim, past, now)


def main() -> int:
    """Runs until drained."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    given = json.loads(os.environ["HALFSTEP_TEST_SETTINGS"])
    cluster = read_clusters(Path(given.pop("clusters")), os.environ)[""]
    arm(given.pop("deadly", None))
    launcher_module.DOUBT_SECONDS = given.pop("doubt_seconds", launcher_module.DOUBT_SECONDS)
    if "sweep_seconds" in given:
        sweep_module.FIRST_SECONDS = sweep_module.SWEEP_SECONDS = given.pop("sweep_seconds")
    given["source"] = given.get("source") and Path(given["source"])
    settings = WorkerSettings(placement="pod", **given)
    launcher = Launcher(settings, Cockpit(settings, cluster, LauncherPolicy()))
    signal.signal(signal.SIGTERM, lambda *_: launcher.drain())
    return launcher.run()


if __name__ == "__main__":
    sys.exit(main())
