"""The formats of registered services, written for other programs and read from them.

Each format is a module with a `Format`: it makes the name and the data of an announcement's
znode, and parses them.  A znode's format is recognised by its contents, so instances in
different formats can be registered below one path.  This package does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from zkservice.errors import FormatError
from zkservice.formats import curator, nerve, properties, serverset, spring
from zkservice.formats.model import Announcement, Format, Member, Unavailable, Znode

#: All formats by name, the default first.
FORMATS: Final[Mapping[str, Format]] = {
    one.name: one
    for one in (
        properties.FORMAT,
        serverset.FORMAT,
        curator.FORMAT,
        spring.FORMAT,
        nerve.FORMAT,
    )
}

# Special formats come first: a Spring instance is a Curator instance with a special payload.
_READING_ORDER: Final = ("serverset", "spring", "curator", "nerve", "properties")


def read_member(name: str, data: bytes | None, formats: Iterable[str] = FORMATS) -> Member:
    """Parse a znode as a service instance.

    Args:
        name: the znode's name.
        data: its data.
        formats: the names of the formats to expect.

    Raises:
        FormatError: it is in none of these formats, or its contents are invalid.
    """
    expected, znode = frozenset(formats), Znode(name, data)
    for one in _READING_ORDER:
        member = FORMATS[one].read(znode) if one in expected else None
        if member is not None:
            return member
    known = ", ".join(one for one in FORMATS if one in expected)
    raise FormatError(name, f"it is not a service instance in a known format ({known})")


__all__ = [
    "FORMATS",
    "Announcement",
    "Format",
    "FormatError",
    "Member",
    "Unavailable",
    "read_member",
]
