"""Parts of a response in files: an application's file, or the overflow for a slow client."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO

__all__ = ["FileSegment", "Spill"]


class FileSegment:
    """Some bytes of a file to send to a client.  The reactor sends and closes it.

    Args:
        descriptor: the file's descriptor.
        offset: the position of the first byte.
        size: the number of bytes.
        close: called once, when the segment is not needed any more.
    """

    __slots__ = ("_close", "_size", "descriptor", "offset")

    def __init__(self, descriptor: int, offset: int, size: int, close: Callable[[], None]) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self._size = size
        self._close: Callable[[], None] | None = close

    @classmethod
    def of(cls, descriptor: int, offset: int, size: int) -> FileSegment:
        """A segment with a duplicate of the descriptor, so that the caller may close its own."""
        own = os.dup(descriptor)
        return cls(own, offset, size, lambda: os.close(own))

    def __len__(self) -> int:
        return self._size

    def advance(self, size: int) -> None:
        """Skip the first ``size`` bytes, which were sent."""
        self.offset += size
        self._size -= size

    def read(self, most: int) -> bytes:
        """Return the first bytes; empty if the file has become shorter."""
        data = os.pread(self.descriptor, min(most, self._size), self.offset)
        self.advance(len(data))
        return data

    def close(self) -> None:
        """Release the file.  Idempotent, and it never raises."""
        close, self._close = self._close, None
        if close is not None:
            with suppress(OSError):  # the descriptor is closed even then (close(2))
                close()


class Spill:
    """A temporary file that a worker fills and the reactor empties.

    The lock guards the number of users of the file: the worker, and each segment that is not
    sent.  The last user closes the file.
    """

    def __init__(self, new_file: Callable[[], IO[bytes]] = TemporaryFile) -> None:
        self._file = new_file()
        self._end = 0
        self._users = 1
        self._lock = threading.Lock()

    def append(self, parts: Sequence[bytes]) -> FileSegment:
        """Store some bytes (worker thread)."""
        descriptor, start = self._file.fileno(), self._end
        for part in parts:
            view = memoryview(part)
            while view:
                written = os.pwrite(descriptor, view, self._end)
                self._end += written
                view = view[written:]
        with self._lock:
            self._users += 1
        return FileSegment(descriptor, start, self._end - start, self.release)

    def release(self) -> None:
        """Note that one user needs the file no more; the last one closes it (any thread)."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            with suppress(OSError):
                self._file.close()
