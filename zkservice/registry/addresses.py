"""The addresses that a server is known by: what it listens on, as others must write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zkservice.formats.addresses import format_address
from zkservice.registry.interfaces import interface_addresses

#: Answers the IPv4 addresses of this machine's interfaces.
Interfaces = Callable[[], Iterable[str]]

_EVERYWHERE = frozenset(["", "0.0.0.0", "::"])


def advertised_addresses(
    host: str, port: int, interfaces: Interfaces | None = None
) -> tuple[str, ...]:
    """What to register for a server that listens on a host and port.

    A host is taken as it is written.  A blank one (or the wildcard of IPv4 or IPv6) is
    every IPv4 address of this machine that is no loopback address, or the loopback
    address if there is no other.
    """
    if host not in _EVERYWHERE:
        return (format_address(host, port),)
    found = sorted(set((interfaces or interface_addresses)()))
    outside = [address for address in found if not address.startswith("127.")]
    return tuple(format_address(address, port) for address in outside or ["127.0.0.1"])
