"""What a registered service looks like to other programs, in both directions.

Each format is one module with a `Format`: it writes the name and the data of an announcement's
znode, and reads them back.  A znode's format is recognised by its contents, so services that
are registered in different formats can stand side by side.  Bytes in, values out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from zkservice.errors import FormatError
from zkservice.formats import curator, nerve, properties, serverset, spring
from zkservice.formats.model import Announcement, Format, Member, Znode

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

# The special before the general: Spring's instances are Curator's with a payload of their own.
_READING_ORDER: Final = ("serverset", "spring", "curator", "nerve", "properties")


def read_member(name: str, data: bytes | None, formats: Iterable[str] = FORMATS) -> Member:
    """The service instance that a znode stands for.

    Args:
        name: the znode's name.
        data: its data.
        formats: the names of the formats to expect.

    Raises:
        FormatError: it is in none of these formats, or broken.
    """
    expected, znode = frozenset(formats), Znode(name, data)
    for one in _READING_ORDER:
        member = FORMATS[one].read(znode) if one in expected else None
        if member is not None:
            return member
    known = ", ".join(one for one in FORMATS if one in expected)
    raise FormatError(name, f"it is not a service instance in a known format ({known})")


__all__ = ["FORMATS", "Announcement", "Format", "FormatError", "Member", "read_member"]
