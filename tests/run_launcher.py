"""A launcher process for tests: `halfstep worker --placement pod` with a short lease. Settings are JSON in the environment."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path

from halfstep_worker.kubernetes.clusters import read_clusters
from halfstep_worker.kubernetes.cockpit import Cockpit
from halfstep_worker.kubernetes.launcher import Launcher
from halfstep_worker.kubernetes.policy import LauncherPolicy
from halfstep_worker.settings import WorkerSettings


def main() -> int:
    """Runs until drained."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    given = json.loads(os.environ["HALFSTEP_TEST_SETTINGS"])
    cluster = read_clusters(Path(given.pop("clusters")), os.environ)[""]
    settings = WorkerSettings(placement="pod", **given)
    launcher = Launcher(settings, Cockpit(settings, cluster, LauncherPolicy()))
    signal.signal(signal.SIGTERM, lambda *_: launcher.drain())
    return launcher.run()


if __name__ == "__main__":
    sys.exit(main())
