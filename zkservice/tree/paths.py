"""Names and paths of nodes, as text: what is one, and what ``.`` and ``..`` in it mean."""

from __future__ import annotations

import re
from typing import Final

from zkservice.errors import InvalidPathError

# PathUtils.validatePath: control characters, surrogates (and with them every
# character outside the Basic Multilingual Plane), the private use area, specials.
_FORBIDDEN: Final = re.compile(
    "[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]"
)


def name_problem(name: str) -> str | None:
    """Why ZooKeeper would refuse a node of this name; None when it takes it."""
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


def normalize(path: str, base: str = "/") -> str:
    """The absolute path without ``.``, ``..``, doubled slashes or one at the end.

    ``..`` is taken as text: in ``/a/link/..`` it leads back to ``/a``, wherever
    ``link`` may point.

    Args:
        path: absolute, or relative to ``base``.
        base: an absolute path; where a relative one starts.

    Raises:
        InvalidPathError: the path is empty, leaves the tree through its root, or
            names what cannot be a node.
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
