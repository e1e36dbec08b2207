"""`uninstall`: nothing of ours stays in clusters, nor in the database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halfstep.errors import HalfstepError
from halfstep.visible import visible_line
from halfstep_cli.errors import ExitCode
from halfstep_cli.options import Json, add
from halfstep_cli.output import Column, note, show_json, show_table
from halfstep_cli.session import Session

if TYPE_CHECKING:
    from halfstep.database import Database
    from halfstep_cli.uninstalling import Found, Places

COLUMNS = (
    Column("cluster", "cluster"),
    Column("namespace", "namespace"),
    Column("pods", "pods", right=True),
    Column("held", "held", right=True),
    Column("running", "running", right=True),
)

MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Where:
    """Which clusters."""

    clusters: Annotated[
        Path | None, typer.Option(metavar="FILE", envvar="HALFSTEP_CLUSTERS", help="The launchers' YAML of clusters.")
    ] = None
    cluster: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this cluster. Repeatable.")] = None
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", metavar="NS", help="Only this namespace. Repeatable.")
    ] = None

    def places(self, session: Session) -> Places:
        """As the rest of the program takes them."""
        from halfstep_cli.uninstalling import Places

        return Places(self.clusters, self.cluster or (), self.namespace or (), session.environment)


@dataclass(frozen=True, slots=True)
class What:
    """What is done besides taking the finalizer off."""

    delete_pods: Annotated[bool, typer.Option("--delete-pods", help="Delete the pods too, running and kept ones.")] = False
    drop_schema: Annotated[bool, typer.Option("--drop-schema", help="Drop the database's schema: all tasks and history.")] = False
    force: Annotated[bool, typer.Option("--force", help="Although workers live, or some pods can't be reached.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it. Otherwise it is shown, and on a terminal asked.")] = False


def uninstall(session: Session, where: Where, what: What, json: Json = False) -> int:
    """Let go of pods in clusters, and of the database.

    A launcher's finalizer (halfstep.io/verdict) keeps each pod until its outcome is written. Without a launcher such
    pods, and their namespace, can't be deleted. This takes it off all pods that launchers of this installation made.
    Copies and others that only carry its labels are told, and left alone.
    Stop workers and launchers first. Nothing is done without --yes or an answer.
    """
    from halfstep_cli.uninstalling import look

    with session.open(direct=True) as database:
        found = look(database, where.places(session))
        if not json:
            _show(found, what)
        if not _has_work(found, what):
            return _report(found, what, json=json, done=True)
        if not _agreed(found, what, json=json):
            return _report(found, what, json=json, done=False)
        _check(found, what)
        return _carry_out(database, found, what, json=json)


def _has_work(found: Found, what: What) -> bool:
    return bool(found.held or what.drop_schema or (what.delete_pods and found.pods))


def _agreed(found: Found, what: What, *, json: bool) -> bool:
    if what.yes:
        return True
    if json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    _check(found, what)
    return typer.confirm("Do it?", err=True)


def _check(found: Found, what: What) -> None:
    """Raises HalfstepError where it would do harm."""
    if what.force:
        return
    if found.living:
        raise HalfstepError(
            f"Still at work: {', '.join(found.living)}. Stop them first (halfstep workers shows them), or add --force."
        )
    if what.drop_schema and found.troubles:
        raise HalfstepError(f"The schema is not dropped while pods may be held: {found.troubles[0]}. Or add --force.")


def _carry_out(database: Database, found: Found, what: What, *, json: bool) -> int:
    from halfstep.administration import Administration
    from halfstep_cli.uninstalling import let_go

    let_go(found, delete=what.delete_pods)
    if what.drop_schema:
        _check(found, what)  # again: a cluster may have failed only now
        Administration(database).drop_schema()
    return _report(found, what, json=json, done=True)


def _report(found: Found, what: What, *, json: bool, done: bool) -> int:
    dropped = done and what.drop_schema
    if json:
        show_json(_as_json(found) | {"schema_dropped": dropped, "done": done})
    else:
        note(_outcome(found, dropped=dropped) if done else "Nothing was done; add --yes to do it.")
    return ExitCode.FINE if done and not any(place.error for place in found.places) else ExitCode.NO


def _as_json(found: Found) -> dict[str, Any]:
    places = [place.as_report() for place in found.places]
    return {"installation": found.installation, "workers": found.living, "places": places, "unseen": found.unseen}


def _outcome(found: Found, *, dropped: bool) -> str:
    released, deleted = (sum(getattr(place, name) for place in found.places) for name in ("released", "deleted"))
    parts = [f"took the finalizer off {_pods(released)}"] if released else []
    parts += [f"deleted {_pods(deleted)}"] if deleted else []
    parts += ["dropped the schema"] if dropped else []
    said = ", ".join(parts) or "there was nothing to let go of"
    return f"{said[0].upper()}{said[1:]}."


def _show(found: Found, what: What) -> None:
    """What there is, and what would be done."""
    show_table(COLUMNS, (place.as_report() for place in found.places), empty="No pods are known; no cluster was asked.")
    for trouble in found.troubles:
        note(f"Not seen: {trouble}")
    for line in _left_alone(found):
        note(line)
    if found.living:
        note(f"Alive: {', '.join(found.living)}")
    for step in _steps(found, what):
        note(f"- {step}")


def _left_alone(found: Found) -> Iterator[str]:
    strangers = sorted(found.strangers, key=lambda told: not told[1].held)
    for place, left in strangers[:MOST_NAMED]:
        held = " Our finalizer holds it." if left.held else ""
        yield f"Left alone: {place}/{visible_line(left.name)}: {left.why}{held}"
    if strangers[MOST_NAMED:]:
        yield f"Left alone: {_pods(len(strangers) - MOST_NAMED)} more (see --json)."


def _steps(found: Found, what: What) -> Iterator[str]:
    if found.held:
        yield f"take the finalizer off {_pods(found.held)}"
    if what.delete_pods and found.pods:
        yield f"delete {_pods(found.pods)}, of which {found.active} may still run"
    elif found.active:
        yield f"leave {_pods(found.active)} to run on; nobody will write down how that ends (see --delete-pods)"
    if what.drop_schema:
        yield f"drop the schema halfstep, with {found.unfinished} tasks that have not ended and all history, for good"


def _pods(count: int) -> str:
    return f"{count} pod{'' if count == 1 else 's'}"


def register(app: typer.Typer) -> None:
    """uninstall."""
    examples = (
        "halfstep uninstall --clusters clusters.yaml",
        "halfstep uninstall --clusters clusters.yaml --delete-pods --drop-schema --yes",
    )
    add(app, "uninstall", uninstall, examples=examples)
