"""The addresses to register for a server, from the address that it listens on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import AF_INET, AF_INET6, AddressFamily
from typing import Any

from zkservice.formats.addresses import format_address
from zkservice.registry.interfaces import interface_addresses

#: Returns the addresses of one family that this machine's interfaces have.
Interfaces = Callable[[AddressFamily], Iterable[str]]


def advertised_addresses(
    host: str, port: int, interfaces: Interfaces | None = None, *, dual_stack: bool = True
) -> tuple[str, ...]:
    """The addresses to register for a server that listens on a host and port.

    A host is used as it is written.  A blank host and the IPv4 wildcard stand for every IPv4
    address of this machine that others can reach.  The IPv6 wildcard stands for every such
    IPv6 and IPv4 address.  If there is no such address, the loopback address is registered.

    Args:
        host: a name or an address; IPv6 without brackets.
        port: the port's number.
        interfaces: returns the machine's addresses; None reads them from the system.
        dual_stack: whether the IPv6 wildcard accepts IPv4 as well; see `is_dual_stack`.
    """
    family = _wildcard(host)
    if family is None:
        return (format_address(host, port),)
    read_interfaces = interfaces or interface_addresses
    families = [AF_INET6, AF_INET] if family is AF_INET6 and dual_stack else [family]
    reachable = [address for each in families for address in _reachable(read_interfaces(each))]
    loopback = "::1" if family is AF_INET6 else "127.0.0.1"
    return tuple(format_address(address, port) for address in reachable or [loopback])


def is_dual_stack(port: object) -> bool:
    """Whether an open port on the IPv6 wildcard accepts IPv4 connections as well.

    This depends on the system (``net.ipv6.bindv6only`` on Linux) and on the socket's options.  It
    is False for a port that is not an IPv6 socket.
    """
    listening: Any = getattr(port, "socket", None)
    try:
        return bool(listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0)
    except (AttributeError, OSError):  # not a socket, or an IPv4 socket
        return False


def _wildcard(host: str) -> AddressFamily | None:
    """The family of a wildcard address; None for any other host."""
    try:
        address = ip_address(host or "0.0.0.0")
    except ValueError:
        return None
    if not address.is_unspecified:
        return None
    return AF_INET6 if address.version == 6 else AF_INET


def _reachable(addresses: Iterable[str]) -> list[str]:
    """The addresses that other machines can use.

    Loopback addresses are left out, and so are link-local ones, which need an interface's name.
    """
    parsed = {text: ip_address(text) for text in addresses}
    return sorted(
        text for text, one in parsed.items() if not one.is_loopback and not _is_link_local(one)
    )


def _is_link_local(address: IPv4Address | IPv6Address) -> bool:
    return address.version == 6 and address.is_link_local
