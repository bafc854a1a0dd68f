"""Hosts (RFC 9110 7.2): whom a request is for, in Host fields, targets and a proxy's words."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

__all__ = ["is_port", "split_host"]

_HOST: Final = re.compile(
    r"((?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]*))?"
)


def split_host(text: str) -> tuple[str, str] | None:
    """The name or address, IPv6 in brackets, and the port, which may be empty.

    None if ``text`` is no host, or one that some readers would take for another.
    """
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    name, address, port = match.groups("")
    if address:
        try:
            IPv6Address(address)
        except ValueError:
            return None
    return (name, port) if not port or is_port(port) else None


def is_port(text: str) -> bool:
    """Whether a text is the number of a port."""
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535
