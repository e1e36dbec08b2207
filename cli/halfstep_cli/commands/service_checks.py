"""Who serves what waits, and what keeps them from it: doctor's checks of workers, launchers and scalers."""

from __future__ import annotations

from typing import Any

from halfstep_cli.commands.findings import Finding, Patient, Row

MOST_NAMED = 5
"""Groups of tasks, or ScaledObjects."""
COMING_SECONDS = 300.0
"""So long KEDA may take from a task to a worker: by then a node was added and an image pulled."""
MOST_TROUBLES = 5


def workers(patient: Patient) -> Finding:
    """Who works? Nobody need be there while nothing waits."""
    living = _living(patient)
    backlogs = [backlog for backlog in _backlogs(patient) if backlog.waiting and not backlog.paused]
    waiting = sum(backlog.waiting for backlog in backlogs)
    if not living and waiting:
        scalers = _scalers(patient)
        if all(any(one.covers(backlog) for one in scalers) for backlog in backlogs):
            return _coming(patient, waiting)
        return Finding("workers", False, f"none, and {waiting} tasks wait", "Start one: halfstep worker (or halfstep up).")
    slots = sum(worker["slots"] for worker in living)
    return Finding("workers", True, f"{len(living)} alive with {slots} slots" if living else "none, and nothing waits")


def queues(patient: Patient) -> Finding:
    """Is there a queue with waiting tasks that no worker serves?"""
    living = _living(patient)
    waiting = [backlog for backlog in _backlogs(patient) if backlog.waiting and not backlog.paused]
    scalers = _scalers(patient) if waiting else []
    lonely = [
        backlog.queue
        for backlog in waiting
        if not any(worker["queues"] is None or backlog.queue in worker["queues"] for worker in living)
        and not any(one.covers(backlog) for one in scalers)
    ]
    if lonely:
        named = ",".join(lonely)
        return Finding("queues", False, f"tasks wait in {named}, served by nobody", f"halfstep worker --queues {named}")
    return Finding("queues", True, "every queue with waiting tasks is served")


def unserved(patient: Patient) -> Finding:
    """Do tasks wait for a queue, placement or cluster that nobody serves, and for which no scaler would have anybody started?"""
    from halfstep.scaling import ScalingBook
    from halfstep.serving import unserved as look

    book = ScalingBook(patient.database)
    lonely = look(book.backlogs(), book.serving(), after=patient.unserved_after)
    if not lonely:
        return Finding("unserved", True, f"nobody has waited for over {patient.unserved_after:g} s where nobody serves")
    told = "; ".join(
        f"{one.waiting} in queue {one.queue} with placement {one.placement} on cluster {one.cluster or 'default'}"
        for one in lonely[:MOST_NAMED]
    )
    more = f"; and {len(lonely) - MOST_NAMED} more groups" if len(lonely) > MOST_NAMED else ""
    first = lonely[0]
    launcher = f" --placement pod --cluster {first.cluster or 'default'}" if first.placement == "pod" else ""
    advice = f"halfstep worker --queues {first.queue}{launcher}, or a ScaledObject that names the queue."
    return Finding("unserved", False, f"tasks that no worker serves: {told}{more}", advice)


def scaled_objects(patient: Patient) -> Finding:
    """Does a scaler refuse ScaledObjects?"""
    from halfstep.scaling import ScalingBook

    refused = ScalingBook(patient.database).refused_objects()
    if not refused:
        return Finding("scaled objects", True, "no scaler refuses any")
    told = " ".join(f"{row['namespace']}/{row['name']}: {row['sentence']}" for row in refused[:MOST_NAMED])
    more = f" And {len(refused) - MOST_NAMED} more." if len(refused) > MOST_NAMED else ""
    return Finding("scaled objects", False, f"{len(refused)} refused. {told}{more}", "Mend the metadata of the trigger.")


def troubles(patient: Patient) -> Finding:
    """Does a launcher not get on: with its cluster, or with itself?"""
    from halfstep.troubles import TroubleBook

    found = TroubleBook(patient.database).list()
    if not found:
        return Finding("troubles", True, "every launcher gets on with its cluster")
    by_sentence: dict[str, list[str]] = {}
    for row in found:
        by_sentence.setdefault(row["sentence"], []).append(row["launcher"])
    told = [f"{', '.join(dict.fromkeys(names))}: {sentence}" for sentence, names in by_sentence.items()]
    more = f" And {len(told) - MOST_TROUBLES} more." if len(told) > MOST_TROUBLES else ""
    itself = any(not row["namespace"] for row in found)
    advice = "See its log." if itself else "Until then its tasks wait, and use up no attempt; it goes on by itself."
    return Finding("troubles", False, " ".join(told[:MOST_TROUBLES]) + more, advice)


def _living(patient: Patient) -> list[Row]:
    from halfstep.reports import Reports

    everyone = Reports(patient.database).workers()
    return [worker for worker in everyone if worker["state"] == "running" and worker["placement"] == "worker"]


def _scalers(patient: Patient) -> list[Any]:
    """What scalers would have workers started for."""
    from halfstep.scaling import ScalingBook

    return [one for one in ScalingBook(patient.database).serving() if one.kind == "scaler"]


def _coming(patient: Patient, waiting: int) -> Finding:
    from halfstep.scaling import ScalingBook

    oldest = max(backlog.oldest_seconds for backlog in ScalingBook(patient.database).backlogs() if backlog.placement == "worker")
    said = f"none yet; {waiting} tasks wait, for up to {oldest:.0f} s, and a scaler knows that workers are wanted"
    advice = "Look at the ScaledObject and at its Deployment: kubectl describe."
    return Finding("workers", oldest <= COMING_SECONDS, said, "" if oldest <= COMING_SECONDS else advice)


def _backlogs(patient: Patient) -> list[Any]:
    from halfstep.queue import Queue

    return list(Queue(patient.database).measure())
