"""`pods`: the pods of running attempts, and why one does not start; and the pods that only look like ours."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from halfstep.visible import visible_line
from halfstep_cli.options import Json, add
from halfstep_cli.output import Column, age, shortened, show_json, show_narrow_table, show_table, terminal_width
from halfstep_cli.session import Session

COLUMNS = (
    Column("task", "task_id", right=True),
    Column("att", "attempt", right=True),
    Column("pod", "short"),
    Column("phase", "state"),
    Column("age", "age", right=True),
    Column("waiting", "waiting"),
)
"""As narrow as a terminal; what does not fit is cut at its right end."""
WIDE = (
    Column("task", "task_id", right=True),
    Column("attempt", "attempt", right=True),
    Column("pod", "name"),
    Column("namespace", "namespace"),
    Column("cluster", "cluster"),
    Column("phase", "phase"),
    Column("age", "age", right=True),
    Column("node", "node"),
    Column("launcher", "launcher"),
    Column("waiting", "waiting"),
)

NAME_CHARACTERS = 11
"""Of a pod's name: enough to tell it from all others that run."""

PHASE_CHARACTERS = 10

STRANGERS = (
    Column("namespace", "namespace"),
    Column("pod", "name"),
    Column("cluster", "cluster"),
    Column("first seen", "first_seen", time=True),
    Column("why", "why"),
)

Task = Annotated[int | None, typer.Option("--task", metavar="ID", help="Only the pods of this task, ended ones too.")]
Everyone = Annotated[bool, typer.Option("--all", "-a", help="Also pods of attempts that have ended.")]
Wide = Annotated[bool, typer.Option("--wide", "-w", help="Whole names and reasons, and more columns, however long the lines.")]
OnlyStrangers = Annotated[
    bool, typer.Option("--strangers", help="Instead: pods that carry this installation's labels and are not ours.")
]
Limit = Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="At most so many.")]


def pods(
    session: Session, task: Task = None, everyone: Everyone = False, strangers: OnlyStrangers = False, limit: Limit = 200,
    wide: Wide = False, json: Json = False,
) -> None:  # fmt: skip
    """List the pods of running attempts, the newest first: as wide as the terminal; whole with --wide, and where none is."""
    with session.open() as database:
        from halfstep.pods import PodBook

        if strangers:
            _show_strangers(PodBook(database).strangers(limit=limit), json=json)
            return
        found = PodBook(database).list(task=task, everyone=everyone or task is not None, limit=limit)
    if json:
        show_json(found)
        return
    width = None if wide else terminal_width()
    if width is None:
        show_table(WIDE, map(_row, found), empty="No attempt has a pod.")
    else:
        show_narrow_table(COLUMNS, map(_row, found), width=width, empty="No attempt has a pod.")


def _show_strangers(found: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        show_json(found)
        return
    show_table(STRANGERS, found, empty="No launcher has seen a pod with this installation's labels that is not ours.")


def _row(pod: dict[str, Any]) -> dict[str, Any]:
    told = {name: (pod["facts"] or {}).get(name) for name in ("phase", "node", "waiting")}
    return (
        pod
        | told
        | {
            "age": age(pod.get("age_seconds")),
            "short": str(pod.get("name"))[:NAME_CHARACTERS],
            "state": shortened(visible_line(str(told["phase"] or "")), PHASE_CHARACTERS),
        }
    )


def register(app: typer.Typer) -> None:
    """pods."""
    add(
        app,
        "pods",
        pods,
        examples=("halfstep pods", "halfstep pods --wide", "halfstep pods --task 7 --json", "halfstep pods --strangers"),
    )
