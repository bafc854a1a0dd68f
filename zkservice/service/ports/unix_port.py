"""Unix sockets that root can open safely in a directory that another user owns.

The owner of a directory can replace every name in it at any moment, for example by a link to one of
root's files.  So root must use neither ``chmod`` nor ``chown`` with such a name.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Any, Final

from twisted.internet.error import CannotListenError
from twisted.internet.unix import Port
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.lockfile import FilesystemLock
from typing_extensions import override

from zkservice.privates import close_socket_only, close_without_shutdown, reserve_descriptor

#: A flag of Linux for opening whatever has a name without following it.
_NAME_ONLY: Final = getattr(os, "O_PATH", 0)


class UNIXPort(Port):
    """Twisted's Unix port, except that the file is created with its final mode.

    Twisted binds the socket, then changes the mode of its name with ``chmod``.  If the name was
    replaced by a symbolic link in between, ``chmod`` follows it.
    """

    _log = Logger()
    lockFile: Any = None  # noqa: N815 - Twisted's name
    #: Whether the file, and the lock beside it, are removed when the port closes.
    owns_file = True

    @override
    def startListening(self) -> None:
        """Bind and listen.

        Raises:
            CannotListenError: the name is in use, or cannot be created.
        """
        reserve_descriptor()
        path = os.fsdecode(self._bindPath)
        factory: Any = self.factory
        self._log.info("{what} starting on {path!r}", what=self._getLogPrefix(factory), path=path)
        self._lock()
        factory.doStart()
        bound = self.createInternetSocket()
        try:
            _bind(bound, self._bindPath, self.mode)
        except OSError as error:
            bound.close()
            raise CannotListenError(None, self._bindPath, error) from None
        bound.listen(self.backlog)
        self._start(bound)

    def adopt(self, listening: socket.socket) -> None:
        """Use a socket that listens already; another program owns its file."""
        reserve_descriptor()
        factory: Any = self.factory
        factory.doStart()
        self.owns_file = False
        close_without_shutdown(self)
        listening.setblocking(False)
        self._start(listening)

    def own_file(self) -> None:
        """Own the file from now on: the program that has created it has handed it over."""
        self.owns_file = True
        if self.wantPID:
            self.lockFile = FilesystemLock(self._bindPath + b".lock")
            try:
                os.remove(self.lockFile.name)
                self.lockFile.lock()
            except OSError as error:
                self._log.warn(
                    "cannot take over the lock {name}: {reason}",
                    name=os.fsdecode(self.lockFile.name),
                    reason=error.strerror,
                )
                self.lockFile = None

    @override
    def connectionLost(self, reason: Failure) -> None:
        if self.owns_file:
            super().connectionLost(reason)
        else:
            close_socket_only(self, reason)

    def _start(self, listening: socket.socket) -> None:
        self.connected = True
        self.socket = listening
        self.fileno = listening.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100  # connections a turn, as Twisted's port begins
        self.startReading()

    def _lock(self) -> None:
        """Take the lock beside the socket, and remove the socket of a dead process."""
        if not self.wantPID:
            return
        self.lockFile = FilesystemLock(self._bindPath + b".lock")
        if not self.lockFile.lock():
            raise CannotListenError(None, self._bindPath, "Cannot acquire lock")
        if not self.lockFile.clean:
            _remove_socket(self._bindPath)


def _bind(unbound: socket.socket, path: bytes, mode: int) -> None:
    """Bind to a name.  The kernel creates it with mode 0777 & ~umask (unix(7))."""
    previous = os.umask(0o777 & ~mode)
    try:
        unbound.bind(path)
    finally:
        os.umask(previous)


def _remove_socket(path: bytes) -> None:
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.remove(path)
    except OSError:
        pass  # bind() will report the error


def change_owner(path: str, user: int, group: int) -> None:
    """Give a Unix socket that this process has created to another user, group or both.

    Args:
        path: the socket's name.
        user, group: numbers; -1: unchanged.

    Raises:
        FileExistsError: something else has the name by now.
        OSError: the socket is gone, or only root may give it away.
    """
    descriptor = os.open(path, _NAME_ONLY | os.O_NOFOLLOW) if _NAME_ONLY else None
    try:
        found = os.lstat(path) if descriptor is None else os.fstat(descriptor)
        # A second link could mean that the name was replaced by another service's socket.
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            raise FileExistsError(None, "it was replaced after it had been created")
        if descriptor is not None and os.path.exists("/proc/self/fd"):
            # fchown(2) refuses O_PATH descriptors; this link leads to the file that is open.
            os.chown(f"/proc/self/fd/{descriptor}", user, group)
        else:
            os.chown(path, user, group, follow_symlinks=False)
    finally:
        if descriptor is not None:
            os.close(descriptor)
