"""Real worker processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from poolers import pooled
from waiting import PATIENCE

HERE = Path(__file__).parent
QUICK: dict[str, Any] = {
    "slots": 2,
    "lease_seconds": 2.0,
    "renew_seconds": 0.4,
    "poll_seconds": 0.3,
    "grace": 1.0,
    "stop_grace": 1.0,
}


class WorkerProcess:
    """One worker. `stop` drains it and returns its exit code. failpoints: see halfstep/failpoints.py.

    With HALFSTEP_TEST_POOLER in the environment it goes through PgBouncer, as an installation with our component does.
    """

    def __init__(self, url: str, source: Path, log: Path, *, failpoints: str = "", variant: str = "", **settings: Any) -> None:
        if os.environ.get("HALFSTEP_TEST_POOLER"):
            settings.setdefault("listen_url", url)
            url = pooled(url)
        given = QUICK | {"database_url": url, "source": str(source)} | settings
        self.name = settings.get("name", "")
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "run_worker.py")],
                env=os.environ
                | {"HALFSTEP_TEST_SETTINGS": json.dumps(given), "PYTHONPATH": os.pathsep.join(sys.path)}
                | {"HALFSTEP_FAILPOINTS": failpoints, "HALFSTEP_TEST_VARIANT": variant},
                stdout=out,
                stderr=out,
            )

    def signal(self, number: int) -> None:
        """Sends a signal to the worker process itself."""
        self.process.send_signal(number)

    def stop(self, *, seconds: float = PATIENCE) -> int:
        """Asks it to drain, and waits."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = PATIENCE) -> int:
        """Its exit code."""
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """SIGKILL, and reap."""
        self.process.kill()
        self.process.wait(timeout=PATIENCE)
