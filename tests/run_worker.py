"""A worker process for tests: settings as JSON in HALFSTEP_TEST_SETTINGS, signals as `halfstep worker` takes them.

HALFSTEP_TEST_VARIANT names a guard that this worker lacks (tests/variants.py): tests show with it that they would notice.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path

import variants
from halfstep_worker.accounts import account_of
from halfstep_worker.settings import WorkerSettings
from halfstep_worker.worker import Worker


def main() -> int:
    """Runs until drained."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    variants.break_guard(os.environ.get("HALFSTEP_TEST_VARIANT", ""))
    given = json.loads(os.environ["HALFSTEP_TEST_SETTINGS"])
    if given.get("source"):
        given["source"] = Path(given["source"])
    if given.get("run_as"):
        given["run_as"] = account_of(given["run_as"])
    worker = Worker(WorkerSettings(**given))
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        worker.stop() if asked else worker.drain()
        asked.append(number)

    signal.signal(signal.SIGTERM, stop)
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
