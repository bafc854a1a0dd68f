"""The znodes of a registration: their paths and their data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from zkservice.errors import AddressError, FormatError
from zkservice.formats import FORMATS, Announcement, Unavailable
from zkservice.properties import checked_properties
from zkservice.znodes import join, validate


class Contents:
    """The wanted znodes of some addresses.

    Args:
        parent: the parent of the znodes.
        addresses: ``host:port``, each once.
        properties: stored with each of the addresses.
        format: a name in `FORMATS`.
        tls: those of the addresses that speak TLS.
        since: milliseconds since 1970; when the addresses were registered.

    Attributes:
        addresses: the addresses, each once.
        available: whether the data mark the addresses as usable, if the format can do that.
        properties: the properties that were given or set last.
        data: the data of each znode, by its path.
        left: paths below earlier parents; their znodes are still to be deleted.

    Raises:
        AddressError: an address is listed twice.
        FormatError: the format is unknown.
        TreeValueError: JSON cannot hold a property.
        InvalidPathError: an address cannot be the name of a znode.
    """

    def __init__(
        self,
        parent: str,
        addresses: Sequence[str],
        properties: Mapping[str, Any],
        *,
        format: str,
        tls: Set[str],
        since: int,
    ) -> None:
        twice = {address for address in addresses if addresses.count(address) > 1}
        if twice:
            raise AddressError(f"{', '.join(sorted(twice))}: listed twice; list each address once")
        if format not in FORMATS:
            raise FormatError(format, f"unknown format; expected one of {', '.join(FORMATS)}")
        self.parent = parent
        self.addresses = tuple(addresses)
        self._format = FORMATS[format]
        self._tls = tls
        self._since = since
        self.available = True
        self.properties = dict(properties)
        self._stored = checked_properties(properties)
        self.data = self._written(parent)
        self.left: set[str] = set()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the znodes, in the order of the addresses."""
        return tuple(self.data)

    def paths_below(self, parent: str) -> tuple[str, ...]:
        """The paths that the znodes would have below another parent."""
        return tuple(self._written(parent))

    def replace_properties(self, properties: Mapping[str, Any]) -> None:
        """Replace all properties.

        Raises:
            TreeValueError: JSON cannot hold a property; nothing has changed.
        """
        self._stored = checked_properties(properties)
        self.properties = dict(properties)
        self.data = self._written(self.parent)

    def can_say(self, state: Unavailable | None) -> bool:
        """Whether the format can store this state of the addresses."""
        return state in self._format.states

    def announce(self, available: bool) -> bool:
        """Set whether clients may use the addresses; returns whether the data changed."""
        self.available = available
        data = self._written(self.parent)
        if data == self.data:
            return False
        self.data = data
        return True

    def move(self, parent: str) -> None:
        """Move to another parent; the znodes below the old parent are to be deleted."""
        self.left.update(self.data)
        self.parent, self.data = parent, self._written(parent)
        self.left.difference_update(self.data)

    def _written(self, parent: str) -> dict[str, bytes]:
        announcements = [
            Announcement(
                *(parent, address, self._stored, self._since),
                tls=address in self._tls,
                available=self.available,
            )
            for address in self.addresses
        ]
        return {
            validate(join(parent, self._format.znode_name(one))): self._format.data(one)
            for one in announcements
        }
