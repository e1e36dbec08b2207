"""`halfstep bench`: how fast tasks drain and start here, through real workers and real children."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds `bench drain` and `bench latency` to the command."""
    # Workers import the tasks below this package; the command's own imports are not theirs to pay for.
    from halfstep_cli.bench.command import group

    app.add_typer(group())
