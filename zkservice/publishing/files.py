"""Files that other programs read: replaced in one step, and only when they change.

Envoy and Prometheus notice a file that is renamed into its place.  A file that is written in
place could be read while it is half written.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred, succeed

from zkservice.errors import PublishError, RenderError
from zkservice.formats.consumers import Consumer, Listing
from zkservice.replacing import replacing

__all__ = ["FileTarget", "ReplacedFile"]

#: The mode of a new file.  Registrations are not secret, and the readers run as other users.
_MODE: Final = 0o644


class ReplacedFile:
    """A file that is replaced by rename; its mode and its owner stay.

    After a change the command is pending until it has succeeded.  A second file beside this one,
    the mark, records that even if the process ends in between.

    Args:
        name: the file's name.  If it is a symbolic link, its target is replaced.
        has_command: whether a command has to run after a change.
    """

    def __init__(self, name: str, has_command: bool = False) -> None:
        self.name = name
        self._has_command = has_command

    def read(self) -> bytes | None:
        """The file's contents; None if it does not exist.

        Raises:
            PublishError: the file cannot be read.
        """
        try:
            with open(self.name, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("cannot be read", error) from None

    def write(self, data: bytes) -> bool:
        """Write the file unless it has these contents; return whether it was written.

        Raises:
            PublishError: the file cannot be written.
        """
        if self.read() == data:
            return False
        try:
            if self._has_command:
                with open(self._pending_mark, "wb"):
                    pass
            _replace(os.path.realpath(self.name), data)
        except OSError as error:
            raise self._error("cannot be written", error) from None
        return True

    @property
    def command_pending(self) -> bool:
        """Whether the command has not yet succeeded after the last change."""
        return self._has_command and os.path.exists(self._pending_mark)

    def command_succeeded(self) -> None:
        """Remove the mark: the command is not pending any more.

        Raises:
            PublishError: the mark cannot be removed.
        """
        try:
            os.unlink(self._pending_mark)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._error("has a mark that cannot be removed", error) from None

    @property
    def _pending_mark(self) -> str:
        folder, name = os.path.split(self.name)
        # No glob such as *.conf, *.json or * matches this name, so programs that read a whole
        # directory do not read the mark.
        return os.path.join(folder, f".{name}.command-pending")

    def _error(self, what: str, error: OSError) -> PublishError:
        reason = f"{error.strerror or error}"
        if isinstance(error, FileNotFoundError):
            reason = f"there is no directory {os.path.dirname(self.name)}"
        return PublishError(f"{self.name} {what}: {reason}")


class FileTarget:
    """A file in the format of a consumer.

    Args:
        consumer: makes the text.
        file: is written.
    """

    #: Nothing else changes the file, so it needs no periodic check.
    recheck: Final = None

    def __init__(self, consumer: Consumer, file: ReplacedFile) -> None:
        self.name = file.name
        self.consumer = consumer
        self._file = file

    @property
    def exists(self) -> bool:
        """Whether the file exists, so that ``--keep-last`` has something to keep."""
        return os.path.exists(self._file.name)

    @property
    def command_pending(self) -> bool:
        """Whether the command still has to run after the last change."""
        return self._file.command_pending

    def command_succeeded(self) -> None:
        """Note that the command has succeeded."""
        self._file.command_succeeded()

    def publish(self, listings: Sequence[Listing]) -> Deferred[bool]:
        """Write the file; fires with whether it has changed.

        Raises:
            PublishError: it cannot be written.
        """
        return succeed(self._file.write(self._text(listings)))

    def preview(self, listings: Sequence[Listing]) -> Deferred[str]:
        """The changes that `publish` would make, as a unified diff; "" for no change.

        Raises:
            PublishError: the file cannot be read.
        """
        before = self._file.read()
        after = self._text(listings)
        lines = difflib.unified_diff(
            (before or b"").decode("utf-8", "replace").splitlines(keepends=True),
            after.decode("utf-8", "replace").splitlines(keepends=True),
            "/dev/null" if before is None else self.name,
            self.name,
        )
        terminated = (
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )
        return succeed("".join(terminated))

    def _text(self, listings: Sequence[Listing]) -> bytes:
        try:
            return self.consumer.render(listings)
        except RenderError as error:
            raise PublishError(str(error)) from None


def _replace(name: str, data: bytes) -> None:
    with replacing(name) as file:
        _keep_owner(file.fileno(), name)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _sync(os.path.dirname(name))


def _keep_owner(descriptor: int, name: str) -> None:
    """Give a new file the mode and the owner of the one that it replaces."""
    try:
        before = os.stat(name)
    except FileNotFoundError:
        os.fchmod(descriptor, _MODE)
        return
    new = os.fstat(descriptor)
    if (before.st_uid, before.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(descriptor, before.st_uid, before.st_gid)
        except PermissionError as error:
            owner = f"its owner {before.st_uid}:{before.st_gid} cannot be kept"
            raise OSError(error.errno, f"{owner}: {error.strerror}") from None
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def _sync(folder: str) -> None:
    """Flush the directory, so that the rename survives a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
