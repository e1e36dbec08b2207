"""Queues: what they hold, how they share the workers, what they take, and whether they rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from halfstep.errors import InvalidSettings
from halfstep.names import check_operator_name, check_queue_name
from halfstep_cli.options import Json, QueueName, add
from halfstep_cli.output import Column, note, show_json, show_table
from halfstep_cli.session import Session

COLUMNS = (
    Column("queue", "name"),
    Column("ready", "ready", right=True),
    Column("scheduled", "scheduled", right=True),
    Column("running", "running", right=True),
    Column("paused", "paused"),
    Column("weight", "weight", right=True),
    Column("operators", "operators"),
    Column("placements", "placements"),
)


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """What to change."""

    weight: Annotated[int | None, typer.Option(metavar="N", min=1, max=1000, help="Its share of a worker.")] = None
    operator: Annotated[list[str] | None, typer.Option("--operator", "-o", metavar="O", help="Take only these.")] = None
    any_operator: Annotated[bool, typer.Option("--any-operator", help="Take every operator again.")] = False
    placement: Annotated[str | None, typer.Option(metavar="P", help="Take only worker, or only pod.")] = None
    any_placement: Annotated[bool, typer.Option("--any-placement", help="Take both placements again.")] = False


def queues(session: Session, json: Json = False) -> None:
    """List the queues and what they hold.

    Tasks are counted up to 10,000 of each kind; scheduled ones among the 10,000 of all queues that are due next.
    """
    with session.open() as database:
        from halfstep.reports import Reports

        found = Reports(database).queues()
    if json:
        show_json(found)
    else:
        show_table(COLUMNS, found, empty="There are no queues.")


def pause(session: Session, queue: QueueName) -> None:
    """Start nothing more from a queue.

    What runs goes on; new tasks may be enqueued and wait.
    """
    with session.open() as database:
        from halfstep.queue import Queue

        Queue(database).pause(queue)
    note(f"Queue {queue} is paused; its tasks wait until: halfstep resume {queue}")


def resume(session: Session, queue: QueueName) -> None:
    """Serve a paused queue again."""
    with session.open() as database:
        from halfstep.queue import Queue

        Queue(database).resume(queue)
    note(f"Queue {queue} is served again.")


def set_queue(session: Session, queue: QueueName, options: QueueOptions) -> None:
    """Make a queue or change it."""
    check_queue_name(queue)
    if options.any_operator and options.operator:
        raise InvalidSettings("Choose: --operator limits the queue, --any-operator lifts the limit.")
    if options.any_placement and options.placement:
        raise InvalidSettings("Choose: --placement limits the queue, --any-placement lifts the limit.")
    for operator in options.operator or []:
        check_operator_name(operator)
    with session.open() as database:
        from halfstep.administration import Administration

        Administration(database).set_queue(
            queue, weight=options.weight, operators=options.operator or None, any_operator=options.any_operator,
            placements=[options.placement] if options.placement else None, any_placement=options.any_placement,
        )  # fmt: skip
    note(f"Queue {queue} is set.")


def fix(session: Session) -> None:
    """Refuse tasks for unknown queues.

    Known are those that were used until now, and those that are made with `halfstep queue set`.
    """
    _fix(session, fixed=True)
    note("The queues are fixed; others are made with: halfstep queue set NAME")


def unfix(session: Session) -> None:
    """Make a queue when it is first used (as at the beginning)."""
    _fix(session, fixed=False)
    note("A queue is made when it is first used.")


def _fix(session: Session, *, fixed: bool) -> None:
    with session.open() as database:
        from halfstep.administration import Administration

        Administration(database).fix_queues(fixed)


def register(app: typer.Typer) -> None:
    """queues, queue set/fix/unfix, pause, resume."""
    add(app, "queues", queues, examples=("halfstep queues", "halfstep queues --json"))
    queue = typer.Typer(help="Make queues, change them, fix which there are.", rich_markup_mode=None)
    examples = (
        "halfstep queue set etl --weight 5",
        "halfstep queue set mail --operator http",
        "halfstep queue set mail --any-operator",
    )
    add(queue, "set", set_queue, examples=examples)
    add(queue, "fix", fix, examples=("halfstep queue fix",))
    add(queue, "unfix", unfix, examples=("halfstep queue unfix",))
    app.add_typer(queue, name="queue")
    add(app, "pause", pause, examples=("halfstep pause etl",))
    add(app, "resume", resume, examples=("halfstep resume etl",))
