"""Addresses of servers as text: ``host:port``, with IPv6 in brackets."""

from __future__ import annotations

from zkservice.errors import AddressError


def parse_address(text: str) -> tuple[str, int]:
    """Split ``host:port``; the host may be empty, IPv6 addresses are in brackets.

    Raises:
        AddressError: the text is not ``host:port``.
    """
    host, colon, port = text.rpartition(":")
    if not colon or "/" in host or not _is_port(port):
        raise AddressError(f"{text!r} is not an address; expected HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"{text!r} is not an address; write IPv6 in brackets, like [::1]:{port}")
    return host, int(port)


def format_address(host: str, port: int) -> str:
    """``host:port``, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_port(text: str) -> bool:
    # The length first: int() raises a ValueError for a number of thousands of digits.
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535
