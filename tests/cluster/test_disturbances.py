"""What hands and tools do to pods of a real cluster, in each phase of a pod's life. The table is that of `disturbances.py`."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.hands import Course
from cluster.kube import Cluster
from disturbances import ENDED, FIRST, JUDGED, PENDING, RUNNING, complaint, rows
from halfstep.database import Database

pytestmark = pytest.mark.cluster
OPEN = 20
"""Pods at once: more make a node of two cores tell wrong things."""
PARTS = [
    (phase, part) for phase in (FIRST, PENDING, RUNNING, ENDED, JUDGED) for part in range(-(-len(list(rows(phase))) // OPEN))
]


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "part"), PARTS)
def test_tasks_end_as_they_should_although_somebody_lays_hands_on_their_pods(
    phase: str, part: int, cluster: Cluster, namespace: str, database: Database, start_launcher: Any
) -> None:
    some = list(rows(phase))[part * OPEN : (part + 1) * OPEN]
    seen = Course(cluster, namespace, database, start_launcher, phase, some).play()
    assert [told for row in some if (told := complaint(row, phase, seen[row.says]))] == []
