"""`exporter`: the figures of the queue for Prometheus, by whichever of all exporters is elected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from halfstep_cli.logged import log_to_stderr
from halfstep_cli.options import add
from halfstep_cli.session import Session

if TYPE_CHECKING:
    from halfstep.metrics.exporter import Exporter
    from halfstep_cli.stopping import StopSignals

LISTEN = "127.0.0.1:9090"

Listen = Annotated[
    str,
    typer.Option("--metrics", metavar="HOST:PORT", envvar="HALFSTEP_METRICS", help="Where to serve; :9090 is every address."),
]
Interval = Annotated[float, typer.Option(metavar="SECONDS", min=1, max=3600, help="Between two looks at the database.")]
Name = Annotated[str, typer.Option(metavar="NAME", envvar="HALFSTEP_NAME", help="Default: the host's.", show_default=False)]


def exporter(session: Session, metrics: Listen = LISTEN, interval: Interval = 15.0, name: Name = "") -> None:
    """Serve what stands in the database to Prometheus, until a signal comes.

    Any number may run, beside scalers that do the same: one of them is elected and shows the figures, the others show none
    and take over when it goes. /healthz and /readyz tell how it is.
    """
    from halfstep.metrics.exporter import Exporter, ExporterSettings
    from halfstep.ownership import warn_of_superuser
    from halfstep_cli.stopping import StopSignals

    log_to_stderr()
    with session.open() as database:  # a database or schema that does not fit is told here
        warn_of_superuser(database)
    with StopSignals() as stop:
        _serve(Exporter(session.url, ExporterSettings(name, interval)), metrics, stop)


def _serve(running: Exporter, listen: str, stop: StopSignals) -> None:
    from prometheus_client import CollectorRegistry

    from halfstep.metrics.server import MetricsServer

    registry = CollectorRegistry()
    registry.register(running)
    server = MetricsServer(listen, registry, running)
    server.start()
    running.start()
    try:
        while not stop.asked:
            stop.wait(60)
    finally:
        server.stop()
        running.stop()


def register(app: typer.Typer) -> None:
    """exporter."""
    examples = ("halfstep exporter", "halfstep exporter --metrics :9090 --interval 30")
    add(app, "exporter", exporter, examples=examples)
