"""Paths of znodes and ids of sessions, as text.

Source of the rules: PathUtils.java.  Nothing here talks to a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from zkservice.errors import InvalidPathError

__all__ = [
    "EarlierSessions",
    "ancestors",
    "join",
    "name_problem",
    "normalize",
    "parent",
    "session_name",
    "split",
    "validate",
]

# PathUtils.validatePath: control characters, surrogates (and with them every
# character outside the Basic Multilingual Plane), the private use area, specials.
_FORBIDDEN: Final = re.compile(
    "[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]"
)


def validate(path: str, *, sequence: bool = False) -> str:
    """Return the path if ZooKeeper accepts it.

    Args:
        path: absolute, without a slash at its end unless it is the root.
        sequence: the server will append a number, so ``/queue/`` is valid.

    Raises:
        InvalidPathError: with what is wrong.
    """
    if not isinstance(path, str):
        raise InvalidPathError(path, f"expected a string, got {type(path).__name__}")
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


def name_problem(name: str) -> str | None:
    """Why ZooKeeper would refuse a node of this name; None if it accepts it."""
    if not name:
        return "a node's name cannot be empty"
    if name in (".", ".."):
        return f"{name!r} cannot be a node's name"
    if "/" in name:
        return "a node's name cannot contain '/'"
    forbidden = _FORBIDDEN.search(name)
    if forbidden is not None:
        return f"ZooKeeper does not allow U+{ord(forbidden.group()):04X} in a node's name"
    return None


def join(base: str, name: str) -> str:
    """The path of a child."""
    return f"/{name}" if base == "/" else f"{base}/{name}"


def split(path: str) -> tuple[str, str]:
    """The parent's path and the name; ``("/", "")`` for the root."""
    head, _, name = path.rpartition("/")
    return head or "/", name


def parent(path: str) -> str:
    """The path of the parent; the root is its own parent."""
    return path[: path.rindex("/")] or "/"


def ancestors(path: str) -> Iterator[str]:
    """The path itself and all above it, the root last.

    The path need not be valid: a server may send any string.  Then the root may be all.
    """
    while path not in ("", "/"):
        yield path
        path = path[: max(path.rfind("/"), 0)]
    yield "/"


def normalize(path: str, base: str = "/") -> str:
    """The absolute path without ``.``, ``..``, doubled slashes or one at the end.

    ``..`` is resolved as text: in ``/a/link/..`` it leads back to ``/a``, wherever
    ``link`` may point.

    Args:
        path: absolute, or relative to ``base``.
        base: an absolute path; where a relative one starts.

    Raises:
        InvalidPathError: the path is empty, leaves the tree through its root, or
            has an invalid name in it.
    """
    if not path:
        raise InvalidPathError(path, "it is empty")
    names: list[str] = []
    whole = path if path.startswith("/") else f"{base}/{path}"
    for name in whole.split("/"):
        if name == "..":
            if not names:
                raise InvalidPathError(path, f"it leads out of the tree (seen from {base})")
            names.pop()
        elif name not in ("", "."):
            problem = name_problem(name)
            if problem is not None:
                raise InvalidPathError(path, problem)
            names.append(name)
    return "/" + "/".join(names)


class EarlierSessions:
    """The ids of the latest sessions of one client, each of which may have left znodes.

    Servers expire sessions that are not resumed, so the znodes of older sessions are gone.  A
    process that runs for years need not remember all sessions.
    """

    #: Far more than can still have znodes: a client begins a session only when the one before has
    #: ended.
    LIMIT: Final = 64

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        # A dict serves as a set that remembers its order.
        self._ids: dict[int, None] = {}

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._ids

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, session_id: int) -> None:
        """Add a session; above the limit, the one that was added first is dropped."""
        self._ids.pop(session_id, None)
        self._ids[session_id] = None
        if len(self._ids) > self.LIMIT:
            del self._ids[next(iter(self._ids))]


def session_name(session_id: int) -> str:
    """A session's id as servers and their tools write it: unsigned, hexadecimal."""
    return f"{session_id & 0xFFFF_FFFF_FFFF_FFFF:#x}"
