"""A real Prometheus (Debian's package), told what to scrape by the PodMonitor as the Prometheus operator would tell it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from cluster.kube import Cluster
from cluster.pod_discovery import NAMESPACE, POD, plain, told_of_pods
from kustomize import Object, one
from waiting import wait_until

PROGRAMS = ("prometheus", "promtool")
STEP_SECONDS = 15
PODS = "pods.json"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that answers."""

    address: str

    def ask(self, path: str, **given: str | float) -> Any:
        """The `data` of an answer of its API; HTTPError for an expression that it does not understand."""
        with urlopen(f"http://{self.address}/api/v1/{path}?{urlencode(given)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def now(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every series."""
        return [(found["metric"], float(found["value"][1])) for found in self.ask("query", query=expression)["result"]]

    def between(self, expression: str, start: float, end: float) -> list[float]:
        """All values of all series in that time, but for those that are no number."""
        found = self.ask("query_range", query=expression, start=start, end=end, step=STEP_SECONDS)["result"]
        values = [float(value) for series in found for _, value in series["values"]]
        return [value for value in values if value == value]


def configuration(objects: Sequence[Object]) -> Object:
    """For the shipped PodMonitor."""
    monitor = one(objects, "PodMonitor", "halfstep")
    jobs = [job(monitor, endpoint) for endpoint in monitor["spec"]["podMetricsEndpoints"]]
    return {
        "global": {"evaluation_interval": f"{STEP_SECONDS}s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": jobs,
    }


def job(monitor: Object, endpoint: Mapping[str, Any]) -> Object:
    """What the operator makes of one endpoint of a PodMonitor."""
    namespace, name = monitor["metadata"]["namespace"], monitor["metadata"]["name"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    copied = {"namespace": NAMESPACE, "container": f"{POD}_container_name", "pod": f"{POD}_name"}
    copied |= {plain(label): f"{POD}_label_{plain(label)}" for label in monitor["spec"].get("podTargetLabels", ())}
    relabel = [
        *(keep(f"{POD}_label_{plain(label)}", re.escape(value)) for label, value in wanted.items()),
        keep(f"{POD}_container_port_name", endpoint["port"]),
        {"action": "drop", "source_labels": [f"{POD}_phase"], "regex": "(Failed|Succeeded)"},
        *({"source_labels": [source], "target_label": target} for target, source in copied.items()),
    ]
    return {
        "job_name": f"{namespace}/{name}",
        "metrics_path": endpoint["path"],
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": endpoint["scrapeTimeout"],
        "file_sd_configs": [{"files": [PODS]}],
        "relabel_configs": relabel,
    }


def keep(source: str, regex: str) -> Object:
    """Only targets whose label matches."""
    return {"action": "keep", "source_labels": [source], "regex": regex}


def write_configuration(folder: Path, objects: Sequence[Object]) -> Path:
    """The configuration and the shipped rules. AssertionError if promtool finds anything wrong with them."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(one(objects, "PrometheusRule", "halfstep")["spec"]))
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(configuration(objects)))
    checked = subprocess.run(["promtool", "check", "config", file], capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return file


@contextmanager
def prometheus(folder: Path, objects: Sequence[Object], cluster: Cluster) -> Iterator[Prometheus]:
    """A running one with its data in `folder`."""
    file, namespace = write_configuration(folder, objects), one(objects, "PodMonitor", "halfstep")["metadata"]["namespace"]
    with told_of_pods(cluster, namespace, folder / PODS), _running(folder, file) as address:
        yield Prometheus(address)


@contextmanager
def _running(folder: Path, file: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with (
        (folder / "prometheus.log").open("wb") as log,
        subprocess.Popen(["prometheus", *words], stdout=log, stderr=log) as running,
    ):
        try:
            wait_until(lambda: _answers(address), seconds=30, what="Prometheus' answer")
            yield address
        finally:
            running.kill()


def _answers(address: str) -> bool:
    try:
        with urlopen(f"http://{address}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
