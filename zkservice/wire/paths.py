"""Paths of znodes: what is one, and the chroot that a client puts before it.

Source of the rules: PathUtils.java.
"""

from __future__ import annotations

import re
from typing import Final

from zkservice.errors import InvalidPathError

# PathUtils.validatePath: control characters, surrogates (and with them every
# character outside the Basic Multilingual Plane), the private use area, specials.
_FORBIDDEN: Final = re.compile(
    "[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]"
)


def validate(path: str, *, sequence: bool = False) -> str:
    """Answer the path, which is one that ZooKeeper accepts.

    Args:
        path: absolute, without a slash at its end unless it is the root.
        sequence: the server will append a number, so ``/queue/`` is fine.

    Raises:
        InvalidPathError: with what is wrong.
    """
    if not isinstance(path, str):
        raise InvalidPathError(path, "it is no string")
    whole = path + "0" if sequence else path
    if whole == "/":
        return path
    if not whole.startswith("/"):
        raise InvalidPathError(path, "it does not start with a slash")
    if whole.endswith("/"):
        raise InvalidPathError(path, "it ends with a slash")
    forbidden = _FORBIDDEN.search(whole)
    if forbidden is not None:
        code = ord(forbidden.group())
        raise InvalidPathError(path, f"U+{code:04X} at {forbidden.start()} is not allowed")
    if "//" in whole:
        raise InvalidPathError(path, "it has two slashes in a row")
    if "/." in whole and not {".", ".."}.isdisjoint(whole.split("/")):
        raise InvalidPathError(path, "'.' and '..' are not names of znodes")
    return path


def parent(path: str) -> str:
    """The path of the parent; the root is its own."""
    return path[: path.rindex("/")] or "/"


def join(base: str, name: str) -> str:
    """The path of a child."""
    return f"/{name}" if base == "/" else f"{base}/{name}"


class Chroot:
    """A path that a client puts before every path it sends and takes off what comes back."""

    def __init__(self, prefix: str = "/") -> None:
        self.prefix = "" if prefix in ("", "/") else validate(prefix)

    def add(self, path: str, *, sequence: bool = False) -> str:
        """The server's path for a client's path.

        With ``sequence`` the server appends a number, so the root keeps its slash: the
        node is to be a child of the chroot, not its neighbour.
        """
        if not self.prefix:
            return path
        return self.prefix if path == "/" and not sequence else self.prefix + path

    def strip(self, path: str) -> str:
        """The client's path for a server's path; a path outside is answered as it is."""
        if not self.prefix or not path.startswith(self.prefix):
            return path
        rest = path[len(self.prefix) :]
        if not rest:
            return "/"
        return rest if rest.startswith("/") else path
