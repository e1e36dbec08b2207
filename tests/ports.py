"""Ports for servers of tests, which are told a number before they listen on it."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_dice = random.SystemRandom()


def free_port() -> int:
    """A port of loopback on which nobody listens, and which no outgoing connection gets: those have a range of their own.

    A client that tries again and again to reach a server that is down would else, now and then, take the server's port itself.
    """
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    choice = [*range(10_000, first), *range(last + 1, 65_536)] or range(10_000, 65_536)
    for port in _dice.sample(choice, min(100, len(choice))):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("of a hundred ports none is free")
