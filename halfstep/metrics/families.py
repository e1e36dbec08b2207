"""Rows of SQL as metric families. Pure: the same snapshot gives the same text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from halfstep.database import Row
from halfstep.demand import Backlog
from halfstep.metrics import names
from halfstep.serving import Serving, unserved

Key = tuple[str, ...]

KNOWN_ENDS = (("succeeded", ""), ("failed", "exception"), ("retry", "exception"), ("lost", "worker_lost"))
"""Shown as 0 from the start: a counter that appears with its first count hides that count from `rate`."""
PLACEMENTS = ("worker", "pod")
MOST_UNSERVED = 100
"""Groups; those with most tasks."""
WORKER_STATES = ("running", "draining", "dead")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What SQL said at one time: rows of `backlogs`, `scheduled`, `tally`, `workers_now` and `serving`."""

    backlogs: Sequence[Row]
    scheduled: Sequence[Row]
    tally: Sequence[Row]
    workers: Sequence[Row]
    serving: Sequence[Row] = ()

    def families(self) -> Iterator[Metric]:
        """Everything, family by family."""
        yield gauge(names.TASKS, self._tasks())
        yield gauge(names.OLDEST_RUNNABLE, self._oldest())
        yield gauge(names.UNSERVED, self._unserved())
        yield from self._workers()
        yield counter(names.ATTEMPTS, self._attempts())
        yield counter(names.POD_OUTCOMES, added(((r["queue"], r["label"]), r["count"]) for r in self._measured("pod")))
        yield counter(names.FENCED, {(): sum(row["count"] for row in self._measured("fenced"))})
        yield histogram(names.WAIT, self._measured("wait"), self._groups())
        yield histogram(names.RUN, self._measured("run"), self._groups())

    def _measured(self, measure: str) -> list[Row]:
        return [row for row in self.tally if row["measure"] == measure]

    def _groups(self) -> list[Key]:
        return sorted({(row["queue"], row["placement"]) for row in self.backlogs})

    def _tasks(self) -> Mapping[Key, float]:
        found: dict[Key, float] = defaultdict(float)
        for row in self.backlogs:
            for state in ("ready", "alone", "due", "running", "orphaned"):
                shown = "paused" if row["paused"] and state in ("ready", "alone", "due") else state
                found[row["queue"], row["placement"], shown] += row[state]
        for group in self._groups():
            found[*group, "scheduled"] += 0
        for row in self.scheduled:
            found[row["queue"], row["placement"], "scheduled"] += row["number"]
        return found

    def _oldest(self) -> Mapping[Key, float]:
        found: dict[Key, float] = {}
        for row in self.backlogs:
            key = row["queue"], row["placement"]
            found[key] = max(found.get(key, 0.0), 0.0 if row["paused"] else row["oldest_seconds"])
        return found

    def _unserved(self) -> Mapping[Key, float]:
        lonely = unserved((Backlog(**row) for row in self.backlogs), (Serving(**row) for row in self.serving))
        return {(one.queue, one.placement, one.cluster or "default"): one.waiting for one in lonely[:MOST_UNSERVED]}

    def _workers(self) -> Iterator[Metric]:
        numbers: dict[Key, float] = {(placement, state): 0 for placement in PLACEMENTS for state in WORKER_STATES}
        numbers |= {(row["placement"], row["state"]): row["number"] for row in self.workers}
        slots: dict[Key, float] = {(placement,): 0 for placement in PLACEMENTS}
        slots |= {(row["placement"],): row["slots"] for row in self.workers if row["state"] == "running"}
        busy = added(((row["placement"],), row["running"]) for row in self.backlogs)
        yield gauge(names.WORKERS, numbers)
        yield gauge(names.SLOTS, slots)
        yield gauge(names.SLOTS_BUSY, {(placement,): 0.0 for placement in PLACEMENTS} | dict(busy))
        yield gauge(names.LEASE_LAG, {(): max((row["lag_seconds"] for row in self.workers), default=0.0)})

    def _attempts(self) -> Mapping[Key, float]:
        found: dict[Key, float] = {(*group, *end): 0 for group in self._groups() for end in KNOWN_ENDS}
        for row in self._measured("attempt"):
            outcome, _, reason = row["label"].partition(":")
            found[row["queue"], row["placement"], outcome, reason] = row["count"]
        return found


def added(pairs: Iterable[tuple[Key, float]]) -> Mapping[Key, float]:
    """The sum for each key."""
    found: dict[Key, float] = defaultdict(float)
    for key, number in pairs:
        found[key] += number
    return found


def gauge(metric: names.Metric, values: Mapping[Key, float]) -> Metric:
    """A value for each tuple of label values."""
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def counter(metric: names.Metric, values: Mapping[Key, float]) -> Metric:
    """A count for each tuple of label values."""
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def histogram(metric: names.Metric, rows: Iterable[Row], groups: Iterable[Key]) -> Metric:
    """Rows of the tally, whose labels are buckets; the groups without a row are empty."""
    counts: dict[Key, dict[str, int]] = {group: {} for group in groups}
    sums: dict[Key, float] = defaultdict(float)
    for row in rows:
        key: Key = (row["queue"], row["placement"])
        counts.setdefault(key, {})[row["label"]] = row["count"]
        sums[key] += row["sum"]
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for key, found in sorted(counts.items()):
        family.add_metric(key, _cumulative(found), sums[key])
    return family


def _cumulative(counts: Mapping[str, int]) -> list[tuple[str, float]]:
    total, told = 0, []
    for label in names.BUCKET_LABELS:
        total += counts.get(label, 0)
        told.append((label if label == "+Inf" else str(float(label)), float(total)))
    return told
