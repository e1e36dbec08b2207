"""The bars of halfstep under real KEDA, which has to run in the cluster of KUBECONFIG."""

from __future__ import annotations

from benchmarks import keda_end_to_end
from benchmarks.bars import Measure

MEASUREMENTS: dict[str, Measure] = {
    **keda_end_to_end.MEASUREMENTS,
}
