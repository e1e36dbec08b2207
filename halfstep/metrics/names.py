"""Every metric's name, meaning and labels, and the buckets of the histograms. docs/reference/metrics.md has the same."""

from __future__ import annotations

from dataclasses import dataclass

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 28800)
"""Upper limits in seconds, without the last, which has none. `halfstep.bucket` in SQL has the same."""
BUCKET_LABELS = (*(f"{limit:g}" for limit in BUCKETS), "+Inf")
RPC_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2)
"""Seconds, for what is answered from memory."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as its server shows it."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


# What stands in SQL; shown by the elected exporter only.
TASKS = Metric(
    "halfstep_tasks",
    "Live tasks, counted no further than a cap; of those that are due later, the next ones.",
    ("queue", "placement", "state"),
)
OLDEST_RUNNABLE = Metric(
    "halfstep_oldest_runnable_seconds",
    "How long the oldest task that could run has waited since it was due.",
    ("queue", "placement"),
)
UNSERVED = Metric(
    "halfstep_unserved_tasks",
    "Tasks that wait for over a minute where no worker serves them and no scaler would bring one. Only where there are some.",
    ("queue", "placement", "cluster"),
)
WAIT = Metric("halfstep_wait_seconds", "From due to claimed, for each claim.", ("queue", "placement"))
RUN = Metric("halfstep_run_seconds", "How long attempts ran that ended by themselves.", ("queue", "placement"))
ATTEMPTS = Metric(
    "halfstep_attempts_total", "Ends of attempts, and of tasks that never started.", ("queue", "placement", "outcome", "reason")
)
POD_OUTCOMES = Metric("halfstep_pod_outcomes_total", "Verdicts on pods.", ("queue", "class"))
WORKERS = Metric("halfstep_workers", "Workers and launchers that hold a lease.", ("placement", "state"))
SLOTS = Metric("halfstep_slots", "Slots of running workers.", ("placement",))
SLOTS_BUSY = Metric("halfstep_slots_busy", "Tasks held by workers that live.", ("placement",))
LEASE_LAG = Metric("halfstep_lease_lag_seconds", "Since the least recent renewal of a lease that is not marked dead.")
FENCED = Metric("halfstep_fenced_writes_total", "Late writes that were refused, as the claim was lost.")

# Of one worker or launcher, from its own memory.
WORKER_SLOTS = Metric("halfstep_worker_slots", "Bodies, or pods, that it runs at once.")
WORKER_BUSY = Metric("halfstep_worker_busy", "Tasks that it holds.")
WORKER_LEASE_LAG = Metric("halfstep_worker_lease_lag_seconds", "Since its last renewal that was recorded.")
WORKER_DRAINING = Metric("halfstep_worker_draining", "1 while it leaves.")
WORKER_EXCHANGES = Metric("halfstep_worker_exchange_seconds", "How long exchanges took, and how many there were.")
WORKER_FENCED = Metric("halfstep_worker_fenced_writes_total", "Its late writes that were refused.")
WORKER_CHILDREN = Metric("halfstep_worker_children_started_total", "Child processes that were started.")
WORKER_PARTS = Metric(
    "halfstep_worker_part_seconds_since_turn",
    "Since each part that must turn last did, while it owes a turn; 0 while it has nothing to do.",
    ("part",),
)
LAUNCHER_TROUBLE = Metric(
    "halfstep_launcher_trouble",
    "1 while the API server keeps the launcher from this, whatever is asked for.",
    ("cluster", "namespace", "part"),
)

# Of a scaler.
SCALER_RPC = Metric("halfstep_scaler_rpc_seconds", "How long answers to KEDA took.", ("method",))
SCALER_WANTED = Metric("halfstep_scaler_wanted", "Workers wanted.", ("namespace", "scaledobject"))
SCALER_REFUSED = Metric("halfstep_scaler_refused_objects", "ScaledObjects that are refused; `halfstep doctor` says why.")
SCALER_SNAPSHOT_AGE = Metric("halfstep_scaler_snapshot_age_seconds", "Age of the demand that answers are made from.")
