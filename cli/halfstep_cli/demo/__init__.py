"""`halfstep demo`: the main job on real input, on a database of its own."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds `demo` to the command."""
    # Workers import the analysis below this package; the command's own imports are not theirs to pay for.
    from halfstep_cli.demo.command import demo
    from halfstep_cli.options import add

    add(app, "demo", demo, examples=["halfstep demo", "halfstep demo --files ./my-project"])
