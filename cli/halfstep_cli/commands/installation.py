"""`renew-id`: the id of an installation whose database is a copy of another one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from halfstep.errors import Conflict
from halfstep_cli.errors import ExitCode
from halfstep_cli.options import Json, add
from halfstep_cli.output import note, show_json
from halfstep_cli.session import Session

Moved = Annotated[
    bool, typer.Option("--moved", help="Keep the id: the database was moved here, and the other one is gone for good.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Although the id was given here: a copy by snapshot does not show that it is one.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it. Otherwise it is shown, and on a terminal asked.")]


def renew_id(session: Session, moved: Moved = False, force: Force = False, yes: Yes = False, json: Json = False) -> int:
    """Give a copy of a database an installation id of its own.

    Launchers know their pods by it. Before anything works on a restored dump beside the database that it was taken from. What
    ran in pods of that one waits again here, or is cancelled if it may not start twice. Stop workers and launchers first.
    """
    from halfstep import installation
    from halfstep_cli.uninstalling import living

    with session.open(direct=True) as database:
        found = installation.read_installation(database)
        if found.home is not None and not found.is_elsewhere and not force:
            return _report(
                found.id, 0, f"The id {found.id} was given to this very database; nothing to do.", json=json, done=True
            )
        if working := living(database):
            raise Conflict(f"Still at work: {', '.join(working)}. Stop them first (halfstep workers shows them).")
        step = f"The id {found.id} is kept, as the database has moved." if moved else f"The id {found.id} gives way to a new one."
        if not (yes or _agreed(step, json=json)):
            return _report(found.id, 0, f"{step} Nothing was done; add --yes to do it.", json=json, done=False)
        if moved:
            installation.keep_id(database)
            return _report(found.id, 0, f"The id {found.id} is at home here now.", json=json, done=True)
        id, running = installation.renew_id(database)
    told = f" {running} tasks that ran in pods of the other one wait again, or are cancelled." if running else ""
    return _report(id, running, f"The id is {id} now.{told}", json=json, done=True)


def _agreed(step: str, *, json: bool) -> bool:
    if json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return typer.confirm(f"{step} Do it?", err=True)


def _report(id: str, running: int, said: str, *, json: bool, done: bool) -> int:
    if json:
        show_json({"installation": id, "running": running, "done": done})
    else:
        note(said)
    return ExitCode.FINE if done else ExitCode.NO


def register(app: typer.Typer) -> None:
    """renew-id."""
    add(app, "renew-id", renew_id, examples=("halfstep renew-id --yes", "halfstep renew-id --moved --yes"))
