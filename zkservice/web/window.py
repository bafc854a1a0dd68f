"""Backpressure for a worker whose client is slow, and buffers in memory and on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from typing_extensions import override

from zkservice.errors import ClientGoneError, ResponseStorageError
from zkservice.web.file_segments import FileSegment, Spill

__all__ = ["SendWindow", "StreamWindow"]

#: Seconds between two checks whether requests are queued, while a worker waits for its client.  If
#: they are, the waiting time counts by the factor, so the patience is used up sooner.
_POLL_INTERVAL: Final = 0.02
_CONTENDED_FACTOR: Final = 10
#: The two places for unsent bytes.
_MEMORY: Final = 0
_FILE: Final = 1
#: Bytes that may wait for the client of a stream.
_BACKLOG: Final = 512 * 1024


class SendWindow:
    """Bounds the unsent bytes of a streamed response: backpressure for the worker.

    The lock guards only the numbers.  Only the worker writes the file.

    Args:
        memory: bytes that may wait in memory.
        patience: seconds that the worker waits for room there, altogether.
        file: bytes that may wait in a file once the patience is used up.
        needed: returns whether requests are queued for a worker; its patience is shorter then.
        now: seconds of a clock.
    """

    def __init__(
        self,
        memory: int,
        patience: float,
        file: int,
        needed: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._limits = (memory, file)  # by place, like _owed
        self._patience = patience
        self._needed = needed
        self._now = now
        self._changed = threading.Condition()
        self._owed = [0, 0]  # unsent bytes by place: in memory, in the file
        self._closed = False
        self._spill: Spill | None = None

    # Worker thread

    def reserve(self, size: int) -> bool:
        """Reserve a place for ``size`` more bytes; wait until there is one.

        Returns:
            True for the memory, False for the file.

        Raises:
            ClientGoneError: the client has left.
        """
        with self._changed:
            while self._patience > 0 and not self._has_room(_MEMORY, size):
                began = self._now()
                self._changed.wait(min(self._patience, _POLL_INTERVAL))
                waited = self._now() - began
                self._patience -= waited * _CONTENDED_FACTOR if self._needed() else waited
            place = _MEMORY if self._has_room(_MEMORY, size) else _FILE
            self._changed.wait_for(lambda: self._has_room(place, size))
            if self._closed:
                raise ClientGoneError("the client has left")
            self._owed[place] += size
            return place == _MEMORY

    def _has_room(self, place: int, size: int) -> bool:
        owed = self._owed[place]
        # a part that is larger than the whole place is let in when the place is empty
        return self._closed or not owed or owed + size <= self._limits[place]

    def admit(self, parts: Sequence[bytes]) -> Sequence[bytes | FileSegment]:
        """Find a place for some parts, and return them as they are to be sent.

        Raises:
            ClientGoneError: the client has left.
            ResponseStorageError: the client is far behind, and the file for the rest fails.
        """
        return parts if self.reserve(sum(map(len, parts))) else (self._store(parts),)

    def _store(self, parts: Sequence[bytes]) -> FileSegment:
        try:
            if self._spill is None:
                self._spill = Spill()
            return self._spill.append(parts)
        except OSError as error:
            raise ResponseStorageError(
                f"a temporary file for a slow client failed: {error.strerror or error}"
            ) from error

    def release(self) -> None:
        """Release the file: the worker stores nothing more."""
        if self._spill is not None:
            self._spill.release()

    # Reactor thread

    def take(self, memory: int, file: int) -> None:
        """Note how many bytes from the memory and from the file the client has received."""
        with self._changed:
            self._owed[_MEMORY] -= memory
            self._owed[_FILE] -= file
            self._changed.notify()

    def close(self) -> None:
        """The client has disconnected: wake the worker."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class StreamWindow(SendWindow):
    """Bounds the unsent bytes of a stream, without ever blocking.

    Args:
        gone: called once the client has left.
        backlog: bytes that may wait.
    """

    def __init__(self, gone: Callable[[], object], backlog: int = _BACKLOG) -> None:
        super().__init__(backlog, 0, 0)
        self._gone = gone

    def offer(self, size: int) -> bool:
        """Reserve room for so many bytes; returns False if there is none."""
        if not self._has_room(_MEMORY, size):
            return False
        return self.reserve(size)  # which does not wait now

    @override
    def close(self) -> None:
        """The client has disconnected."""
        super().close()
        self._gone()
