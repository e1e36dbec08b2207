"""The commands, a few to a module. Each module has `register(app)`; heavy imports stand inside the functions that need them."""

from __future__ import annotations

import typer

from halfstep_cli.commands import (
    administration,
    doctor,
    drain,
    enqueueing,
    exporter,
    installation,
    logs,
    pods,
    queues,
    scaler,
    tasks,
    uninstall,
    worker,
    workers,
)


def register(app: typer.Typer) -> None:
    """All of them, in the order that the help shows."""
    for module in (
        enqueueing,
        tasks,
        logs,
        queues,
        worker,
        workers,
        drain,
        pods,
        scaler,
        exporter,
        administration,
        installation,
        uninstall,
        doctor,
    ):
        module.register(app)
