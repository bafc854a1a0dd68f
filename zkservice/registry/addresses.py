"""The addresses that a server is known by: what it listens on, as others must write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zkservice.errors import AddressError
from zkservice.registry.interfaces import interface_addresses

#: Answers the IPv4 addresses of this machine's interfaces.
Interfaces = Callable[[], Iterable[str]]

_EVERYWHERE = frozenset(["", "0.0.0.0", "::"])


def parse_address(text: str) -> tuple[str, int]:
    """Split ``host:port``; the host may be empty, and IPv6 stands in brackets.

    Raises:
        AddressError: it is no ``host:port``.
    """
    host, colon, port = text.rpartition(":")
    if not colon or "/" in host or not _is_port(port):
        raise AddressError(f"{text!r} is no address; write HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"{text!r} is no address; write IPv6 in brackets, like [::1]:{port}")
    return host, int(port)


def _is_port(text: str) -> bool:
    # The length first: int() refuses a number of thousands of digits in its own way.
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535


def format_address(host: str, port: int) -> str:
    """``host:port``, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
