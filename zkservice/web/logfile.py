"""A log file that can be rotated while the process runs."""

from __future__ import annotations

import os

from twisted.logger import Logger

from zkservice.web.printable import printable

__all__ = ["LogFile"]


class LogFile:
    """Appends lines to a file, each in one write; ``-`` is standard output.

    It can be used from any thread, and other processes may write to the same file.  If the disk is
    full, lines are lost but no request fails; twistd's log says so once until a line is written.

    Raises:
        OSError: the file cannot be opened.
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.path = path
        self._failing = False
        self._descriptor = self._open()

    def write(self, line: str) -> None:
        """Append a line, in UTF-8; characters that are not printable are escaped."""
        try:
            os.write(self._descriptor, printable(line).encode() + b"\n")
        except OSError as error:
            if not self._failing:
                self._log.error(
                    "{path} cannot be written: {error}; its lines are lost",
                    path=self.path,
                    error=error.strerror,
                )
            self._failing = True
        else:
            self._failing = False

    def reopen(self) -> None:
        """Open the file again after it was renamed (SIGHUP)."""
        if self.path == "-":
            return
        try:
            fresh = self._open()
        except OSError as error:
            self._log.error(
                "{path} cannot be opened again: {error}; its lines still go to the old file",
                path=self.path,
                error=error.strerror,
            )
            return
        # dup2 replaces the file under the same descriptor: a thread in the middle of write() writes
        # to the old file or to the new one, never to a closed descriptor
        os.dup2(fresh, self._descriptor, inheritable=False)
        os.close(fresh)

    def close(self) -> None:
        """Close the file."""
        if self.path != "-":
            os.close(self._descriptor)

    def _open(self) -> int:
        if self.path == "-":
            return 1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self.path, flags, 0o644)
