"""From a COMMIT to the number of replicas, by real KEDA: 0 -> 1, and 0 -> 40 with and without direct scale.

The workers' pods find no node, so that 40 of them cost nothing: what is measured is `spec.replicas`, as a watch tells it.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bars import Bar, Measure
from benchmarks.keda_ground import ENQUEUE, fleet, nowhere, percentile, reach, tasks, to_rest
from benchmarks.pods_ground import size
from cluster.full_run import WORKERS, FullRun

ACTIVATIONS = size("ACTIVATIONS", 50)
GROWTHS = size("GROWTHS", 5)
MOST = 40
WIDE = {"worker-slots": "1", "worker-max": str(MOST)}
FIRST_SECONDS, TICK_SECONDS, DIRECT_SECONDS = 0.050, 17.0, 1.0


def activation_bars(url: str) -> list[Bar]:
    """The given database is not used."""
    with fleet(settings=WIDE, patches=[nowhere(WORKERS)]) as run:
        first = sorted(_seconds(run, 1) for _ in range(ACTIVATIONS))
        by_hpa = [_seconds(run, MOST) for _ in range(GROWTHS)]
    with fleet(components=["direct-scale"], settings=WIDE, patches=[nowhere(WORKERS)]) as run:
        direct = [_seconds(run, MOST) for _ in range(GROWTHS)]
    return [_activation(first), _growth(direct, "with", DIRECT_SECONDS), _growth(by_hpa, "without", TICK_SECONDS)]


def _seconds(run: FullRun, number: int) -> float:
    """From the COMMIT of so many tasks, at rest, until so many replicas are wanted."""
    to_rest(run, WORKERS)
    return reach(run, number, WORKERS, since=run.commit(ENQUEUE, tasks(number)), within=40.0)


def _activation(seconds: Sequence[float]) -> Bar:
    p50, p95 = (percentile(seconds, share) for share in (50, 95))
    figure = f"p95 {p95 * 1000:.0f} ms (p50 {p50 * 1000:.0f}, max {seconds[-1] * 1000:.0f})"
    bound = f"p95 <= {FIRST_SECONDS * 1000:.0f} ms"
    return Bar(f"keda: COMMIT to replicas > 0, {len(seconds)} times", figure, bound, p95 <= FIRST_SECONDS)


def _growth(seconds: Sequence[float], how: str, bound: float) -> Bar:
    figure = f"{max(seconds):.2f} s ({', '.join(f'{each:.2f}' for each in sorted(seconds)[:-1])})"
    return Bar(f"keda: COMMIT to {MOST} replicas, {how} direct scale", figure, f"<= {bound:.0f} s", max(seconds) <= bound)


MEASUREMENTS: dict[str, Measure] = {"activation": activation_bars}
