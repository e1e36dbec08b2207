"""What must turn: named when it hangs or has fallen, well while it has nothing to do."""

from __future__ import annotations

import threading
import time

from halfstep_worker.heartbeat import EXCHANGE, Heartbeat, Pulse
from halfstep_worker.kubernetes.inbox import Answer, Calls, Inbox
from halfstep_worker.metrics import FAILING_SECONDS, WorkerHealth, WorkerMetrics
from halfstep_worker.progress import Progress
from halfstep_worker.settings import WorkerSettings
from waiting import wait_until

SETTINGS = WorkerSettings(database_url="postgresql://nobody@127.0.0.1:1/none", slots=3, lease_seconds=10)


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_part_that_owes_a_turn_for_too_long_is_named() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    part = progress.part("watch jobs", bound=60.0)
    part.turned()
    clock.now += 60
    assert progress.late() == []
    assert progress.seconds() == {"watch jobs": 60.0}
    clock.now += 1
    (late,) = progress.late()
    assert (late.part, late.sentence, late.since) == ("watch jobs", "The part 'watch jobs' has not turned for 61 s.", 1000.0)
    part.turned()
    assert progress.late() == []


def test_a_part_with_nothing_to_do_is_well_for_as_long_as_that_lasts() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    part = progress.part("logs", bound=60.0)
    clock.now += 10_000
    part.turned()
    part.rests()
    clock.now += 10_000
    assert progress.late() == []
    assert progress.seconds() == {"logs": 0.0}


def test_of_several_threads_the_one_that_hangs_counts() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    part = progress.part("calls", bound=60.0)
    part.turned("hangs")
    for _ in range(4):
        part.turned("works")
        clock.now += 20
        part.rests("works")
    assert [late.part for late in progress.late()] == ["calls"]


def test_a_part_that_fell_is_named_for_good() -> None:
    progress = Progress()
    part = progress.part("watch jobs", bound=60.0)
    part.fell(KeyError("metadata"))
    part.turned()
    assert [late.sentence for late in progress.late()] == ["The part 'watch jobs' has ended by an error: KeyError: 'metadata'."]


def test_what_hangs_or_fell_makes_the_process_neither_healthy_nor_ready() -> None:
    now = time.monotonic()
    pulse = Pulse(worker_id="w", turned_at=now, renewed_at=now)
    health = WorkerHealth(SETTINGS, pulse)
    assert (health.healthy(), health.ready()) == ("", "")
    pulse.progress.part("logs", bound=60.0).fell(ValueError("x"))
    assert "'logs' has ended by an error" in health.healthy()
    assert "'logs' has ended by an error" in health.ready()


def test_an_exchange_that_only_fails_makes_it_not_ready_but_no_restart_helps() -> None:
    now = time.monotonic()
    pulse = Pulse(worker_id="w", turned_at=now, renewed_at=now, failing=(now, "invalid input syntax"))
    health = WorkerHealth(SETTINGS, pulse)
    assert health.ready() == ""
    pulse.failing = now - FAILING_SECONDS, "invalid input syntax"
    assert health.ready().startswith("The exchange with the database has failed for 5 s: invalid input syntax")
    assert health.healthy() == ""


def test_what_else_keeps_it_from_working_is_in_the_body() -> None:
    now = time.monotonic()
    health = WorkerHealth(SETTINGS, Pulse(worker_id="w", turned_at=now, renewed_at=now), why_not=lambda: "The cluster is away.")
    assert (health.ready(), health.healthy()) == ("The cluster is away.", "")


def test_the_lease_of_a_worker_whose_exchange_hangs_is_not_renewed() -> None:
    clock = Clock()
    pulse = Pulse(worker_id="w", turned_at=time.monotonic(), progress=Progress(clock=clock))
    heartbeat = Heartbeat(SETTINGS, pulse)
    pulse.progress.part(EXCHANGE, bound=60.0).turned()
    clock.now += 61
    began = time.monotonic()
    assert not heartbeat.beat(began)
    assert pulse.renewed_at == 0.0


def test_each_part_has_its_figure() -> None:
    from prometheus_client.exposition import generate_latest

    pulse = Pulse(turned_at=time.monotonic())
    pulse.progress.part("watch jobs", bound=60.0)
    text = generate_latest(WorkerMetrics(SETTINGS, pulse, leaves=lambda: False).registry).decode()
    assert '\nhalfstep_worker_part_seconds_since_turn{part="watch jobs"} 0.0\n' in text
    assert '\nhalfstep_worker_part_seconds_since_turn{part="loop"} ' in text


def test_a_call_that_does_not_come_back_is_seen() -> None:
    clock, go, inbox = Clock(), threading.Event(), Inbox()
    progress = Progress(clock=clock)
    calls = Calls(inbox, threads=2, part=progress.part("calls", bound=120.0))
    calls.submit("a", "get", go.wait)
    wait_until(lambda: calls._part.seconds(clock.now + 1), what="the call")
    clock.now += 121
    assert [late.part for late in progress.late()] == ["calls"]
    go.set()
    calls.stop()
    assert progress.late() == []
    assert inbox.take() == [Answer("a", "get", True)]
