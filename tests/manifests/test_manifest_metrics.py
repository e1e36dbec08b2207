"""Dashboards and rules ask for metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import yaml

from halfstep.metrics import names
from kustomize import MANIFESTS

DASHBOARDS = sorted((MANIFESTS / "components" / "grafana" / "dashboards").glob("*.json"))
RULES = yaml.safe_load((MANIFESTS / "components" / "prometheus" / "rules.yaml").read_text())
METRICS = {metric.name: metric for metric in vars(names).values() if isinstance(metric, names.Metric)}
GIVEN_BY_SCRAPING = {"pod", "namespace", "container", "job", "instance", "le"}
RECORDED = {rule["record"] for group in RULES["spec"]["groups"] for rule in group["rules"] if "record" in rule}


@dataclass(frozen=True)
class Question:
    """One expression, and where it stands."""

    place: str
    expression: str
    labels: set[str] = field(default_factory=set)


def panels() -> Iterator[Question]:
    """Of all dashboards."""
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                shown = set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))
                yield Question(f"{file.stem}: {panel['title']}", target["expr"], shown)


def rules() -> Iterator[Question]:
    """Of all groups."""
    for group in RULES["spec"]["groups"]:
        for rule in group["rules"]:
            shown = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule.get("annotations", {}))))
            yield Question(rule.get("alert") or rule["record"], rule["expr"], shown)


QUESTIONS = [*panels(), *rules()]


def metrics_in(expression: str) -> set[str]:
    """Names of metrics, those of a histogram's series without their endings."""
    found = set(re.findall(r"\bhalfstep_\w+", expression))
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


def selected(expression: str) -> dict[str, set[str]]:
    """Label names in braces, by metric."""
    found = re.findall(r"\b(halfstep_\w+)\{([^}]*)\}", expression)
    return {re.sub(r"_(bucket|count|sum)$", "", name): set(re.findall(r"(\w+)\s*(?:=|!)", inner)) for name, inner in found}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.place)
def test_a_question_is_about_metrics_that_exist(question: Question) -> None:
    assert metrics_in(question.expression)
    assert metrics_in(question.expression) <= set(METRICS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.place)
def test_a_question_names_labels_that_its_metrics_have(question: Question) -> None:
    for name, labels in selected(question.expression).items():
        assert labels <= {*METRICS[name].labels, *GIVEN_BY_SCRAPING}
    known = {label for name in metrics_in(question.expression) for label in METRICS[name].labels} | GIVEN_BY_SCRAPING
    grouped = {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", question.expression) for label in by.split(",")}
    assert grouped | question.labels <= known
    if grouped:
        assert question.labels <= grouped


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_fits_the_screen_and_says_what_its_panels_show(file: object) -> None:
    board = json.loads(file.read_text())  # type: ignore[attr-defined]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["description"]
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


def test_the_overview_shows_what_is_promised() -> None:
    shown = {name for question in panels() for name in metrics_in(question.expression)}
    assert {
        "halfstep_tasks",
        "halfstep_oldest_runnable_seconds",
        "halfstep_scaler_wanted",
        "halfstep_workers",
        "halfstep_attempts_total",
        "halfstep_pod_outcomes_total",
    } <= shown


def test_every_alert_says_what_to_do() -> None:
    alerts = [rule for group in RULES["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert alerts
    for alert in alerts:
        assert alert["labels"]["severity"] in ("info", "warning", "critical")
        assert {"summary", "description"} <= set(alert["annotations"])


def test_what_is_recorded_is_named_as_prometheus_wants_it() -> None:
    assert all(re.fullmatch(r"halfstep:\w+:\w+", name) for name in RECORDED)
