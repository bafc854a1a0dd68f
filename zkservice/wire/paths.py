"""The chroot that a client puts before the paths that it sends."""

from __future__ import annotations

from zkservice.znodes import validate


class Chroot:
    """A path that a client puts before each path it sends, and removes from each it receives.

    Args:
        prefix: absolute; ``/`` for none.

    Raises:
        InvalidPathError: the prefix is not a valid path.
    """

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
        """The client's path for a server's path; a path outside of it is returned unchanged."""
        if not self.prefix or not path.startswith(self.prefix):
            return path
        rest = path[len(self.prefix) :]
        if not rest:
            return "/"
        return rest if rest.startswith("/") else path
