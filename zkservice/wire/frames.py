"""Packets: a four-byte length and as many bytes, in both directions."""

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


#: Bytes of a skipped frame that are passed on: a reply's header.
HEAD: Final = 16


class Framer:
    """Cut a stream of bytes into frames, however it is split."""

    def __init__(self, limit: int, skipped: Callable[[bytes, int], None] | None = None) -> None:
        """Begin with an empty stream.

        Args:
            limit: bytes of the largest frame.
            skipped: a larger frame is skipped and this is called with its first `HEAD` bytes and
                its size; without it, such a frame is an error.
        """
        self._limit = limit
        self._skipped = skipped
        self._skip = 0  # bytes of a skipped frame that are still to come
        self._chunks: list[bytes] = []
        self._held = 0  # bytes in the chunks
        self._wanted = 4  # bytes before there is anything to do

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the payloads that are complete now, one at a time.

        Exhaust it, or leave it, before feeding again: what was not yielded is kept.

        Raises:
            FrameSizeError: after the frames before it: a length is negative or over
                the limit.  The stream cannot be read any further; feeding more raises
                it again.
        """
        if self._skip:
            data, self._skip = data[self._skip :], max(0, self._skip - len(data))
        self._held += len(data)
        self._chunks.append(data)
        if self._held < self._wanted:
            return
        if len(self._chunks) > 1:
            data = b"".join(self._chunks)
        self._chunks.clear()
        self._wanted = 4
        offset, end = 0, len(data)
        try:
            while end - offset >= 4:
                (size,) = _LENGTH.unpack_from(data, offset)
                start = offset + 4
                if not 0 <= size <= self._limit:
                    if size < HEAD or self._skipped is None:
                        raise FrameSizeError(size, self._limit)
                    if end - start < HEAD:
                        self._wanted = 4 + HEAD
                        break
                    offset = min(end, start + size)
                    self._skip = start + size - offset
                    self._skipped(data[start : start + HEAD], size)
                    continue
                if end - start < size:
                    self._wanted = 4 + size
                    break
                offset = start + size
                yield data[start:offset]
        finally:
            self._held = end - offset
            if self._held:
                self._chunks.append(data[offset:])
