"""Where request bodies are kept until they are complete: in memory, and on disk within a bound."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader, BytesIO, FileIO
from tempfile import TemporaryFile
from typing import IO, Final

from typing_extensions import override

from zkservice.errors import BodyStorageError, RequestRefusedError

__all__ = ["BodyStorage", "BodyStore"]

_UNLIMITED: Final = 1 << 63


def _temporary_file() -> FileIO:
    """An unbuffered temporary file: ``close`` would raise if it could not flush a buffer."""
    return TemporaryFile(buffering=0)


class BodyStorage:
    """Keeps the request bodies of all connections, and bounds what they take on disk.

    The lock guards ``on_disk``: worker threads release what the reactor thread has reserved.

    Args:
        memory: bytes of one body that are kept in memory; a longer body goes to a file.
        disk: bytes that all bodies together may take in files.
        new_file: makes an unbuffered temporary file.
    """

    def __init__(
        self,
        memory: int,
        disk: int = _UNLIMITED,
        new_file: Callable[[], FileIO] = _temporary_file,
    ) -> None:
        self.memory = memory
        self.disk = disk
        self.new_file = new_file
        #: Bytes that all bodies together take in files now.
        self.on_disk = 0
        self._lock = threading.Lock()

    def check(self, size: int) -> None:
        """Refuse a body that is known to be too large before its first byte arrives.

        Raises:
            RequestRefusedError: with 413, the body could never be kept.
            BodyStorageError: with 503, there is no room for ``size`` bytes now.
        """
        if size > self.memory:
            self._check_disk(size, size)

    def reserve(self, more: int, size: int) -> None:
        """Reserve ``more`` bytes on disk for a body that then has ``size`` bytes.

        Raises:
            RequestRefusedError: see ``check``.
            BodyStorageError: see ``check``.
        """
        with self._lock:
            self._check_disk(more, size)
            self.on_disk += more

    def release(self, size: int) -> None:
        """Give back what ``reserve`` took (any thread)."""
        with self._lock:
            self.on_disk -= size

    def _check_disk(self, more: int, size: int) -> None:
        if size > self.disk:
            most = max(self.disk, self.memory)
            raise RequestRefusedError(413, f"the body is over the limit of {most} bytes")
        if self.on_disk + more > self.disk:
            raise BodyStorageError(
                503,
                "there is no room for the request body; try again later",
                f"all bodies together may take {self.disk} bytes on disk (limit body-disk)",
            )


class BodyStore:
    """The bytes of one body, in memory up to a bound and in a temporary file above it."""

    def __init__(self, storage: BodyStorage) -> None:
        self.size = 0
        self._storage = storage
        self._first = b""  # most bodies arrive in one piece, which is not copied
        self._memory: BytesIO | None = None
        self._file: FileIO | None = None
        self._reserved = 0

    def append(self, data: bytes) -> None:
        """Keep some more bytes.

        Raises:
            RequestRefusedError: with 413, the body is too large to be kept.
            BodyStorageError: there is no room for them.
        """
        self.size += len(data)
        if self.size > self._storage.memory:
            self._append_to_file(data)
        elif self._memory is not None:
            self._memory.write(data)
        elif not self._first:
            self._first = data
        else:
            self._memory = BytesIO()
            self._memory.write(self._first)
            self._memory.write(data)
            self._first = b""

    def finish(self) -> IO[bytes]:
        """Return the bytes as a file at its start, which the caller closes.

        Raises:
            BodyStorageError: the file cannot be read back.
        """
        memory, self._memory = self._memory, None
        if self._file is None:
            if memory is None:
                return BytesIO(self._first)
            memory.seek(0)
            return memory
        try:
            self._file.seek(0)
        except OSError as error:
            raise _failed(error) from error
        file, self._file = self._file, None
        reserved, self._reserved = self._reserved, 0
        return _StoredBody(file, self._storage, reserved)

    def discard(self) -> None:
        """Drop the bytes, and release their room; never raises."""
        self._first, self._memory = b"", None
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
        self._storage.release(self._reserved)
        self._reserved = 0

    def _append_to_file(self, data: bytes) -> None:
        if self._file is None:
            data = b"".join((self._first, self._memory.getvalue() if self._memory else b"", data))
        self._storage.reserve(len(data), self.size)
        self._reserved += len(data)
        try:
            if self._file is None:
                self._file = self._storage.new_file()
                self._first, self._memory = b"", None
            _write_all(self._file, data)
        except OSError as error:
            raise _failed(error) from error


class _StoredBody(BufferedReader):
    """A complete body in a file; its room on disk is released when it is closed."""

    def __init__(self, file: FileIO, storage: BodyStorage, size: int) -> None:
        super().__init__(file)
        self._storage = storage
        self._size = size

    @override
    def close(self) -> None:
        """Close the file and release its room.  Calling it again does nothing; never raises."""
        with suppress(OSError):
            super().close()
        size, self._size = self._size, 0
        self._storage.release(size)


def _write_all(file: FileIO, data: bytes) -> None:
    """Write all of ``data``: one call may take only a part, when the disk is nearly full."""
    view = memoryview(data)
    while view:
        view = view[os.write(file.fileno(), view) :]


def _failed(error: OSError) -> BodyStorageError:
    return BodyStorageError(
        507,
        "the server has no room to store the request body",
        f"a temporary file for a request body failed: {error.strerror or error}",
    )
