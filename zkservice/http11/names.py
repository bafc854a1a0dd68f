"""Header names as a WSGI application sees them."""

from __future__ import annotations

from typing import Final

__all__ = ["EnvironNames"]

#: Remembered spellings; an attacker's inventions must not grow the memory.
_MAX_NAMES: Final = 1024


class EnvironNames(dict[bytes, "str | None"]):
    """Maps a field name as it was sent to its key in a WSGI environ.

    None marks names that are dropped: those with an underscore, which would be taken for
    their neighbour with a dash, and ``Proxy``, which would be taken for a setting of the
    process (CVE-2016-1000111).
    """

    def __missing__(self, name: bytes) -> str | None:
        key = _environ_key(name)
        if len(self) < _MAX_NAMES:
            self[name] = key
        return key


def _environ_key(name: bytes) -> str | None:
    upper = name.decode("latin-1").upper()
    if "_" in upper or upper == "PROXY":
        return None
    key = upper.replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
