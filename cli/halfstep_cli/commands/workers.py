"""`workers`: who works, and who no longer does."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from halfstep_cli.options import Json, add
from halfstep_cli.output import Column, show_json, show_table
from halfstep_cli.session import Session

COLUMNS = (
    Column("worker", "name"),
    Column("state", "state"),
    Column("busy", "busy", right=True),
    Column("slots", "slots", right=True),
    Column("queues", "served"),
    Column("version", "version"),
    Column("started", "started_at", time=True),
    Column("renewed", "renewed"),
    Column("ended", "ended_at", time=True),
)

Everyone = Annotated[bool, typer.Option("--all", "-a", help="Also those that ended within the last day.")]


def workers(session: Session, everyone: Everyone = False, json: Json = False) -> None:
    """List the workers, the living ones first."""
    with session.open() as database:
        from halfstep.reports import Reports

        found = Reports(database).workers(everyone=everyone)
    if json:
        show_json(found)
        return
    show_table(COLUMNS, map(_row, found), empty="There are no workers; start one with: halfstep worker")


def _row(worker: dict[str, Any]) -> dict[str, Any]:
    seconds = worker["renewed_seconds_ago"]
    renewed = "" if seconds is None or worker["ended_at"] else f"{seconds:.0f} s ago"
    return worker | {"served": worker["queues"] or "all", "renewed": renewed}


def register(app: typer.Typer) -> None:
    """workers."""
    add(app, "workers", workers, examples=("halfstep workers", "halfstep workers --all --json"))
