"""`pods`: the pods of running attempts, and why one does not start."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from halfstep_cli.options import Json, add
from halfstep_cli.output import Column, show_json, show_table
from halfstep_cli.session import Session

COLUMNS = (
    Column("task", "task_id", right=True),
    Column("attempt", "attempt", right=True),
    Column("pod", "name"),
    Column("namespace", "namespace"),
    Column("cluster", "cluster"),
    Column("phase", "phase"),
    Column("node", "node"),
    Column("launcher", "launcher"),
    Column("waits", "waiting"),
)

Task = Annotated[int | None, typer.Option("--task", metavar="ID", help="Only the pods of this task, ended ones too.")]
Everyone = Annotated[bool, typer.Option("--all", "-a", help="Also pods of attempts that have ended.")]
Limit = Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="At most so many.")]


def pods(session: Session, task: Task = None, everyone: Everyone = False, limit: Limit = 200, json: Json = False) -> None:
    """List the pods of running attempts, the newest first."""
    with session.open() as database:
        from halfstep.pods import PodBook

        found = PodBook(database).list(task=task, everyone=everyone or task is not None, limit=limit)
    if json:
        show_json(found)
        return
    show_table(COLUMNS, map(_row, found), empty="No attempt has a pod.")


def _row(pod: dict[str, Any]) -> dict[str, Any]:
    return pod | {name: (pod["facts"] or {}).get(name) for name in ("phase", "node", "waiting")}


def register(app: typer.Typer) -> None:
    """pods."""
    add(app, "pods", pods, examples=("halfstep pods", "halfstep pods --task 7 --json"))
