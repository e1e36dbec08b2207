"""Which addresses the `http` operator may call. A task's author must not reach the credentials of the machine it runs on."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from halfstep.errors import InvalidSettings, InvalidTask
from halfstep_worker.operators.base import OperatorFailed

Address = IPv4Address | IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], list[str]]

METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
# Link-local, "this host", multicast, reserved and broadcast; then the metadata services that lie elsewhere:
# Alibaba, Azure, Oracle (older), AWS and its pod identity on IPv6, Scaleway on IPv6, Google on IPv6.
REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("169.254.0.0/16", "fe80::/10", "0.0.0.0/8", "::/128", "224.0.0.0/4", "ff00::/8", "240.0.0.0/4"),
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32", "fd00:42::42/128", "fd20:ce::254/128"),
    )
)
# NAT64, its local prefix, and IPv4-translated addresses of SIIT.
_WRAPS = tuple(ipaddress.ip_network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96"))
_ISATAP = (0x00005EFE, 0x02005EFE)
_COMPATIBLE = ipaddress.ip_network("::/96")


class Gate:
    """Resolves a name once and gives the addresses that may be called, for the caller to connect to these and no others."""

    def __init__(self, allow: Iterable[str] = (), *, resolve: Resolve | None = None) -> None:
        self._names, self._networks = _exemptions(allow)
        self._resolve = resolve or resolve_by_system

    def addresses(self, host: str, port: int, *, title: str = "", seconds: float = 30.0) -> list[str]:
        """The addresses of `host`, which is called `title` in sentences.

        InvalidTask: one of them is refused. OperatorFailed: the name has none, or none was told within `seconds`.
        """
        title = title or f"Host '{host}'"
        name = host.lower().rstrip(".")
        exempt = name in self._names
        if name in METADATA_NAMES and not exempt:
            raise _refusal(title)
        ask = partial(self._resolve, host, port)
        found = ask() if is_address(host) else _within(seconds, ask, title)
        if not found:
            raise OperatorFailed(f"{title} could not be found.")
        for text in found:
            if not exempt and self._refuses(ipaddress.ip_address(text)):
                raise _refusal(title)
        return found

    def _refuses(self, address: Address) -> bool:
        if any(address in network for network in self._networks):
            return False
        return any(form in network for form in forms(address) for network in REFUSED)


def is_address(host: str) -> bool:
    """Whether the host is an address, for which nobody is asked."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def forms(address: Address) -> Iterator[Address]:
    """The address, without its scope, and the IPv4 addresses that an IPv6 address may stand for."""
    if isinstance(address, IPv4Address):
        yield address
        return
    plain = IPv6Address(int(address))
    yield plain
    if plain.ipv4_mapped:
        yield plain.ipv4_mapped
    if plain.sixtofour:
        yield plain.sixtofour
    if plain.teredo:
        yield from plain.teredo
    wraps = any(plain in network for network in _WRAPS) or (int(plain) >> 32) & 0xFFFFFFFF in _ISATAP
    if wraps or (plain in _COMPATIBLE and int(plain) > 0xFFFF):
        yield IPv4Address(int(plain) & 0xFFFFFFFF)


def resolve_by_system(host: str, port: int) -> list[str]:
    """All addresses of a name, in the system's order; none where it has none now: a later attempt may find it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _within(seconds: float, ask: Callable[[], list[str]], title: str) -> list[str]:
    """In a thread, as nothing else can leave the system's resolver before it gives up; the process is not used again then."""
    found: list[list[str]] = []
    asking = threading.Thread(target=lambda: found.append(ask()), name="resolver", daemon=True)
    asking.start()
    asking.join(seconds)
    if asking.is_alive():
        raise OperatorFailed(f"{title} could not be found within the timeout.")
    return found[0] if found else []


def _refusal(title: str) -> InvalidTask:
    return InvalidTask(
        f"{title} is refused: it is link-local, a cloud's metadata service or no single machine; "
        "if it is meant, add it to the worker's http_allow."
    )


def _exemptions(allow: Iterable[str]) -> tuple[frozenset[str], tuple[Network, ...]]:
    names, networks = set(), []
    for entry in allow:
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            if "/" in entry:
                raise InvalidSettings(f"http_allow: '{entry}' is neither a host nor a network such as 10.0.0.0/8.") from None
            names.add(entry.lower().rstrip("."))
    return frozenset(names), tuple(networks)
