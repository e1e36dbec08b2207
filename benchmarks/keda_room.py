"""The bars of halfstep under real KEDA, which has to run in the cluster of KUBECONFIG."""

from __future__ import annotations

from benchmarks import keda_activation, keda_end_to_end, keda_outages, keda_scale_in, keda_zero
from benchmarks.bars import Measure

MEASUREMENTS: dict[str, Measure] = {
    **keda_end_to_end.MEASUREMENTS,
    **keda_activation.MEASUREMENTS,
    **keda_scale_in.MEASUREMENTS,
    **keda_outages.MEASUREMENTS,
    **keda_zero.MEASUREMENTS,
}
