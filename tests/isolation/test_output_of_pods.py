"""The logs of pods keep what the logs of bodies keep: the beginning, the end, and how much lies between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from halfstep.claims import Claim
from halfstep.limits import LOG_BYTES
from halfstep.pods import LogPosition, StreamEnd
from halfstep_worker.desk import Outgoing
from halfstep_worker.kubernetes.api import ClusterApi
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.flightlogs import FlightLogs, Lines, LogDone
from halfstep_worker.kubernetes.inbox import Inbox
from kubernetes_fake import FakeCluster
from pod_builders import pod
from waiting import wait_until

START = 1_700_000_000.0
TEXT = "{:09} " + "x" * 90
CLAIM = Claim(1, "token", "q", "pod", "{}", 1, 0, 3, None, 1, 300, False, False, attempt_id="0f0f0f0f")


class Launcher:
    """As much of a launcher as the log of one pod needs."""

    def __init__(self, api: ClusterApi) -> None:
        self.inbox = Inbox()
        self.logs = FlightLogs(api, self.inbox)
        self.flight = Flight(CLAIM, "jobs", pod=pod())
        self.outgoing = Outgoing()
        self.done = False
        self.logs.start()

    def turn(self) -> bool:
        """Takes what has come; whether the log has been read to its end."""
        for thing in self.inbox.take():
            match thing:
                case Lines():
                    self.logs.take(thing, self.outgoing, 0.0)
                case LogDone():
                    self.done = True
        return self.done

    def follow(self) -> None:
        """Reads the beginning, which is all that is read of a long log while its pod runs."""
        self.logs.follow(self.flight)
        wait_until(self._is_full, seconds=60, what="the beginning")

    def _is_full(self) -> bool:
        self.turn()
        self.logs.flush(self.outgoing, float("inf"))
        return any("what follows is held back" in text for text in self.texts)

    def finish(self) -> None:
        """Reads the end of the log of a pod that has ended."""
        self.logs.finish(self.flight)
        wait_until(self.turn, seconds=60, what="the end of the log")
        self.logs.flush(self.outgoing, float("inf"))
        self.logs.end(self.flight, self.outgoing)

    @property
    def lines(self) -> list[list[Any]]:
        return [line for chunk in self.outgoing.chunks for line in chunk["lines"]]

    @property
    def texts(self) -> list[str]:
        return [text for _, _, text in self.lines]


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    with closing(FakeCluster()) as made:
        made.store.put(Flight(CLAIM, "jobs").name)
        yield made


@pytest.fixture
def launch(fake: FakeCluster, tmp_path: Path) -> Iterator[Callable[[], Launcher]]:
    started: list[Launcher] = []

    def start() -> Launcher:
        started.append(Launcher(ClusterApi("here", kubeconfig=fake.kubeconfig(tmp_path))))
        return started[-1]

    yield start
    for launcher in started:
        launcher.logs.stop()


def write(fake: FakeCluster, numbers: range, *last: str) -> None:
    for n in numbers:
        fake.log(Flight(CLAIM, "jobs").name, TEXT.format(n), at=START + n / 10_000)
    for text in last:
        fake.log(Flight(CLAIM, "jobs").name, text, at=START + numbers.stop / 10_000)


def expect_both_ends(texts: list[str], count: int) -> None:
    """Of so many numbered lines and last words: the beginning, the marker with the right number, the end."""
    assert (texts[0], texts[-1]) == (TEXT.format(0), "RuntimeError: the cause")
    (place,) = (place for place, text in enumerate(texts) if "were left out here" in text)
    numbers = [int(text[:9]) for text in texts if text[:9].isdigit()]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + int(texts[place].split()[1]) == count
    assert sum(len(text) + 40 for text in texts) < 1.01 * LOG_BYTES


def test_of_a_pods_long_log_both_ends_are_kept(fake: FakeCluster, launch: Callable[[], Launcher]) -> None:
    write(fake, range(60_000), "RuntimeError: the cause")
    launcher = launch()
    launcher.finish()
    expect_both_ends(launcher.texts, 60_000)


def test_a_log_that_was_long_before_its_pod_ended_is_not_read_until_then_and_its_end_is_kept(
    fake: FakeCluster, launch: Callable[[], Launcher]
) -> None:
    write(fake, range(40_000))
    launcher = launch()
    launcher.follow()
    write(fake, range(40_000, 60_000), "RuntimeError: the cause")
    launcher.finish()
    expect_both_ends(launcher.texts, 60_000)


def test_an_adopter_of_a_long_log_has_its_end_although_the_first_owner_held_that_back(
    fake: FakeCluster, launch: Callable[[], Launcher]
) -> None:
    write(fake, range(50_000))
    first = launch()
    first.follow()
    first.logs.stop()
    stored = [line for line in first.lines if line[1] == "stdout"]
    since, last = int(stored[-1][0]) - 1, stored[-1][0]
    end = StreamEnd(since, sum(line[0] >= since for line in stored), last)
    write(fake, range(50_000, 60_000), "RuntimeError: the cause")
    second = launch()
    written = sum(len(text) + 40 for text in first.texts)
    second.logs.resume(CLAIM, LogPosition(len(first.outgoing.chunks), written, {"stdout": end}))
    second.logs.follow(second.flight)
    second.finish()
    expect_both_ends(first.texts + second.texts, 60_000)


def test_a_bar_in_a_pods_log_is_its_last_state(fake: FakeCluster, launch: Callable[[], Launcher]) -> None:
    write(fake, range(0), "".join(f"\r{n} %" for n in range(101)), "dots...", "windows\r")
    launcher = launch()
    launcher.finish()
    assert launcher.texts == ["100 %", "dots...", "windows"]
