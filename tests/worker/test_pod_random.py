"""Random pods and events, before a launcher's step: it never raises, whatever they are."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfstep.claims import Claim
from halfstep_worker.desk import Incoming
from halfstep_worker.kubernetes.flight import Flight
from halfstep_worker.kubernetes.flights import Flights
from halfstep_worker.kubernetes.inbox import Answer
from halfstep_worker.kubernetes.timeline import trim
from halfstep_worker.kubernetes.timers import Timers
from halfstep_worker.kubernetes.values import Listed, PodGone, PodSeen
from random_pods import bent_pod, odd

CLAIM = Claim(
    7, "token-1", "default", "pod", "{}", 1, 0, 3, None, 1.0, 60.0, False, False, "0b3d1f0e-8f57-4d0e-9b43-0c6a3a8b7c11"
)  # fmt: skip
ATTEMPTS = [f"0b3d1f0e-8f57-4d0e-9b43-{number:012x}" for number in range(20)]


class Nobody:
    """Takes any call, and does nothing."""

    open = 0

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def claim_of(number: int) -> Claim:
    return CLAIM._replace(id=number, attempt_id=ATTEMPTS[number])


@pytest.fixture(scope="module")
def flights() -> Flights:
    """Twenty pods that are being made or watched."""

    def plan(claim: Claim) -> Flight:
        return Flight(claim, "tasks", manifest=({"metadata": {}}, None), startup_timeout=60.0)

    nobody: Any = Nobody()
    made = Flights("", installation="i", api=nobody, calls=nobody, timers=Timers(), planner=plan, logs=nobody)
    made.hear(Incoming(claims=[claim_of(number) for number in range(20)]), 1000.0)
    made.hear(Incoming(intended=ATTEMPTS), 1000.0)
    return made


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_a_launchers_step_takes_any_pod_and_any_answer(flights: Flights, seed: int) -> None:
    luck = random.Random(seed)
    now = 1000.0 + luck.random() * 1000
    pod: Any = trim(bent_pod(luck, installation="i", attempts=ATTEMPTS))
    event = luck.choice(
        [PodSeen("", "tasks", pod), PodGone("", "tasks", pod), Listed("", "tasks", frozenset({str(odd(luck))}), now)]
    )
    flights.watched(event, now)
    call = luck.choice(["create", "look", "delete", "clean", "furnish", "garbage", "probe", "?"])
    flights.answered(Answer(luck.choice(["", *ATTEMPTS]), call, luck.choice([odd(luck), pod, ValueError("x"), OSError()])), now)
    flights.heard(luck.choice(ATTEMPTS), luck.choice(["create", "timeout", "startup", "judge", "delete", "clean", "?"]), now)
    flights.write_facts(now)
    flights.take_outgoing()
