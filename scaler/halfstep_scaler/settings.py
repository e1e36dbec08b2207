"""What the scaler is told when it starts. Read from flags and the environment by the command; passed down from here."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from halfstep.errors import InvalidSettings

EVERYBODY = ("*/*",)
_PATTERN = re.compile(r"[^/\s]+/[^/\s]+")
_NAME = re.compile(r"[a-z0-9.-]+/[a-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. port 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 9443

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Can only this machine reach it?"""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(text: str) -> Address:
    """HOST:PORT, an IPv6 host in brackets. Raises InvalidSettings."""
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidSettings(f"An address to listen on looks like 0.0.0.0:9443 or [::]:9443, not {text!r}.")
    return Address(host, int(port))


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, read anew when they change. client_ca: only clients with a certificate of it are answered (mTLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class ScalerSettings:
    """Times are seconds."""

    database_url: str = field(repr=False)
    listen_url: str | None = field(default=None, repr=False)
    """A direct address for LISTEN where `database_url` goes through a pooler in transaction mode. Default: the same."""
    notify: bool = True
    """Whether to listen for notifications. Without them new work is seen at the next poll."""
    listen: Address = field(default_factory=Address)
    tls: TlsFiles | None = None
    insecure: bool = False
    """Serve without TLS although others than this machine can reach the address."""
    allow: Sequence[str] | None = None
    """Which ScaledObjects may ask, as NAMESPACE/NAME with * and ?. Default: all on a loopback address, else it has to be said."""
    max_age: float = 30.0
    """How old the demand may be that is told. When the database is away for longer, calls fail with UNAVAILABLE."""
    poll_seconds: float = 1.0
    """How often demand is read while nothing is active; twice as often while something is. Never over a fifth of the time."""
    query_seconds: float = 5.0
    """A reading of the demand that takes longer is given up, also when the server is silent."""
    refresh_seconds: float = 60.0
    """How often a stream repeats that a ScaledObject is active. Each repetition costs KEDA a write."""
    stream_seconds: float = 240.0
    """How long a stream stays open: so long, or up to twice that while its ScaledObject is inactive. KEDA opens a new one."""
    stop_seconds: float = 5.0
    """How long calls in flight may take to end after a signal."""
    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    metrics: str | None = None
    """HOST:PORT of /metrics, /healthz and /readyz. Default: none."""
    exporter: bool = True
    """Whether this process stands for election as the exporter of the queue's metrics, if it serves metrics at all."""

    direct_scale: Sequence[str] = ()
    """ScaledObjects, as NAMESPACE/NAME, whose Deployments get more replicas as soon as they are wanted."""
    busy_aware: Sequence[str] = ()
    """ScaledObjects whose Deployments lose only replicas that hold no task."""
    kubeconfig: str | None = None
    """How to reach the API server for these two. Default: with the service account of the pod."""

    @property
    def allowed(self) -> Sequence[str]:
        """The allow list in force."""
        return EVERYBODY if self.allow is None else self.allow

    def check(self) -> None:
        """Raises InvalidSettings for what would be unsafe or can't work."""
        if self.tls is None and not self.insecure and not self.listen.is_loopback:
            raise InvalidSettings(
                f"Others can reach {self.listen}: give --tls-cert and --tls-key, or say --insecure to serve without TLS."
            )
        if self.allow is None and not self.listen.is_loopback:
            raise InvalidSettings(
                f"Others can reach {self.listen}: say which ScaledObjects may ask, as --allow NAMESPACE/NAME (all: '*/*')."
            )
        for pattern in self.allowed:
            if not _PATTERN.fullmatch(pattern):
                raise InvalidSettings(f"An entry of the allow list looks like NAMESPACE/NAME or team-*/*, not {pattern!r}.")
        for name in (*self.direct_scale, *self.busy_aware):
            if not _NAME.fullmatch(name):
                raise InvalidSettings(f"A ScaledObject to be scaled directly is named NAMESPACE/NAME, without *, not {name!r}.")
        self._check_times()

    def _check_times(self) -> None:
        for name in ("max_age", "poll_seconds", "query_seconds", "refresh_seconds", "stream_seconds"):
            if not getattr(self, name) > 0:
                raise InvalidSettings(f"{name} must be over 0 seconds.")
        if self.max_age <= self.poll_seconds:
            raise InvalidSettings(
                f"Demand is read every {self.poll_seconds:g} s: a maximal age of {self.max_age:g} s is too short."
            )
