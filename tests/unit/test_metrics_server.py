"""Metrics over HTTP: on loopback unless told otherwise, probes from memory, and no thread's traceback."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from halfstep.errors import InvalidSettings
from halfstep.metrics.server import MetricsServer, parse_listen
from waiting import PATIENCE


@dataclass
class Condition:
    trouble: str = ""
    busy: str = ""

    def healthy(self) -> str:
        return self.trouble

    def ready(self) -> str:
        return self.busy


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def condition() -> Condition:
    return Condition()


@pytest.fixture
def server(registry: CollectorRegistry, condition: Condition) -> Iterator[MetricsServer]:
    running = MetricsServer("127.0.0.1:0", registry, condition)
    running.start()
    yield running
    running.stop()


def get(server: MetricsServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("9090", ("127.0.0.1", 9090)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost:9090", ("localhost", 9090)),
        (":9090", ("0.0.0.0", 9090)),
        ("0.0.0.0:9090", ("0.0.0.0", 9090)),
        ("[::1]:9090", ("::1", 9090)),
        ("[::]:9090", ("::", 9090)),
    ],
)
def test_only_who_says_so_listens_beyond_loopback(told: str, meant: tuple[str, int]) -> None:
    assert parse_listen(told) == meant


@pytest.mark.parametrize("told", ["", ":", "host", "host:", "host:name", "host:-1", "host:65536", "host:²"])
def test_a_bad_address_is_told_in_one_sentence(told: str) -> None:
    with pytest.raises(InvalidSettings, match=r"like 127\.0\.0\.1:9090 or :9090"):
        parse_listen(told)


def test_a_port_that_is_taken_is_told_in_one_sentence(server: MetricsServer, registry: CollectorRegistry) -> None:
    with pytest.raises(InvalidSettings, match="in use; choose another --metrics"):
        MetricsServer(f"127.0.0.1:{server.port}", registry).start()


def test_metrics_are_those_of_its_own_registry(server: MetricsServer, registry: CollectorRegistry) -> None:
    Counter("seen", "Seen.", registry=registry).inc(3)
    status, text = get(server, "/metrics")
    samples = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    assert (status, samples["seen_total"]) == (200, 3.0)
    assert "python_info" not in text


def test_probes_say_what_is_wrong(server: MetricsServer, condition: Condition) -> None:
    assert (get(server, "/healthz"), get(server, "/readyz?verbose")) == ((200, "ok\n"), (200, "ok\n"))
    condition.trouble, condition.busy = "The loop stands.", "Not registered."
    assert get(server, "/healthz") == (503, "The loop stands.\n")
    assert get(server, "/readyz") == (503, "Not registered.\n")
    assert get(server, "/")[0] == 404


def test_a_collector_that_fails_is_an_answer_500(server: MetricsServer, registry: CollectorRegistry) -> None:
    class Broken:
        def describe(self) -> list[object]:
            return []

        def collect(self) -> list[object]:
            raise ValueError("no figures")

    registry.register(Broken())  # type: ignore[arg-type]
    assert get(server, "/metrics") == (500, "ValueError: no figures\n")
    assert get(server, "/healthz")[0] == 200


def test_starting_and_stopping_twice_is_fine(registry: CollectorRegistry) -> None:
    server = MetricsServer("127.0.0.1:0", registry)
    server.stop()
    server.start()
    server.start()
    assert get(server, "/readyz") == (200, "ok\n")
    server.stop()
    server.stop()
    with pytest.raises(urllib.error.URLError):
        get(server, "/readyz")
