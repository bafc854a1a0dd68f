"""Frames: each message on the wire is its length in four bytes, then that many bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from zkservice.errors import FrameSizeError

#: Bytes in one frame that a server accepts; ``jute.maxbuffer`` of BinaryInputArchive.java.
JUTE_MAXBUFFER: Final = 0xFFFFF

_LENGTH: Final = Struct(">i")


def frame(payload: bytes | bytearray) -> bytes:
    """The payload with its length in front."""
    return _LENGTH.pack(len(payload)) + payload


#: Bytes at the start of a skipped frame that its receiver still gets: the size of a `ReplyHeader`.
SKIPPED_HEAD_SIZE: Final = 16


class Framer:
    """Cuts a stream of bytes into frames, however the network splits it.

    Args:
        limit: the most bytes that the payload of a frame may have.
        on_skipped: called for a frame over the limit, which is then skipped, with its first
            `SKIPPED_HEAD_SIZE` bytes and its size in bytes.  If None, such a frame is an error.
    """

    def __init__(self, limit: int, on_skipped: Callable[[bytes, int], None] | None = None) -> None:
        self._limit = limit
        self._on_skipped = on_skipped
        self._to_skip = 0  # bytes of a skipped frame that are not received yet
        self._chunks: list[bytes] = []  # received, but not a complete frame yet
        self._held = 0  # bytes in the chunks
        self._needed = 4  # bytes to hold before the next step is possible: a length or a frame

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the payloads that are complete now, one at a time.

        Exhaust it, or leave it, before feeding again: what was not yielded is kept.

        Raises:
            FrameSizeError: after the frames before it: a length is negative or over
                the limit.  The stream cannot be read any further; feeding more raises
                it again.
        """
        if self._to_skip:
            data, self._to_skip = data[self._to_skip :], max(0, self._to_skip - len(data))
        self._held += len(data)
        self._chunks.append(data)
        if self._held < self._needed:
            return  # joining the chunks only now keeps a large frame in small pieces linear
        if len(self._chunks) > 1:
            data = b"".join(self._chunks)
        self._chunks.clear()
        self._needed = 4
        offset, end = 0, len(data)
        try:
            while end - offset >= 4:
                (size,) = _LENGTH.unpack_from(data, offset)
                start = offset + 4
                if not 0 <= size <= self._limit:
                    if size < SKIPPED_HEAD_SIZE or self._on_skipped is None:
                        raise FrameSizeError(size, self._limit)
                    if end - start < SKIPPED_HEAD_SIZE:
                        self._needed = 4 + SKIPPED_HEAD_SIZE
                        break
                    offset = min(end, start + size)
                    self._to_skip = start + size - offset
                    self._on_skipped(data[start : start + SKIPPED_HEAD_SIZE], size)
                    continue
                if end - start < size:
                    self._needed = 4 + size
                    break
                offset = start + size
                yield data[start:offset]
        finally:  # also when the caller leaves the loop early: keep what was not yielded
            self._held = end - offset
            if self._held:
                self._chunks.append(data[offset:])
