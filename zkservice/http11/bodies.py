"""Request bodies: where they end, and where they are kept until they are complete."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, Final

from zkservice.errors import RequestRefusedError

__all__ = ["BodyStore", "ChunkedBody", "FixedBody"]

_TOKEN: Final = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
#: A chunk's line (RFC 9112 7.1): the size without padding that serves nobody, and extensions,
#: which we ignore.  They are checked to the letter, for readers disagree about the malformed:
#: whether a quoted string that is not closed goes on behind the line's end, for one.
_CHUNK_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
)
_TRAILER: Final = re.compile(rb"(%b):[\t\x20-\x7e\x80-\xff]*" % _TOKEN)
_NO_TRAILERS: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})

_LONGEST_LINE: Final = 4096  # bytes of one chunk or trailer line
#: What chunk lines and trailers may add to the data: framing is free for a client and
#: work for us.  16 bytes a chunk cover the line of any honest one.
_FRAMING_BASE: Final = 16 * 1024
_FRAMING_PER_CHUNK: Final = 16


class BodyStore:
    """Body bytes, in memory up to a bound and in a temporary file above it."""

    def __init__(self, memory: int, new_file: Callable[[], IO[bytes]] = TemporaryFile) -> None:
        self.size = 0
        self._memory = memory
        self._new_file = new_file
        self._parts: list[bytes] = []
        self._file: IO[bytes] | None = None

    def append(self, data: bytes) -> None:
        """Keep some more bytes."""
        self.size += len(data)
        if self._file is not None:
            self._file.write(data)
            return
        self._parts.append(data)
        if self.size > self._memory:
            self._file = self._new_file()
            self._file.writelines(self._parts)
            self._parts.clear()

    def finish(self) -> IO[bytes]:
        """The bytes as a file at its start, which the caller closes."""
        if self._file is None:
            return BytesIO(b"".join(self._parts))
        file, self._file = self._file, None
        file.seek(0)
        return file

    def discard(self) -> None:
        """Forget the bytes; the client left before they were complete."""
        self._parts.clear()
        if self._file is not None:
            self._file.close()
            self._file = None


class FixedBody:
    """A body that is as long as its Content-Length says."""

    def __init__(self, length: int, store: BodyStore) -> None:
        self._missing = length
        self.store = store

    def feed(self, data: bytes, at: int) -> int:
        """Take the body's bytes of ``data[at:]``; returns where the next message begins."""
        end = min(at + self._missing, len(data))
        self._missing -= end - at
        self.store.append(data if at == 0 and end == len(data) else data[at:end])
        return end

    @property
    def complete(self) -> bool:
        """Whether every byte has come."""
        return self._missing == 0


class ChunkedBody:
    """A chunked body (RFC 9112 7.1), strictly: bare line ends, signs and gaps are refused.

    Extensions and trailer fields are checked, counted and dropped.
    """

    def __init__(self, most: int, store: BodyStore) -> None:
        self.complete = False
        self.store = store
        self._most = most  # bytes of data
        self._rest = b""  # the beginning of a line
        self._missing = 0  # bytes of this chunk's data
        self._framing = 0
        self._chunks = 0
        self._read = self._read_size

    def feed(self, data: bytes, at: int) -> int:
        """Take the body's bytes of ``data[at:]``; returns where the next message begins."""
        while at < len(data) and not self.complete:
            at = self._read(data, at)
        return at

    def _read_size(self, data: bytes, at: int) -> int:
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
        self._chunks += 1
        if self.store.size + self._missing > self._most:
            raise RequestRefusedError(413, f"the body is over the limit of {self._most} bytes")
        self._read = self._read_data if self._missing else self._read_trailer
        return at

    def _read_data(self, data: bytes, at: int) -> int:
        end = min(at + self._missing, len(data))
        self.store.append(data[at:end])
        self._missing -= end - at
        if not self._missing:
            self._read = self._read_data_end
        return end

    def _read_data_end(self, data: bytes, at: int) -> int:
        got = self._rest + data[at : at + 2 - len(self._rest)]
        if not b"\r\n".startswith(got):
            raise RequestRefusedError(400, "a chunk is longer than its size")
        at += len(got) - len(self._rest)
        self._rest = got
        if len(got) == 2:
            self._rest = b""
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
        if match is None or match[1].lower() in _NO_TRAILERS:
            raise RequestRefusedError(400, "the trailer of the chunked body is malformed")
        return at

    def _line(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        """The line that begins at ``at``, or None and everything kept for later."""
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        line = self._rest + data[at:stop]
        self._count_framing(stop - at)
        if len(line) > _LONGEST_LINE:
            raise RequestRefusedError(400, "a line of the chunked body is too long")
        if end < 0:
            self._rest = line
            return None, stop
        self._rest = b""
        if not line.endswith(b"\r\n"):
            raise RequestRefusedError(400, "a line of the chunked body does not end in CR LF")
        return line[:-2], stop

    def _count_framing(self, size: int) -> None:
        self._framing += size
        if self._framing > _FRAMING_BASE + _FRAMING_PER_CHUNK * self._chunks:
            raise RequestRefusedError(400, "the chunked body is nearly all framing")
