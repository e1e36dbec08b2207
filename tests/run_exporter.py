"""An exporter as a process of its own, for tests: prints its port and serves until TERM. Its times are short."""

from __future__ import annotations

import os
import signal
import threading

from prometheus_client import CollectorRegistry

from halfstep.metrics.exporter import Exporter, ExporterSettings
from halfstep.metrics.server import MetricsServer


def main() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    exporter = Exporter(os.environ["HALFSTEP_DATABASE_URL"], ExporterSettings(interval=1, lease=3, step=0.3))
    registry = CollectorRegistry()
    registry.register(exporter)
    server = MetricsServer("127.0.0.1:0", registry, exporter)
    server.start()
    exporter.start()
    print(server.port, flush=True)
    stopped.wait()
    server.stop()
    exporter.stop()


if __name__ == "__main__":
    main()
