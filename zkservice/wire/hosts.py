"""Connection strings: ``h1:2181,h2:2181/chroot`` (ConnectStringParser.java)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from zkservice.errors import InvalidHostsError
from zkservice.znodes import validate

DEFAULT_PORT: Final = 2181
#: A comma and a server within a chroot: the path was written behind each server.
_ANOTHER_SERVER: Final = re.compile(r",[^/,]+:\d+(/|,|$)")
_EXAMPLE: Final = "'host1:2181,host2:2181'"


class Address(NamedTuple):
    """A server: a name or an IP address without brackets, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Ensemble(NamedTuple):
    """A parsed connection string: the servers, and the chroot ("/" for none)."""

    addresses: tuple[Address, ...]
    chroot: str


def parse_hosts(text: str) -> Ensemble:
    """Read a connection string.

    IPv6 addresses stand in brackets; the port is 2181 unless it is given.

    Raises:
        InvalidHostsError: it names no server, one that is not ``host:port``, or two chroots.
        InvalidPathError: the chroot is invalid.
    """
    if not isinstance(text, str):
        raise InvalidHostsError(None, f"expected text like {_EXAMPLE}, got {text!r}")
    scheme, found, _ = text.strip().partition("://")
    if found and scheme.isalnum():
        raise InvalidHostsError(
            None, f"{text!r}: leave '{scheme}://' out; write it like {_EXAMPLE}"
        )
    servers, slash, rest = text.strip().partition("/")
    if _ANOTHER_SERVER.search(rest):
        raise InvalidHostsError(
            None, f"{text!r}: the chroot stands once, behind the last server: 'h1:1,h2:2/chroot'"
        )
    chroot = validate("/" + rest) if slash else "/"
    addresses = tuple(_parse_address(part.strip()) for part in servers.split(",") if part.strip())
    if not addresses:
        raise InvalidHostsError(None, f"{text!r} names no server; write it like {_EXAMPLE}")
    return Ensemble(addresses, chroot)


def _parse_address(text: str) -> Address:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise InvalidHostsError(None, f"{text!r} is not a server; write IPv6 like '[::1]:2181'")
        port = port[1:]
    elif text.count(":") > 1:
        raise InvalidHostsError(None, f"{text!r} is not a server; write IPv6 like '[::1]:2181'")
    else:
        host, _, port = text.partition(":")
    if not host:
        raise InvalidHostsError(None, f"{text!r} has no host; write a server like 'host:2181'")
    if not host.isprintable() or " " in host:
        raise InvalidHostsError(None, f"{text!r} is not a server: a host's name has no blanks")
    try:
        host.encode("idna")  # as a resolver does, but its error would not name the server
    except UnicodeError:
        raise InvalidHostsError(
            None, f"{text!r} is not a server: the host's name is invalid; is there an extra dot?"
        ) from None
    return Address(host, _parse_port(text, port))


def _parse_port(server: str, text: str) -> int:
    if not text:
        return DEFAULT_PORT
    # The length first: int() refuses a number of thousands of digits in its own way.
    numeric = text.isascii() and text.isdigit() and len(text) <= 5
    if not numeric or not 0 < int(text) < 65536:
        raise InvalidHostsError(None, f"the port of {server!r} is not a number from 1 to 65535")
    return int(text)
