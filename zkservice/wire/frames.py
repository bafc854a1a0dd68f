"""Packets: a four-byte length and as many bytes, in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from zkservice.errors import FrameSizeError

#: Bytes in one frame that a server accepts; ``jute.maxbuffer`` of BinaryInputArchive.java.
JUTE_MAXBUFFER: Final = 0xFFFFF

_LENGTH: Final = Struct(">i")


def frame(payload: bytes | bytearray) -> bytes:
    """The payload with its length in front."""
    return _LENGTH.pack(len(payload)) + payload


class Framer:
    """Cut a stream of bytes into frames, however it is split."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
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
                if not 0 <= size <= self._limit:
                    raise FrameSizeError(size, self._limit)
                start = offset + 4
                if end - start < size:
                    self._wanted = 4 + size
                    break
                offset = start + size
                yield data[start:offset]
        finally:
            self._held = end - offset
            if self._held:
                self._chunks.append(data[offset:])
