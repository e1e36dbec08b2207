"""What is remembered, told and asked again of a cluster that does nothing for its launcher."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest
from prometheus_client.core import CollectorRegistry
from prometheus_client.exposition import generate_latest

from halfstep_worker.heartbeat import Pulse
from halfstep_worker.kubernetes.inbox import Calls
from halfstep_worker.kubernetes.probes import Probes
from halfstep_worker.kubernetes.standing import Standing, TroubleMetrics
from halfstep_worker.kubernetes.trouble import ADMISSION, MOST_KEYS, STALE_SECONDS, Troubles


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def troubles(clock: Clock) -> Troubles:
    return Troubles("default", clock=clock)


def test_a_refusal_counts_at_once_and_a_silent_server_when_it_lasts(troubles: Troubles, clock: Clock) -> None:
    assert troubles.met("jobs", "create pods", "no right", sure=True)
    assert not troubles.met("etl", "create pods", "no answer", sure=False)
    assert [one.namespace for one in troubles.standing()] == ["jobs"]
    assert (troubles.blocked("jobs"), troubles.blocked("etl")) == ("no right", None)
    clock.now += 2.0
    assert troubles.met("etl", "create pods", "no answer", sure=False)
    assert troubles.blocked("etl") == "no answer"
    troubles.over("jobs", "create pods")
    troubles.over("etl", "create pods")
    assert troubles.standing() == []


@pytest.mark.parametrize(("part", "blocks"), [
    ("create pods", True), ("create configmaps", True), ("list pods", True), ("watch pods", True),
    ("delete pods", False), ("patch pods", False), ("get pods/log", False), (ADMISSION, False),
])  # fmt: skip
def test_claims_stop_for_what_keeps_pods_from_being_made_and_seen_only(troubles: Troubles, part: str, blocks: bool) -> None:
    troubles.met("jobs", part, "so it is", sure=True)
    assert (troubles.blocked("jobs") is not None) == blocks


def test_what_nobody_tries_any_more_is_over_in_the_end(troubles: Troubles, clock: Clock) -> None:
    troubles.met("jobs", "delete pods", "no right", sure=True)
    troubles.met("jobs", "create pods", "no right", sure=True)
    clock.now += STALE_SECONDS + 1
    assert [one.part for one in troubles.standing()] == ["create pods"], "that one is asked again until it is over"


def test_the_log_has_one_line_a_minute_for_each_refusal_and_counts_the_others(
    troubles: Troubles, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "halfstep")
    for _ in range(5):
        troubles.refused("jobs", "create pods", 403, "no right")
    troubles.refused("jobs", "create pods", 401, "who are you")
    troubles.refused("etl", "create pods", 403, "no\nright\x1b[31m")
    clock.now += 60
    troubles.refused("jobs", "create pods", 403, "no right")
    assert [record.getMessage() for record in caplog.records] == [
        "Cluster 'default', namespace 'jobs': the API server answers 'create pods' with 403: no right",
        "Cluster 'default', namespace 'jobs': the API server answers 'create pods' with 401: who are you",
        "Cluster 'default', namespace 'etl': the API server answers 'create pods' with 403: no right\\x1b[31m",
        "Cluster 'default', namespace 'jobs': the API server answers 'create pods' with 403: no right And 4 more since the last "
        "line about it.",
    ]


def test_that_it_works_again_is_told_once(troubles: Troubles, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "halfstep")
    troubles.met("jobs", "create pods", "no right", sure=True)
    troubles.met("jobs", "get pods", "no answer", sure=False)
    clock.now += 1.5
    for part in ("create pods", "create pods", "get pods"):
        troubles.over("jobs", part)
    assert [record.getMessage() for record in caplog.records] == [
        "Cluster 'default', namespace 'jobs': 'create pods' works again, after 1.5 s."
    ]


def test_what_a_server_says_is_bounded_and_visible(troubles: Troubles) -> None:
    troubles.met("jobs", "create pods", "\x1b[2J\0\n\ud800" + "x" * 100_000, sure=True)
    said = troubles.blocked("jobs") or ""
    assert len(said) < 2000
    assert said.isprintable()
    for number in range(3 * MOST_KEYS):
        troubles.refused(f"namespace-{number}", "create pods", 403, "x")
    assert len(troubles._lines) <= MOST_KEYS


@pytest.mark.parametrize("part", ["get pods", "get pods/log", "delete pods", "patch pods"])
def test_a_single_fault_of_what_is_rarely_asked_for_is_told_to_nobody(troubles: Troubles, clock: Clock, part: str) -> None:
    """It is asked for again after seconds: until then nobody knows more."""
    troubles.met("jobs", part, "no answer", sure=False)
    clock.now += 4.9
    assert troubles.standing() == []
    troubles.met("jobs", part, "no answer", sure=False)
    assert [one.part for one in troubles.standing()] == [part]


# -- probes


class HeldCalls(Calls):
    """Calls wait until the test makes them."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], object]] = deque()

    def submit(self, attempt_id: str, call: str, function: Callable[[], object]) -> None:
        assert (attempt_id, call) == ("", "probe")
        self.waiting.append(function)


class FakeApi:
    """Writes down what it is asked."""

    def __init__(self, troubles: Troubles) -> None:
        self.troubles = troubles
        self.asked: list[tuple[str, str]] = []

    def probe(self, namespace: str, kind: str) -> None:
        self.asked.append((namespace, kind))

    def touch(self, namespace: str, part: str) -> None:
        self.asked.append((namespace, part))


def test_a_single_fault_of_a_create_is_over_before_anybody_is_told(troubles: Troubles, clock: Clock) -> None:
    """Or else the next create would be held back, and readiness with it."""
    api, calls = FakeApi(troubles), HeldCalls()
    troubles.met("jobs", "create pods", "no answer", sure=False)
    Probes(api, calls).turn(clock.now)
    calls.waiting.popleft()()
    assert api.asked == [("jobs", "pods")]
    troubles.over("jobs", "create pods")
    clock.now += 2.0
    assert troubles.blocked("jobs") is None


def test_one_pod_that_meets_a_fault_again_and_again_holds_up_nobody(troubles: Troubles, clock: Clock) -> None:
    """As one that is too large for the server's store: others can be made, as each dry run finds."""
    api, calls = FakeApi(troubles), HeldCalls()
    probes = Probes(api, calls)
    for tenth in range(1200):
        clock.now += 0.1
        if tenth % 20 == 0:
            troubles.met("jobs", "create pods", "etcdserver: request is too large", sure=False)
        probes.turn(clock.now)
        while calls.waiting:
            calls.waiting.popleft()()
            troubles.over("jobs", "create pods")
        assert troubles.blocked("jobs") is None
    assert len(api.asked) <= 60


def test_one_dry_run_at_a_time_asks_for_each_kind_and_namespace_slower_and_slower(troubles: Troubles, clock: Clock) -> None:
    api, calls = FakeApi(troubles), HeldCalls()
    probes = Probes(api, calls)
    troubles.met("jobs", "create pods", "no right", sure=True)
    troubles.met("jobs", "list pods", "no right", sure=True)
    probes.turn(clock.now)
    probes.turn(clock.now + 10)
    assert len(calls.waiting) == 1, "the first has no answer yet"
    times = []
    while clock.now < 1100:
        while calls.waiting:
            calls.waiting.popleft()()
            times.append(clock.now)
        probes.turn(clock.now)
        clock.now += 0.1
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[0] < 1.0
    assert all(2.4 < pause < 5.3 for pause in pauses[5:])
    assert set(api.asked) == {("jobs", "pods")}
    troubles.over("jobs", "create pods")
    asked = len(api.asked)
    probes.turn(clock.now + 100)
    assert (len(calls.waiting), len(api.asked)) == (0, asked)


# -- for those who ask


def test_the_launcher_is_not_ready_without_its_own_namespace_and_says_all_to_sql(troubles: Troubles, clock: Clock) -> None:
    standing = Standing("", ("jobs", "etl"), troubles, Pulse(), clock)
    assert (standing.why_not_ready(), standing.rows()) == ("", [])
    troubles.met("etl", "create pods", "etl is away", sure=True)
    assert standing.why_not_ready() == "", "others go on"
    troubles.met("jobs", "get pods/log", "no logs", sure=True)
    clock.now += 3
    troubles.met("jobs", "create pods", "no right", sure=True)
    assert standing.why_not_ready() == "no right"
    assert [(row.namespace, row.part, row.seconds) for row in standing.rows()] == [
        ("etl", "create pods", 3.0), ("jobs", "get pods/log", 3.0), ("jobs", "create pods", 0.0),
    ]  # fmt: skip


def test_a_part_of_the_launcher_that_hangs_is_told_to_sql_too(troubles: Troubles) -> None:
    pulse = Pulse()
    pulse.progress.part("watch jobs", bound=60.0).fell(KeyError("metadata"))
    (row,) = Standing("", ("jobs",), troubles, pulse).rows()
    assert (row.namespace, row.part) == ("", "watch jobs")
    assert row.sentence.endswith("Restart the launcher.")


def test_every_part_has_its_figure_from_the_start(troubles: Troubles, clock: Clock) -> None:
    registry = CollectorRegistry()
    registry.register(TroubleMetrics(Standing("", ("jobs",), troubles, Pulse(), clock), "default"))
    line = 'halfstep_launcher_trouble{cluster="default",namespace="jobs",part="create pods"} '
    assert f"{line}0.0\n" in generate_latest(registry).decode()
    troubles.met("jobs", "create pods", "no right", sure=True)
    troubles.met("no-such-namespace", "create pods", "no right", sure=True)
    text = generate_latest(registry).decode()
    assert f"{line}1.0\n" in text
    assert "no-such-namespace" not in text
