"""`drain`: ask a worker to leave, and wait until it has."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halfstep.errors import InvalidSettings, NotFound
from halfstep_cli.errors import ExitCode
from halfstep_cli.options import Json, add
from halfstep_cli.output import note, show_json
from halfstep_cli.session import Session

if TYPE_CHECKING:
    from halfstep.reports import Reports

LOOK_SECONDS = 0.25
SILENT_SECONDS = 20.0
"""A worker that has not been heard for so long may be gone; whether it is, others find out."""

WorkerName = Annotated[str, typer.Argument(metavar="WORKER", help="Its name or id, see: halfstep workers", show_default=False)]


@dataclass(frozen=True, slots=True)
class Patience:
    """Whether to wait for it."""

    wait: Annotated[bool, typer.Option("--wait", help="Return when it has gone.")] = False
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="With --wait: wait no longer, and end with code 1.")
    ] = None


def drain(session: Session, worker: WorkerName, patience: Patience, json: Json = False) -> int:
    """Ask a worker to leave, as TERM does.

    From now on it claims nothing. It hands back what has not started, tells its bodies, lets them end within its grace,
    stops the others, which run again elsewhere, and ends. A launcher hands its pods over. Whoever keeps a number of
    workers (a Deployment, halfstep up) starts another one in its place.
    """
    if patience.timeout is not None and not patience.wait:
        raise InvalidSettings("--timeout says how long to --wait; give both, or none.")
    with session.open() as database:
        from halfstep.queue import Queue
        from halfstep.reports import Reports

        reports = Reports(database)
        chosen = _one(reports.workers(), worker)
        if not Queue(database).drain(chosen["id"]):
            raise NotFound(f"Worker {chosen['name']} has just gone.")
        note(f"Worker {chosen['name']} is to leave; it claims nothing more and holds {_tasks(chosen['held'])}.")
        last = _wait(reports, chosen, patience.timeout) if patience.wait else _look(reports, chosen)
    code = _tell(last, patience) if patience.wait else ExitCode.FINE
    if json:
        show_json({key: last[key] for key in ("id", "name", "state", "held")} | {"gone": last["ended_at"] is not None})
    return code


def _one(workers: Sequence[dict[str, Any]], wanted: str) -> dict[str, Any]:
    found = [each for each in workers if wanted in (each["id"], each["name"])]
    if not found:
        raise NotFound(f"No worker that lives has the name or id {wanted}; see: halfstep workers")
    if len(found) > 1:
        ids = ", ".join(each["id"] for each in found)
        raise InvalidSettings(f"{len(found)} workers have the name {wanted}; choose one by its id: {ids}.")
    return found[0]


def _look(reports: Reports, worker: dict[str, Any]) -> dict[str, Any]:
    return next((each for each in reports.workers(everyone=True) if each["id"] == worker["id"]), worker)


def _wait(reports: Reports, worker: dict[str, Any], seconds: float | None) -> dict[str, Any]:
    """Returns what was last seen of it: that it has ended, unless `seconds` were over before."""
    deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
    told = f"holds {_tasks(worker['held'])}"
    while (last := _look(reports, worker))["ended_at"] is None and time.monotonic() < deadline:
        says = _progress(last)
        if says != told:
            note(f"Worker {worker['name']} {says}.")
        told = says
        threading.Event().wait(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
    return last


def _progress(worker: dict[str, Any]) -> str:
    if (worker["renewed_seconds_ago"] or 0) > SILENT_SECONDS:
        return "has not been heard of for a while; it may be frozen, cut off or gone"
    return f"holds {_tasks(worker['held'])}"


def _tell(worker: dict[str, Any], patience: Patience) -> ExitCode:
    if worker["ended_at"] is None:
        note(f"Worker {worker['name']} is still there after {patience.timeout:g} s; it {_progress(worker)}.")
        return ExitCode.NO
    if worker["state"] == "dead":
        note(f"Worker {worker['name']} was lost before it had left; its tasks are rescued.")
        return ExitCode.NO
    note(f"Worker {worker['name']} has gone.")
    return ExitCode.FINE


def _tasks(number: int) -> str:
    return "no task" if number == 0 else "1 task" if number == 1 else f"{number} tasks"


def register(app: typer.Typer) -> None:
    """drain."""
    add(app, "drain", drain, examples=("halfstep drain box-4711", "halfstep drain box-4711 --wait --timeout 60"))
