"""A real Prometheus watches all the work come and go: each panel and each rule has something to show."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.full_run import ALL, BODIES, PODS, PODS_WITH_BODIES, FullRun, watched
from cluster.installation import Installation, installed
from cluster.kube import Cluster
from cluster.prometheus import PROGRAMS, Prometheus, prometheus
from kustomize import MANIFESTS, Object, objects_of
from waiting import wait_until

pytestmark = pytest.mark.cluster

FAILURES = """
SELECT halfstep.enqueue('bash', '{"command": "exit 1"}', queue => 'failing', max_attempts => 1);
SELECT halfstep.enqueue('bash', '{"command": "exit 1"}', queue => 'failing', max_attempts => 1,
                        run_at => clock_timestamp() + interval '45 s');
"""
"""A rate is known of a counter that grows while it is looked at, so the second comes some scrapes after the first."""
COMPONENTS = ("prometheus", "grafana")
QUIET = {"cooldown": "20"}
SCRAPED_SECONDS = 60
DASHBOARD = MANIFESTS / "components" / "grafana" / "dashboards" / "overview.json"
RULES = [rule for found in objects_of(MANIFESTS / "components" / "prometheus" / "rules.yaml") for rule in found["spec"]["groups"]]


@dataclass(frozen=True, slots=True)
class Watched:
    """A run, and what Prometheus knows of it."""

    run: FullRun
    prometheus: Prometheus
    started_at: float
    ended_at: float

    def values(self, expression: str) -> list[float]:
        """Whatever it was during the run."""
        return self.prometheus.between(expression, self.started_at, self.ended_at)


@pytest.fixture(scope="module")
def here(cluster: Cluster, keda: None, definitions: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with the two components; skipped where KEDA or Prometheus is missing."""
    if not all(map(shutil.which, PROGRAMS)):
        pytest.skip("Prometheus is not installed; Debian's package `prometheus` has it.")
    with installed(cluster, tmp_path_factory.mktemp("overlay"), components=COMPONENTS, settings=QUIET) as here:
        yield here


@pytest.fixture(scope="module")
def watch(here: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """All the work, come and gone, and the last of it scraped."""
    folder = tmp_path_factory.mktemp("prometheus")
    with prometheus(folder, here.objects, here.cluster) as scraper, watched(here) as run:
        started_at = time.time()
        wait_until(lambda: scraper.now("halfstep_fenced_writes_total"), seconds=SCRAPED_SECONDS, what="a first scrape")
        run.enqueue(FAILURES)
        run.wait_for_the_end(tasks=ALL + 2)
        ended = "sum(halfstep_attempts_total)"
        wait_until(lambda: scraper.now(ended)[0][1] == ALL + 2, seconds=SCRAPED_SECONDS, what="a scrape of the last end")
        yield Watched(run, scraper, started_at, time.time())


def panels() -> Iterator[tuple[str, str]]:
    """Title and expression, with what Grafana puts in for its variables."""
    given = {"$queue": ".*", "$__rate_interval": "60s"}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            expression = re.sub("|".join(map(re.escape, given)), lambda found: given[found[0]], target["expr"])
            yield f"{panel['title']} {target['refId']}", expression


PANELS = dict(panels())
RECORDED: dict[str, Object] = {rule["record"]: rule for group in RULES for rule in group["rules"] if "record" in rule}
ALERTS: dict[str, Object] = {rule["alert"]: rule for group in RULES for rule in group["rules"] if "alert" in rule}


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_shows_the_run(title: str, watch: Watched) -> None:
    assert "$" not in PANELS[title]
    assert watch.values(PANELS[title])


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_rule_records(name: str, watch: Watched) -> None:
    assert watch.values(name)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_figures_to_judge_by_and_is_silent_after_a_run_in_which_all_went_well(name: str, watch: Watched) -> None:
    expression = ALERTS[name]["expr"]
    absent = re.fullmatch(r"absent\((.*)\)", expression.strip())
    if absent:
        assert watch.prometheus.now(absent[1])
    else:
        assert watch.values(re.sub(r"\s>\s", " > bool ", expression))
    assert not [alert for alert in firing(watch.prometheus) if alert == name]


def test_no_rule_has_an_error(watch: Watched) -> None:
    rules = [rule for group in watch.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {*RECORDED, *ALERTS}
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}


def test_counters_in_prometheus_agree_with_the_database(watch: Watched) -> None:
    ends = watch.prometheus.now("sum by (placement, outcome) (halfstep_attempts_total)")
    counted = {(labels["placement"], labels["outcome"]): number for labels, number in ends if number}
    assert counted == {
        ("worker", "succeeded"): BODIES,
        ("pod", "succeeded"): PODS + PODS_WITH_BODIES,
        ("worker", "failed"): 2,
    }
    assert watch.prometheus.now("sum(halfstep_pod_outcomes_total)")[0][1] == PODS + PODS_WITH_BODIES
    waited = watch.prometheus.now('sum(halfstep_wait_seconds_count{placement="worker"})')
    assert waited[0][1] == BODIES + 2


@pytest.mark.parametrize("component", ["worker", "launcher", "scaler"])
def test_every_program_was_found_by_the_pod_monitor(component: str, watch: Watched) -> None:
    assert 1.0 in watch.values(f'up{{app_kubernetes_io_component="{component}"}}')


def test_queue_metrics_come_from_one_exporter_at_a_time(watch: Watched) -> None:
    assert set(watch.values("count(halfstep_fenced_writes_total)")) == {1.0}


def test_the_dashboards_variable_lists_the_queues(watch: Watched) -> None:
    names = watch.prometheus.ask("label/queue/values", **{"match[]": "halfstep_tasks"})
    assert {"default", "failing"} <= set(names)


def firing(found: Prometheus) -> list[str]:
    return [alert["labels"]["alertname"] for alert in found.ask("alerts")["alerts"] if alert["state"] == "firing"]


def test_the_dashboard_is_in_the_cluster_as_it_is_shipped(here: Installation, cluster: Cluster) -> None:
    shipped: Path = DASHBOARD
    found = cluster.core.read_namespaced_config_map("halfstep-dashboards", "halfstep").data
    assert found == {shipped.name: shipped.read_text()}
