"""Names of header fields, as keys of a WSGI environ."""

from __future__ import annotations

from typing import Final

__all__ = ["EnvironNames"]

#: Spellings that are cached; bounded, because clients can send any number of different ones.
_MAX_NAMES: Final = 1024


class EnvironNames(dict[bytes, "str | None"]):
    """Maps a field name as it was sent to its key in a WSGI environ.

    None marks fields that are dropped.  A name with an underscore would get the same key as the
    name with a dash.  ``Proxy`` would look like the environment variable HTTP_PROXY
    (CVE-2016-1000111).
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
