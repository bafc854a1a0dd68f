"""Parse request bodies: find their ends, and decode chunks."""

from __future__ import annotations

import re
import sys
from typing import Final

from zkservice.errors import RequestRefusedError
from zkservice.http11.storage import BodyStore

__all__ = ["ChunkedBody", "FixedBody"]

_TOKEN: Final = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
#: A chunk's line (RFC 9112 7.1): the size without padding, and extensions, which are ignored.  But
#: their syntax is checked strictly, because parsers disagree about malformed ones: for example
#: whether an unclosed quoted string goes on after the line's end.
_CHUNK_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
)
#: The line of most chunks, without extensions.
_PLAIN_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_TRAILER: Final = re.compile(rb"(%b):[\t\x20-\x7e\x80-\xff]*" % _TOKEN)
_FORBIDDEN_TRAILERS: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})

_MAX_LINE: Final = 4096  # bytes of one chunk or trailer line
#: Bytes of chunk lines and trailers that are allowed in addition to the data.  Framing costs the
#: server work, so it is limited.  16 bytes for each chunk are enough for a usual line.
_FRAMING_BASE: Final = 16 * 1024
_FRAMING_PER_CHUNK: Final = 16
#: Chunks that may be of any size.  A body with more of them must have this average number of bytes
#: in each further chunk, because a chunk takes the same time with one byte as with a thousand.
_UNCHECKED_CHUNKS: Final = 16 * 1024
_MIN_AVERAGE_CHUNK: Final = 4


class FixedBody:
    """A body that is as long as its Content-Length says."""

    def __init__(self, length: int, store: BodyStore) -> None:
        self._missing = length
        self.store = store

    def feed(self, data: bytes, at: int) -> int:
        """Take the body's bytes of ``data[at:]``; return the index of the next message."""
        end = min(at + self._missing, len(data))
        self._missing -= end - at
        self.store.append(data if at == 0 and end == len(data) else data[at:end])
        return end

    @property
    def complete(self) -> bool:
        """Whether every byte was received."""
        return self._missing == 0


class _ChunkTally:
    """Counts the data and the framing of a chunked body, and refuses too much framing.

    Args:
        max_size: bytes of data that the body may have.
    """

    __slots__ = ("_max_size", "chunks", "framing", "size", "stop")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self.size = 0  #: bytes of data, including those of the current chunk
        self.chunks = 0
        self.framing = 0  #: bytes of chunk lines and trailers
        self.stop = 0  #: the value of ``chunks`` at which this call of ``feed`` stops

    def add_framing(self, size: int) -> None:
        """Count bytes of a line."""
        self.framing += size
        if self.framing > _FRAMING_BASE + _FRAMING_PER_CHUNK * self.chunks:
            raise RequestRefusedError(400, "the chunked body has too much framing for its data")

    def add_chunk(self, size: int) -> None:
        """Count a chunk by the size that its line gives."""
        self.chunks += 1
        self.size += size
        if self.size > self._max_size:
            raise RequestRefusedError(413, f"the body is over the limit of {self._max_size} bytes")
        if (self.chunks - _UNCHECKED_CHUNKS) * _MIN_AVERAGE_CHUNK > self.size:
            raise RequestRefusedError(400, "the chunks of the body are too small")


class ChunkedBody:
    """A chunked body (RFC 9112 7.1), parsed strictly: bare line ends, signs and gaps are refused.

    Extensions and trailer fields are checked, counted and dropped.

    Args:
        max_size: bytes of data that the body may have.
        store: receives the data.
        max_chunks_per_feed: chunks after which a call of ``feed`` stops, so that other connections
            get a turn.
    """

    def __init__(
        self, max_size: int, store: BodyStore, max_chunks_per_feed: int = sys.maxsize
    ) -> None:
        self.complete = False
        self.store = store
        self._max_chunks_per_feed = max_chunks_per_feed
        self._parts: list[bytes] = []  # data of this call of feed
        self._partial = b""  # the beginning of a line, or of the CR LF after a chunk's data
        self._missing = 0  # bytes of this chunk's data that were not received yet
        self._tally = _ChunkTally(max_size)
        self._read = self._read_size  # the method for the next bytes; each one selects the next

    def feed(self, data: bytes, at: int) -> int:
        """Take the body's bytes of ``data[at:]``; return the index where it stopped.

        If the body is complete, the next message begins there.  If not, and there are bytes left,
        call it again with that index.
        """
        tally = self._tally
        tally.stop = tally.chunks + self._max_chunks_per_feed
        while at < len(data) and not self.complete and tally.chunks < tally.stop:
            at = self._read(data, at)
        if self._parts:  # the store gets the data of all chunks in one piece
            self.store.append(b"".join(self._parts))
            self._parts.clear()
        return at

    def _read_whole_chunks(self, data: bytes, at: int) -> int:
        """Read plain chunks that were received completely, which is the usual case."""
        tally = self._tally
        while tally.chunks < tally.stop and (match := _PLAIN_LINE.match(data, at)) is not None:
            start, size = match.end(), int(match[1], 16)
            end = start + size
            if not size or data[end : end + 2] != b"\r\n":
                break
            tally.add_framing(start - at)
            tally.add_chunk(size)
            self._parts.append(data[start:end])
            at = end + 2
        return at

    def _read_size(self, data: bytes, at: int) -> int:
        if not self._partial:
            start, at = at, self._read_whole_chunks(data, at)
            if at != start:
                return at  # feed() checks whether it must stop, then goes on
        line, at = self._line(data, at)
        if line is None:
            return at
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise RequestRefusedError(
                400,
                "the extensions of a chunk are malformed"
                if b";" in line
                else "a chunk does not begin with its size",
            )
        self._missing = int(match[1], 16)
        self._tally.add_chunk(self._missing)
        self._read = self._read_data if self._missing else self._read_trailer
        return at

    def _read_data(self, data: bytes, at: int) -> int:
        end = min(at + self._missing, len(data))
        self._parts.append(data[at:end])
        self._missing -= end - at
        if not self._missing:
            self._read = self._read_data_end
        return end

    def _read_data_end(self, data: bytes, at: int) -> int:
        got = self._partial + data[at : at + 2 - len(self._partial)]
        if not b"\r\n".startswith(got):
            raise RequestRefusedError(400, "a chunk is longer than its size")
        at += len(got) - len(self._partial)
        self._partial = got
        if len(got) == 2:
            self._partial = b""
            self._read = self._read_size
        return at

    def _read_trailer(self, data: bytes, at: int) -> int:
        line, at = self._line(data, at)
        if line is None:
            return at
        if not line:
            self.complete = True
            return at
        match = _TRAILER.fullmatch(line)
        if match is None or match[1].lower() in _FORBIDDEN_TRAILERS:
            raise RequestRefusedError(400, "the trailer of the chunked body is malformed")
        return at

    def _line(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        """The line that begins at ``at``; None if it is incomplete, and is kept for later."""
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        line = self._partial + data[at:stop]
        self._tally.add_framing(stop - at)
        if len(line) > _MAX_LINE:
            raise RequestRefusedError(400, "a line of the chunked body is too long")
        if end < 0:
            self._partial = line
            return None, stop
        self._partial = b""
        if not line.endswith(b"\r\n"):
            raise RequestRefusedError(400, "a line of the chunked body does not end in CR LF")
        return line[:-2], stop
