"""Hands and tools at pods of a real cluster, in each phase of a pod's life: `make bars ROOM=pods ONLY=disturbances`.

No false success, no second pod, no innocent pod killed, and the launcher goes on. The table: tests/disturbances.py; what each row
comes to: docs/reference/pod-outcomes.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.bars import Bar, Measure
from benchmarks.pods_ground import ground
from cluster.hands import Course
from disturbances import ENDED, FIRST, JUDGED, PENDING, RUNNING, TABLE, complaint, rows

OPEN = 20
"""Pods at once."""
LEAST = 40
"""So many disturbances have to be played."""


def disturbance_bars(url: str) -> list[Bar]:
    """A bar for each phase, and one for the table's size."""
    return [Bar("disturbances", f">= {LEAST}", str(len(TABLE)), ok=len(TABLE) >= LEAST), *_phases(url)]


def _phases(url: str) -> Iterator[Bar]:
    """Each phase in a namespace of its own, some rows after the other."""
    for phase in (FIRST, PENDING, RUNNING, ENDED, JUDGED):
        wrong = list(_wrong(url, phase))
        for one in wrong:
            print(f"{phase}: {one}", file=sys.stderr)
        played = len(list(rows(phase)))
        yield Bar(f"disturbed while {phase}: as it should be", f"{played} of {played}", f"{played - len(wrong)}", ok=not wrong)


def _wrong(url: str, phase: str) -> Iterator[str]:
    every = list(rows(phase))
    for some in (every[at : at + OPEN] for at in range(0, len(every), OPEN)):
        with ground(url) as here:
            try:
                seen = Course(here.cluster, here.namespace, here.database, here.launcher, phase, some).play()
            except AssertionError as error:
                yield f"it could not be played: {error}"
                continue
            for row in some:
                if told := complaint(row, phase, seen[row.says]):
                    yield f"{row.says}: {told}"


MEASUREMENTS: dict[str, Measure] = {"disturbances": disturbance_bars}
