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
        since: when the addresses were registered, in milliseconds since 1970.

    Attributes:
        addresses: the addresses, each once.
        available: whether clients may use the addresses; stored in the data if the format can.
        properties: the properties that were given or set last.
        data: the data of each znode, by its path.
        abandoned: the paths below earlier parents whose znodes are still to be deleted.

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
        repeated = {address for address in addresses if addresses.count(address) > 1}
        if repeated:
            raise AddressError(
                f"{', '.join(sorted(repeated))}: listed twice; list each address once"
            )
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
        self.data = self._encode_znodes(parent)
        self.abandoned: set[str] = set()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the znodes, in the order of the addresses."""
        return tuple(self.data)

    def paths_below(self, parent: str) -> tuple[str, ...]:
        """The paths that the znodes would have below another parent."""
        return tuple(self._encode_znodes(parent))

    def replace_properties(self, properties: Mapping[str, Any]) -> None:
        """Replace all properties.

        Raises:
            TreeValueError: JSON cannot hold a property; nothing has changed.
        """
        self._stored = checked_properties(properties)
        self.properties = dict(properties)
        self.data = self._encode_znodes(self.parent)

    def can_store(self, state: Unavailable | None) -> bool:
        """Whether the format can store this state of the addresses."""
        return state in self._format.states

    def set_available(self, available: bool) -> bool:
        """Set whether clients may use the addresses; returns whether the data changed."""
        self.available = available
        data = self._encode_znodes(self.parent)
        if data == self.data:
            return False
        self.data = data
        return True

    def move(self, parent: str) -> None:
        """Move to another parent; the znodes below the old parent become `abandoned`."""
        self.abandoned.update(self.data)
        self.parent, self.data = parent, self._encode_znodes(parent)
        self.abandoned.difference_update(self.data)

    def _encode_znodes(self, parent: str) -> dict[str, bytes]:
        """The data of each znode, by the path that it has below this parent."""
        announcements = [
            Announcement(
                parent,
                address,
                self._stored,
                self._since,
                tls=address in self._tls,
                available=self.available,
            )
            for address in self.addresses
        ]
        return {
            validate(join(parent, self._format.znode_name(each))): self._format.data(each)
            for each in announcements
        }
