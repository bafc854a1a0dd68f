"""The model of all formats: announcements, members, and the description of a format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from math import isfinite
from typing import Any, Final

from zkservice.errors import AddressError, FormatError, TreeValueError
from zkservice.formats.addresses import format_address, parse_address
from zkservice.properties import decode

#: Characters of a host name; DNS allows 253.
MAX_HOST: Final = 255


class Unavailable(Enum):
    """Why a registered address is not to be used."""

    OUT = "out of service"  #: for now
    STOPPING = "about to stop"  #: for good


@dataclass(frozen=True)
class Announcement:
    """One address to register.

    Attributes:
        service: the path under which it is registered.
        address: ``host:port``.
        properties: the properties to store.
        registered_at: milliseconds since 1970.
        tls: whether the address speaks TLS.
        available: whether clients may use it; only formats with a state can store False.
    """

    service: str
    address: str
    properties: Mapping[str, Any]
    registered_at: int
    tls: bool = False
    available: bool = True

    @property
    def host(self) -> str:
        """The host, without brackets."""
        return parse_address(self.address)[0]

    @property
    def port(self) -> int:
        """The port's number."""
        return parse_address(self.address)[1]


@dataclass(frozen=True)
class Member:
    """One registered instance of a service.

    Attributes:
        format: the name of the format that it is in.
        host: a name, or an IP address without brackets.
        port: from 1 to 65535.
        properties: everything else that the format stores.
        tls: whether the format says that the address speaks TLS.
        available: whether clients may use it.
    """

    format: str
    host: str
    port: int
    properties: Mapping[str, Any] = field(default_factory=dict)
    tls: bool = False
    available: bool = True

    @property
    def address(self) -> str:
        """``host:port``, with brackets around IPv6."""
        return format_address(self.host, self.port)

    @property
    def weight(self) -> float:
        """The property ``weight``, a number or text; 1.0 if it is missing or invalid."""
        given = self.properties.get("weight", 1.0)
        try:
            weight = 1.0 if isinstance(given, bool) else float(given)
        except (TypeError, ValueError, OverflowError):
            return 1.0
        return weight if isfinite(weight) and weight >= 0 else 1.0


class Znode:
    """A child of a service's znode: its name and its data, parsed once for all formats."""

    def __init__(self, name: str, data: bytes | None) -> None:
        self.name = name
        self.data = data or b""

    @cached_property
    def properties(self) -> dict[str, Any]:
        """The data, decoded as properties."""
        return decode(self.data)

    @cached_property
    def address(self) -> tuple[str, int] | None:
        """Host and port, if the name is an address."""
        try:
            return parse_address(self.name)
        except AddressError:
            return None

    def host_of(self, value: object) -> str:
        """A host from the data or the name, checked.

        Raises:
            FormatError: it is not a valid host.
        """
        if not isinstance(value, str):
            raise FormatError(self.name, f"the host must be a string, got {_shown(value)}")
        host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        if not 0 < len(host) <= MAX_HOST or not host.isprintable() or set(host) & set(" /[]@"):
            raise FormatError(self.name, f"{_shown(value)} is not a host")
        return host

    def port_of(self, value: object) -> int:
        """A port from the data or the name, checked.

        Raises:
            FormatError: it is not a number from 1 to 65535.
        """
        if type(value) is not int or not 0 < value < 65536:
            raise FormatError(
                self.name, f"the port must be a number from 1 to 65535, got {_shown(value)}"
            )
        return value


@dataclass(frozen=True)
class Format:
    """How one family of programs registers service instances.

    Attributes:
        name: the value of ``--format``.
        znode_name: returns the name of an announcement's znode.  It depends on the service and
            the address only, so a registration finds its own znode again.
        data: returns the znode's data.
        read: parses a znode; returns None if it is not in this format, and raises
            `FormatError` if its contents are invalid.
        states: the states that its znodes can store for an unavailable address.  In any other
            state the znode is deleted.
    """

    name: str
    znode_name: Callable[[Announcement], str]
    data: Callable[[Announcement], bytes]
    read: Callable[[Znode], Member | None]
    states: frozenset[Unavailable] = frozenset()


def compact_json(value: object) -> bytes:
    """JSON in one line without blanks, members in the order given, as Gson and Jackson write it.

    Raises:
        TreeValueError: JSON cannot represent the value.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TreeValueError(f"not storable as JSON: {error}") from None


def text_values(properties: Mapping[str, Any]) -> dict[str, str]:
    """Properties for readers that accept strings only: other values become JSON."""
    return {
        name: value if isinstance(value, str) else compact_json(value).decode()
        for name, value in properties.items()
    }


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
