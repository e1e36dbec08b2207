"""How often a server that keeps dying is started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from halfstep.errors import DatabaseUnavailable, HalfstepError
from halfstep_cli.revival import Revival
from halfstep_cli.station import Station

URL = "postgresql://here"


class Server:
    """Dead, and comes back as often as it is told to start; or never."""

    def __init__(self, *, url: str = URL, broken: bool = False) -> None:
        self.url = url
        self.broken = broken
        self.starts = 0

    def revive(self) -> bool:
        self.starts += 1
        if self.broken:
            raise DatabaseUnavailable("No.")
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def revival(server: Any) -> tuple[Revival, Clock]:
    clock = Clock()
    return Revival(Station(Path("/nowhere"), URL, server), clock=clock), clock


def tries(asked: Revival, clock: Clock, server: Server, *, until: float) -> list[float]:
    """When it tried, asked every half second."""
    moments = []
    while clock.now < until:
        before = server.starts
        try:
            asked.attempt()
        except DatabaseUnavailable:
            assert server.broken
        if server.starts > before:
            moments.append(clock.now)
        clock.now += 0.5
    return moments


@pytest.mark.parametrize("broken", [True, False])
def test_the_first_try_is_at_once_and_more_and_more_time_passes_between_the_next(broken: bool) -> None:
    server = Server(broken=broken)
    assert tries(*revival(server), server, until=95) == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0]


def test_after_a_long_quiet_it_begins_anew() -> None:
    server = Server()
    asked, clock = revival(server)
    tries(asked, clock, server, until=40)
    clock.now = 200.0
    assert tries(asked, clock, server, until=204) == [200.0, 201.0, 203.0]


def test_a_server_at_another_address_is_of_no_use() -> None:
    asked, _ = revival(Server(url="postgresql://there"))
    with pytest.raises(HalfstepError, match="port"):
        asked.attempt()


def test_a_database_that_was_given_is_left_to_its_owner() -> None:
    asked, _ = revival(None)
    assert asked.attempt() is False
