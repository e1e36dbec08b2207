"""Looking at tasks, and giving them another turn or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import typer

from halfstep.errors import HalfstepError, InvalidSettings
from halfstep_cli.errors import ExitCode, report
from halfstep_cli.options import Json, TaskId, TaskIds, add
from halfstep_cli.output import Column, compact, note, plain, readable, show_fields, show_json, show_table, when
from halfstep_cli.session import Session

STATES = ("scheduled", "ready", "running", "succeeded", "failed", "cancelled")
COLUMNS = (
    Column("id", "id", right=True),
    Column("state", "state"),
    Column("queue", "queue"),
    Column("operator", "operator"),
    Column("attempt", "attempt", right=True),
    Column("enqueued", "enqueued_at", time=True),
    Column("ended", "finished_at", time=True),
    Column("error", "error"),
)
POD_STEPS = ("created", "scheduled", "pulled", "started", "ended")
ATTEMPTS = (
    Column("attempt", "number", right=True),
    Column("outcome", "outcome"),
    Column("reason", "reason"),
    Column("memory", "memory"),
    Column("worker", "worker"),
    Column("started", "started_at", time=True),
    Column("ended", "ended_at", time=True),
    Column("error", "error"),
)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which tasks to list."""

    state: Annotated[list[str] | None, typer.Option("--state", "-s", metavar="S", help=", ".join(STATES))] = None
    queue: Annotated[str | None, typer.Option("--queue", "-q", metavar="Q", help="Only this queue.")] = None
    operator: Annotated[str | None, typer.Option("--operator", "-o", metavar="O", help="Only this operator.")] = None
    cluster: Annotated[str | None, typer.Option(metavar="NAME", help="Only pod tasks, for this cluster.")] = None
    label: Annotated[str | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Only tasks with this label.")] = None
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1_000_000, help="At most so many.")] = 50


def tasks(session: Session, filters: Filters, json: Json = False) -> None:
    """List tasks, the newest first."""
    wanted = _checked(filters)
    with session.open() as database:
        from halfstep.reports import Reports, TaskFilter

        cluster = "" if wanted.cluster == "default" else wanted.cluster
        chosen = TaskFilter(wanted.state or None, wanted.queue, wanted.operator, wanted.label, wanted.limit, cluster)
        found = Reports(database).tasks(chosen)
    if json:
        show_json(found)
    else:
        show_table(COLUMNS, found, empty="There are no such tasks.")


def show(session: Session, task: TaskId, json: Json = False) -> None:
    """Show one task.

    Its state, times, error and result, and every attempt.
    """
    with session.open() as database:
        from halfstep.reports import Reports

        found = Reports(database).show(task)
    if json:
        show_json(found)
        return
    attempts = found["attempts"]
    pod = next((attempt["pod"] for attempt in reversed(attempts) if attempt.get("pod")), None)
    show_fields(_texts(FIELDS, found) | (_texts(POD_FIELDS, pod) if pod is not None else {}))
    if attempts:
        print()
        show_table(*_with_memory(attempts), empty="")


def retry(session: Session, tasks: TaskIds) -> int:
    """Give finished tasks a new attempt.

    Under the same id, and with as many attempts as a new task.
    """
    with session.open() as database:
        from halfstep.queue import Queue

        return _each(tasks, Queue(database).retry_finished, said=lambda _: "waits for its next attempt")


def cancel(session: Session, tasks: TaskIds) -> int:
    """Cancel tasks.

    Those that wait end at once; those that run are stopped by their worker within a few seconds.
    """
    words = {"cancelled": "is cancelled", "requested": "runs; its worker was asked to stop it"}
    with session.open() as database:
        from halfstep.queue import Queue

        return _each(tasks, Queue(database).cancel, said=words.__getitem__)


def _each(tasks: Sequence[int], act: Callable[[int], Any], *, said: Callable[[Any], str]) -> int:
    """Does it to every task, whatever becomes of the others; the exit code of the first that refused."""
    codes = []
    for task in tasks:
        try:
            note(f"Task {task} {said(act(task))}.")
        except HalfstepError as error:
            codes.append(report(error))
            if codes[-1] in (ExitCode.UNAVAILABLE, ExitCode.NOT_PERMITTED):
                break
    return codes[0] if codes else ExitCode.FINE


def _checked(filters: Filters) -> Filters:
    for state in filters.state or ():
        if state not in STATES:
            raise InvalidSettings(f"There is no state '{state}'; known: {', '.join(STATES)}.")
    if filters.label is not None and not filters.label.partition("=")[1]:
        raise InvalidSettings(f"A label looks like key=value, not '{filters.label}'.")
    return filters


def _texts(fields: Mapping[str, Callable[[Any], str]], row: Any) -> dict[str, str]:
    """What each field says of the row, whatever is stored there."""
    return {name: readable(partial(text, row)) for name, text in fields.items()}


def _state(task: dict[str, Any]) -> str:
    return plain(f"{task['state']} ({task['why']})" if task.get("why") else task["state"])


def _labels(task: dict[str, Any]) -> str:
    labels = task["labels"]
    if isinstance(labels, dict):
        return ",".join(f"{plain(key)}={value if isinstance(value, str) else compact(value)}" for key, value in labels.items())
    return compact(labels)


def _with_memory(attempts: list[dict[str, Any]]) -> tuple[Sequence[Column], list[dict[str, Any]]]:
    """The table of attempts; with the memory of their pods, where there is any."""
    told = [attempt | {"memory": readable(partial(_memory, attempt.get("pod") or {}))} for attempt in attempts]
    shown = any(attempt["memory"] for attempt in told)
    return [column for column in ATTEMPTS if shown or column.key != "memory"], told


def _memory(pod: dict[str, Any]) -> str:
    """Request and limit, or the one that there is."""
    memory = pod.get("memory") or {}
    return plain(" / ".join(dict.fromkeys(str(memory[word]) for word in ("request", "limit") if word in memory)))


def _steps(pod: dict[str, Any]) -> str:
    """How long each step of its start took to come."""
    return ", ".join(f"{step} {when(pod[step])}" for step in POD_STEPS if pod.get(step))


FIELDS: dict[str, Callable[[Any], str]] = {
    "task": lambda task: plain(task["id"]),
    "state": _state,
    "reason": lambda task: plain(task["reason"]),
    "error": lambda task: plain(task["error"]),
    "result": lambda task: compact(task["result"]),
    "progress": lambda task: compact(task["progress"]),
    "operator": lambda task: plain(task["operator"]),
    "args": lambda task: compact(task["args"]),
    "queue": lambda task: plain(task["queue"]),
    "priority": lambda task: plain(task["priority"]),
    "attempts": lambda task: f"{task['attempt']} ({task['failures']} of at most {task['max_attempts']} failed)",
    "timeout": lambda task: "" if task["timeout"] is None else f"{task['timeout']:g} s",
    "unique key": lambda task: plain(task["unique_key"]),
    "labels": _labels,
    "enqueued": lambda task: when(task["enqueued_at"]),
    "due": lambda task: when(task["run_at"]),
    "started": lambda task: when(task["started_at"]),
    "ended": lambda task: when(task["finished_at"]),
    "ran for": lambda task: "" if task["seconds"] is None else f"{task['seconds']:.3f} s",
}
# Of the last attempt that had a pod: where it was, and how it ended.
POD_FIELDS: dict[str, Callable[[Any], str]] = {
    "pod": lambda pod: f"{pod['namespace']}/{pod['name']}",
    "cluster": lambda pod: plain(pod["cluster"]),
    "node": lambda pod: plain(pod.get("node")),
    "class": lambda pod: plain(pod.get("class")),
    "memory": _memory,
    "exit code": lambda pod: plain(pod.get("exit_code")),
    "pod's steps": _steps,
}


def register(app: typer.Typer) -> None:
    """tasks, show, retry, cancel."""
    add(app, "tasks", tasks, examples=("halfstep tasks --state failed --queue etl", "halfstep tasks --json | jq '.[].id'"))
    add(app, "show", show, examples=("halfstep show 42", "halfstep show 42 --json | jq .result"))
    add(app, "retry", retry, examples=("halfstep retry 42 43",))
    add(app, "cancel", cancel, examples=("halfstep cancel 42",))
