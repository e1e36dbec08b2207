"""What an administrator does: migrate, grants, retention; and `version`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from halfstep.errors import InvalidSettings
from halfstep_cli.options import Json, add
from halfstep_cli.output import note, say, show_json
from halfstep_cli.session import Session

Role = Annotated[str, typer.Argument(metavar="ROLE", help="A database role.", show_default=False)]
Queues = Annotated[
    list[str], typer.Option("--queue", "-q", metavar="Q", help="A queue it may use. Repeatable.", show_default=False)
]
Owner = Annotated[
    str | None,
    typer.Option(
        metavar="ROLE",
        help="The role that owns the schema, or will. It is trusted.",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be applied.")]
Days = Annotated[int | None, typer.Option(metavar="N", min=1, max=36_500, help="From now on keep so many days of history.")]


def migrate(session: Session, dry_run: DryRun = False, owner: Owner = None, json: Json = False) -> None:
    """Bring the database's schema up to date.

    Uses HALFSTEP_DIRECT_DATABASE_URL if it is set. Several may run at once: one migrates, the others wait.
    Workers go on meanwhile. What is there has to belong to the role that migrates.
    """
    from halfstep import migrate as schema

    with session.open(direct=True, checked=False) as database:
        names = schema.pending(database, owner=owner) if dry_run else schema.migrate(database, owner=owner, say=note)
        state = schema.schema_state(database, owner=owner)
    if json:
        show_json({"pending" if dry_run else "applied": names, "version": state.version})
        return
    for name in names:
        say(name)
    note(_summary(len(names), state.version, dry_run=dry_run))


def grant_producer(session: Session, role: Role, queues: Queues) -> None:
    """Let a role enqueue, and do nothing else."""
    if not queues:
        raise InvalidSettings("Name at least one queue: --queue QUEUE.")
    with session.open() as database:
        from halfstep.administration import Administration
        from halfstep.names import check_queue_name

        for queue in queues:
            check_queue_name(queue)
        further = Administration(database).grant_producer(role, queues)
    note(f"Role {role} may enqueue to {', '.join(queues)}.")
    if further:
        note(
            f"By earlier grants to that name or its groups it may also enqueue to {', '.join(further)}; if those were meant for "
            f"another role of that name, take all back first: halfstep revoke producer {role}"
        )


def revoke_producer(session: Session, role: Role) -> None:
    """Take back what a role was granted.

    What it has enqueued stays.
    """
    with session.open() as database:
        from halfstep.administration import Administration

        Administration(database).revoke_producer(role)
    note(f"Role {role} may enqueue no more.")


def prune(session: Session, days: Days = None, json: Json = False) -> None:
    """Drop history that is past its days.

    And make the partitions of the coming days. Workers do this by themselves too.
    """
    with session.open(direct=True) as database:
        from halfstep.administration import Administration

        administration = Administration(database)
        kept = administration.history_days(days)
        pruned = administration.prune()
    if json:
        show_json(asdict(pruned) | {"history_days": kept})
        return
    for name in pruned.dropped:
        say(name)
    busy = f"; {len(pruned.busy)} more are in use and are left for the next time" if pruned.busy else ""
    note(f"Kept {kept} days of history: {len(pruned.dropped)} partitions and {pruned.rows} rows dropped{busy}.")


def version(json: Json = False) -> None:
    """Print the version.

    Of halfstep, and of the newest schema that it knows.
    """
    from halfstep import __version__
    from halfstep.migrate import NEWEST

    if json:
        show_json({"version": __version__, "schema": NEWEST})
    else:
        print(f"halfstep {__version__} (schema {NEWEST})")


def _summary(count: int, version: int, *, dry_run: bool) -> str:
    if count == 0:
        return f"The schema is up to date (version {version})."
    if dry_run:
        return f"{count} to apply; nothing was changed."
    return f"Applied {count}; the schema is at version {version}."


def register(app: typer.Typer) -> None:
    """migrate, grant, revoke, prune, version."""
    add(app, "migrate", migrate, examples=("halfstep migrate --dry-run", "halfstep migrate", "halfstep migrate --owner halfstep"))
    grant = typer.Typer(help="Grant rights to database roles.", rich_markup_mode=None)
    add(grant, "producer", grant_producer, examples=("halfstep grant producer shop --queue mail --queue orders",))
    app.add_typer(grant, name="grant")
    revoke = typer.Typer(help="Take rights back.", rich_markup_mode=None)
    add(revoke, "producer", revoke_producer, examples=("halfstep revoke producer shop",))
    app.add_typer(revoke, name="revoke")
    add(app, "prune", prune, examples=("halfstep prune", "halfstep prune --days 30"))
    add(app, "version", version, examples=("halfstep version",))
