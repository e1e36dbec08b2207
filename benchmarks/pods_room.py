"""The bars of pod tasks on a cluster. What they stand on: `pods_ground`."""

from __future__ import annotations

from benchmarks import (
    pods_cluster,
    pods_disturbances,
    pods_holds,
    pods_kills,
    pods_mixed,
    pods_random,
    pods_scale,
    pods_trouble,
)
from benchmarks.bars import Measure

MEASUREMENTS: dict[str, Measure] = {
    **pods_mixed.MEASUREMENTS,
    **pods_kills.MEASUREMENTS,
    **pods_holds.MEASUREMENTS,
    **pods_scale.MEASUREMENTS,
    **pods_cluster.MEASUREMENTS,
    **pods_random.MEASUREMENTS,
    **pods_trouble.MEASUREMENTS,
    **pods_disturbances.MEASUREMENTS,
}
