"""What halfstep says in its log, in one place: the event's name in code, the words here. No secrets, no args, no results."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("halfstep")

WORDS: dict[str, tuple[int, str]] = {
    "worker.started": (logging.INFO, "Worker {name} serves {queues} with {slots} slots."),
    "worker.draining": (logging.INFO, "Draining: no more claims; {running} bodies still run."),
    "worker.stopped": (logging.INFO, "Worker {name} has stopped."),
    "worker.dead": (logging.WARNING, "The lease of worker {worker} ran out; its tasks will be rescued."),
    "worker.marked_dead": (logging.WARNING, "Others took this worker for dead; it registers afresh and gives up {lost} tasks."),
    "worker.parent_gone": (logging.WARNING, "The process that started this worker is gone; draining."),
    "lease.late": (logging.WARNING, "The lease could not be renewed for {seconds:.1f} s; nothing is claimed until it can."),
    "loop.stuck": (logging.ERROR, "The worker's loop has not turned for {seconds:.1f} s; its lease is not renewed."),
    "task.rescued": (logging.WARNING, "{count} tasks of dead workers can be claimed again."),
    "task.fenced": (logging.WARNING, "{count} late results were refused: other workers hold their tasks now."),
    "task.unstorable": (
        logging.WARNING,
        "The {part} of task {task} is written in another form, as it could not be stored: {error}",
    ),
    "task.unwritable": (logging.ERROR, "The {part} of task {task} can't be stored in any form: {error}"),
    "pod.adopted": (logging.INFO, "{count} pods of a launcher that is gone were adopted."),
    "pod.past_unreadable": (
        logging.WARNING,
        "What is stored of the pod of task {task} can't be read; it goes on without: {error}",
    ),
    "pod.stumbled": (logging.ERROR, "The launcher stumbled over task {task}, which ends failed, and goes on: {error}"),
    "pod.events_forbidden": (
        logging.WARNING,
        "Why a pod of namespace {namespace} does not start is told only as far as the pod itself says it; "
        "to tell more the launcher needs the right to list events there: {error}",
    ),
    "pod.not_ended": (logging.WARNING, "What still runs in pod {pod}, which is kept, could not be ended: {error}"),
    "pod.garbage": (logging.INFO, "{count} pods that no attempt needs were removed."),
    "pod.stranger": (
        logging.WARNING,
        "Pod {namespace}/{name} carries this installation's labels and is not ours, so it is neither judged nor deleted. {why} "
        "Take its labels halfstep.io/... off, or delete it; `halfstep pods --strangers` lists all such pods.",
    ),
    "pod.strangers": (logging.WARNING, "{count} more pods carry this installation's labels and are not ours."),
    "pod.strangers_unwritable": (logging.WARNING, "What pods are not ours could not be written down: {error}"),
    "pod.mended": (
        logging.WARNING,
        "Somebody changed halfstep's own {what} of pod {name}, of task {task}; they are put back. The pod is known by its uid.",
    ),
    "pod.twins": (
        logging.ERROR,
        "{count} pods have this installation's id and were never asked for by this database ({some}): another one has the same "
        "id, and its launcher would take ours for strangers. None of them is touched, and this launcher leaves. Give the copy an "
        "id of its own: halfstep renew-id; or delete these pods if they are no launcher's.",
    ),
    "cluster.away": (logging.WARNING, "Cluster {cluster!r}: {error}"),
    "cluster.refused": (
        logging.WARNING,
        "Cluster {cluster!r}, namespace {namespace!r}: the API server answers {part!r} with {code}: {error}{counted}",
    ),
    "cluster.works": (logging.INFO, "Cluster {cluster!r}, namespace {namespace!r}: {part!r} works again, after {seconds:.1f} s."),
    "part.stuck": (logging.ERROR, "{error} The lease is not renewed."),
    "part.fell": (logging.ERROR, "The part {part!r} has met an error that nobody expected: {error}"),
    "part.refused": (logging.ERROR, "The database refuses what {part!r} says or asks; all else goes on: {error}"),
    "claims.held_back": (logging.ERROR, "Nothing is claimed for now, and no attempt is used up: {error}"),
    "claims.handed_back": (logging.WARNING, "{count} tasks go back to the queue unstarted until the cluster's trouble is over."),
    "claims.resumed": (logging.INFO, "Tasks are claimed again."),
    "zygote.thawed": (logging.WARNING, "A body had stopped the process that bodies' processes come from; it goes on."),
    "source.changed": (logging.INFO, "The source folder changed: new bodies run the new code."),
    "source.broken": (logging.ERROR, "The changed source can't be loaded, the old code goes on: {error}"),
    "import.apart": (
        logging.WARNING,
        "{subject} is imported in each child instead of once for all: {owner} leaves what no fork survives: {left}. "
        "To have it shared, make that in a function, when it is first needed.",
    ),
    "database.away": (logging.WARNING, "{error} Trying again in {delay:.1f} s."),
    "database.superuser": (
        logging.WARNING,
        "The database is used as superuser {role}. Nothing here needs one, and whoever gets hold of this program would have the "
        "whole server: log in as the role that owns the schema.",
    ),
    "database.back": (logging.INFO, "The database answers again."),
    "listener.away": (logging.INFO, "Notifications are off ({error}); polling goes on."),
    "log.dropped": (logging.ERROR, "The database refuses every {part} in any form; what it refuses is dropped."),
    "output.dropped": (logging.WARNING, "{count} lines of output were dropped: what wrote them had outlived its task."),
    "promote.refused": (logging.ERROR, "Due tasks can't become ready, as the database refuses a value of one of them: {error}"),
    "prune.failed": (logging.WARNING, "Old history could not be pruned: {error}"),
}


def emit(event: str, **facts: Any) -> None:
    """Writes the event's sentence to the log, with the facts as fields of the record."""
    level, words = WORDS[event]
    logger.log(level, words.format(**facts), extra={"event": event, "facts": facts})
