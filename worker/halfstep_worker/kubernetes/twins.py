"""Pods of our own installation id that are not ours: another database has the same id, or ours was set back to an earlier day."""

from __future__ import annotations

from collections.abc import Sequence

from halfstep.events import emit
from halfstep.pods import Doubt
from halfstep_worker.desk import Desk, Incoming

NAMED = 3


def twins(unknown: Sequence[Doubt], desk: Desk) -> set[str]:
    """Which of these pods, by uid, launchers made although this database has never intended them. If any: it says so and leaves.

    Each pod's intent is in SQL before the pod is asked for: whoever made such a pod has another database. A pod that merely
    carries our labels, which anybody may set to anything, is no such sign.
    """
    theirs = [doubt for doubt in unknown if doubt.twin]
    if theirs:
        some = ", ".join(f"hs-{doubt.attempt_id}" for doubt in sorted(theirs)[:NAMED])
        emit("pod.twins", count=len(theirs), some=some)
        desk.deliver(Incoming(drain=True))
    return {doubt.uid for doubt in theirs}
