"""/metrics and the probes over HTTP, and the exporter of the queue's metrics beside them. Nothing of it without an address."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from halfstep.metrics.exporter import Exporter, ExporterSettings
from halfstep.metrics.server import MetricsServer
from halfstep_scaler.settings import ScalerSettings

STUCK_SECONDS = 30.0


@dataclass(slots=True)
class Vitals:
    """How the scaler does. Written by the event loop, read by the probes' threads."""

    trouble: str = "The demand has not been read yet."
    """Why it is not ready; empty if it is."""
    turned_at: float = field(default_factory=time.monotonic)

    def healthy(self) -> str:
        """Empty, or why the process should be started anew."""
        late = time.monotonic() - self.turned_at
        return f"The event loop has not turned for {late:.0f} s." if late > STUCK_SECONDS else ""

    def ready(self) -> str:
        """Empty, or why it does not serve."""
        return self.trouble


class Monitoring:
    """Serves from `start` to `stop`."""

    def __init__(self, settings: ScalerSettings, registry: CollectorRegistry, vitals: Vitals) -> None:
        self._server = MetricsServer(settings.metrics, registry, vitals) if settings.metrics else None
        self._exporter: Exporter | None = None
        if self._server and settings.exporter:
            self._exporter = Exporter(settings.database_url, ExporterSettings(settings.name))
            registry.register(self._exporter)

    def start(self) -> int | None:
        """Returns the port, None without an address. Raises InvalidSettings if the address can't be used."""
        if self._server is None:
            return None
        self._server.start()
        if self._exporter:
            self._exporter.start()
        return self._server.port

    def stop(self) -> None:
        """Gives the exporter's role up, so that another replica need not wait for it to end."""
        if self._exporter:
            self._exporter.stop()
        if self._server:
            self._server.stop()
