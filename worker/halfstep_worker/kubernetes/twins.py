"""Pods of our own installation id that are not ours: another database has the same id, or ours was set back to an earlier day."""

from __future__ import annotations

from collections.abc import Sequence

from halfstep.events import emit
from halfstep.pods import PodBook
from halfstep_worker.desk import Desk, Incoming

NAMED = 3


def twins(book: PodBook, attempts: Sequence[str], desk: Desk) -> set[str]:
    """Those of the attempts that this database has never intended. If there are any, the launcher says so and leaves.

    Each pod's intent is in SQL before the pod is asked for: whoever made such a pod has another database.
    """
    unknown = book.unknown(attempts)
    if unknown:
        emit("pod.twins", count=len(unknown), some=", ".join(f"hs-{attempt}" for attempt in sorted(unknown)[:NAMED]))
        desk.deliver(Incoming(drain=True))
    return unknown
