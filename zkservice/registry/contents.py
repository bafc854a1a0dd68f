"""The znodes of a registration: what they are called and hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from zkservice.errors import AddressError, FormatError
from zkservice.formats import FORMATS, Announcement
from zkservice.properties import checked_properties
from zkservice.wire.paths import join, validate


class Contents:
    """Writes the announcements of some addresses.

    Args:
        addresses: ``host:port``, each once.
        format: a name in `FORMATS`.
        tls: those of the addresses that speak TLS.
        since: milliseconds since 1970; when the addresses were registered.

    Raises:
        AddressError: an address is there twice.
        FormatError: there is no such format.
    """

    def __init__(self, addresses: Sequence[str], format: str, tls: Set[str], since: int) -> None:
        twice = {address for address in addresses if addresses.count(address) > 1}
        if twice:
            raise AddressError(f"{', '.join(sorted(twice))}: listed twice; list each address once")
        if format not in FORMATS:
            raise FormatError(format, f"unknown format; expected one of {', '.join(FORMATS)}")
        self._format = FORMATS[format]
        self._addresses = addresses
        self._tls = tls
        self._since = since

    def of(self, parent: str, properties: Mapping[str, Any]) -> dict[str, bytes]:
        """The data of each znode, by its path.

        Args:
            parent: the znode below which they are.
            properties: stored with each of the addresses.

        Raises:
            TreeValueError: JSON cannot hold a property.
            InvalidPathError: an address cannot be the name of a znode.
        """
        checked = checked_properties(properties)
        announcements = [
            Announcement(parent, address, checked, self._since, tls=address in self._tls)
            for address in self._addresses
        ]
        return {
            validate(join(parent, self._format.znode_name(one))): self._format.data(one)
            for one in announcements
        }
