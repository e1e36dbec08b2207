"""Which addresses the `http` operator may call. A task's author must not reach the credentials of the machine it runs on."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
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
# Alibaba, Azure, Oracle (older), AWS on IPv6, Google on IPv6.
REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("169.254.0.0/16", "fe80::/10", "0.0.0.0/8", "::/128", "224.0.0.0/4", "ff00::/8", "240.0.0.0/4"),
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


class Gate:
    """Resolves a name once and gives the addresses that may be called, for the caller to connect to these and no others."""

    def __init__(self, allow: Iterable[str] = (), *, resolve: Resolve | None = None) -> None:
        self._names, self._networks = _exemptions(allow)
        self._resolve = resolve or resolve_by_system

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of `host`. InvalidTask: one of them is refused. OperatorFailed: the name has none."""
        name = host.lower().rstrip(".")
        exempt = name in self._names
        if name in METADATA_NAMES and not exempt:
            raise _refusal(host)
        found = self._resolve(host, port)
        if not found:
            raise OperatorFailed(f"Host '{host}' has no address.")
        for text in found:
            if not exempt and self._refuses(ipaddress.ip_address(text)):
                raise _refusal(host)
        return found

    def _refuses(self, address: Address) -> bool:
        if any(address in network for network in self._networks):
            return False
        return any(form in network for form in forms(address) for network in REFUSED)


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
    if plain in _NAT64 or (plain in _COMPATIBLE and int(plain) > 0xFFFF):
        yield IPv4Address(int(plain) & 0xFFFFFFFF)


def resolve_by_system(host: str, port: int) -> list[str]:
    """All addresses of a name, in the system's order. OperatorFailed: it has none; a later attempt may find it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise OperatorFailed(f"Host '{host}' could not be found.") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _refusal(host: str) -> InvalidTask:
    return InvalidTask(
        f"Host '{host}' is refused: it is link-local, a cloud's metadata service or no single machine; "
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
