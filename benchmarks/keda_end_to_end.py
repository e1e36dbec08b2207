"""All the work of the demo, come and gone: workers 0 -> N -> 0 by KEDA; and what a real Prometheus sees of it.

Uses the helpers of tests/, which has to be on PYTHONPATH. The database is the demo's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException

from benchmarks.bars import Bar, Measure
from cluster.full_run import ALL, BODIES, LAUNCHERS, WORKERS, FullRun, watched
from cluster.installation import SYSTEM, TASKS, Installation, installed
from cluster.kube import connect, pod
from halfstep.errors import HalfstepError

CHECKOUT = Path(__file__).resolve().parents[1]
METRICS_TEST = "tests/cluster/test_keda_metrics.py"
METRICS_SECONDS = 600


class NotMeasured(HalfstepError):
    """The installation did not come up, or its work did not end in time."""


@contextmanager
def installation(**options: Any) -> Iterator[Installation]:
    """The demo at zero, with options of `installed`; NotMeasured if it does not come so far, or where there is no cluster."""
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig:
        raise NotMeasured("There is no cluster to measure on; `make bars ROOM=keda` starts one, or takes that of KUBECONFIG.")
    with tempfile.TemporaryDirectory(prefix="halfstep-bars-") as folder:
        try:
            with installed(connect(kubeconfig), Path(folder) / "overlay", **options) as here:
                yield here
        except AssertionError as error:
            raise NotMeasured(str(error)) from None


def end_to_end_bars(url: str) -> list[Bar]:
    """One run of all the work. The given database is not used."""
    with installation() as here, watched(here) as run:
        run.enqueue()
        run.wait_for_the_end()
        return [_succeeded(run), _scaled(run, WORKERS), _scaled(run, LAUNCHERS), _unhurt(run), _pods(run), _refused(here)]


def metrics_bars(url: str) -> list[Bar]:
    """The tests of panels and rules, which make a run of their own with Prometheus beside it."""
    words = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "cluster", METRICS_TEST, "-o", "faulthandler_timeout=0"]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=METRICS_SECONDS, check=False)
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    figure = ", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing was tested"
    return [Bar("keda: panels, rules and counters in Prometheus", figure, "all passed", set(counts) == {"passed"})]


def _succeeded(run: FullRun) -> Bar:
    good = run.one("SELECT count(*) FROM halfstep.history WHERE state = 'succeeded' AND attempt = 1")
    figure = f"{good} in {run.done_after:.0f} s"
    return Bar(f"keda: {BODIES} tasks, {ALL - BODIES} pods: succeeded at once", figure, f"{ALL}", good == ALL)


def _scaled(run: FullRun, name: str) -> Bar:
    changes = run.replicas.since(run.committed_at, name)
    at, most = run.most(name)
    figure = f"0 -> 1 {changes[0][0]:.2f} s, {most} {at:.1f} s, 0 {changes[-1][0]:.0f} s"
    ok = changes[-1][1] == 0 and [number for _, number in changes].count(0) == 1
    return Bar(f"keda: {name}: 0 -> N -> 0", figure, "once up, once down", ok)


def _unhurt(run: FullRun) -> Bar:
    hurt = run.one("SELECT count(*) FROM halfstep.attempt WHERE outcome IN ('lost', 'released')")
    return Bar("keda: attempts lost or released", str(hurt), "0", hurt == 0)


def _pods(run: FullRun) -> Bar:
    accepted = run.one("SELECT count(*) FROM halfstep.pod WHERE uid IS NOT NULL")
    created = sum(each * count for each, count in run.witness.pods_by_attempt().items())
    return Bar("keda: pods created / attempts accepted", f"{created} / {accepted}", "equal", created == accepted == ALL - BODIES)


def _refused(here: Installation) -> Bar:
    refused = sum(_refuses_privileged(here, namespace) for namespace in (SYSTEM, TASKS))
    return Bar("keda: namespaces that refuse a privileged pod", f"{refused} of 2", "2", refused == 2)


def _refuses_privileged(here: Installation, namespace: str) -> bool:
    privileged: Any = pod("privileged", command=["true"], securityContext={"privileged": True})
    try:
        here.cluster.core.create_namespaced_pod(namespace, privileged, dry_run="All")
    except ApiException as error:
        return bool(error.status == 403)
    return False


MEASUREMENTS: dict[str, Measure] = {"end to end": end_to_end_bars, "metrics": metrics_bars}
