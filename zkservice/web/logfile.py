"""A log file that can be moved away under the process."""

from __future__ import annotations

import os

__all__ = ["LogFile"]


class LogFile:
    """Appends lines to a file, each in one write; ``-`` is standard output.

    Safe to use from every thread, and with other processes on the same file.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = self._open()

    def write(self, line: str) -> None:
        """Append a line; what is not ASCII is escaped before it comes here, or UTF-8."""
        os.write(self._descriptor, line.encode("utf-8", "backslashreplace") + b"\n")

    def reopen(self) -> None:
        """Go on in a new file, after the old one was moved away (SIGHUP)."""
        if self.path == "-":
            return
        fresh = self._open()
        # the same number, so that a thread in the middle of write() hits one file or the other
        os.dup2(fresh, self._descriptor, inheritable=False)
        os.close(fresh)

    def close(self) -> None:
        """Write no more."""
        if self.path != "-":
            os.close(self._descriptor)

    def _open(self) -> int:
        if self.path == "-":
            return 1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self.path, flags, 0o644)
