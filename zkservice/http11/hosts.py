"""Hosts (RFC 9110 7.2) in Host fields, request targets and the fields of proxies."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

__all__ = ["NAME", "can_become_host", "is_port", "split_host"]

#: The pattern of one character of a name, which may be percent-encoded.
NAME: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_HOST: Final = re.compile(rf"({NAME}+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]*))?")
#: The beginning of a host before its port.  The groups of an IPv6 address, which has at most 45
#: characters, are checked only when it is complete.
_BEGINNING: Final = re.compile(rf"{NAME}*(?:%[0-9A-Fa-f]?)?|\[[0-9A-Fa-f:.]{{0,45}}")


def split_host(text: str) -> tuple[str, str] | None:
    """The name or address, IPv6 in brackets, and the port, which may be empty.

    None if ``text`` is not a host, or if other parsers could read it as another host.
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


def can_become_host(text: str) -> bool:
    """Whether ``text`` is a host, or the beginning of one."""
    return _BEGINNING.fullmatch(text) is not None or split_host(text) is not None


def is_port(text: str) -> bool:
    """Whether a text is the number of a port."""
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535
