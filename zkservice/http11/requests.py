"""Parse the bytes of a connection into complete requests."""

from __future__ import annotations

import sys
from enum import Enum
from typing import Final

from zkservice.errors import RequestRefusedError
from zkservice.http11 import rules
from zkservice.http11.bodies import ChunkedBody, FixedBody
from zkservice.http11.head_check import HeadCheck
from zkservice.http11.heads import HeadReader, Request
from zkservice.http11.limits import Limits
from zkservice.http11.storage import BodyStorage, BodyStore

__all__ = ["ParserState", "RequestParser"]

_END: Final = b"\r\n\r\n"
_TLS_HANDSHAKE: Final = 0x16  # RFC 8446 5.1: the first byte of a client that speaks TLS


class ParserState(Enum):
    """What the next byte of a connection belongs to."""

    REQUEST = "the first byte of a request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    NOTHING = "nothing: the connection was refused"


class RequestParser:
    """Parses the requests of one connection, one at a time.

    ``feed`` adds bytes.  ``next_request`` parses only one request, so pipelined requests stay
    unparsed until they are served.

    Args:
        limits: the limits for clients.
        heads: parses the heads; connections may share it.
        bodies: stores the bodies; connections share it, so that its limit applies to all of them.
        max_chunks_per_turn: chunks of a body that one call of ``next_request`` reads at most.
    """

    def __init__(
        self,
        limits: Limits,
        heads: HeadReader,
        bodies: BodyStorage | None = None,
        max_chunks_per_turn: int = sys.maxsize,
    ) -> None:
        self._limits = limits
        self._heads = heads
        self._max_chunks_per_turn = max_chunks_per_turn
        self._bodies = bodies or BodyStorage(limits.body_memory, limits.body_disk)
        self._data = b""  # the unparsed bytes begin at _at
        self._at = 0
        self._searched = 0  # the end of the head does not begin before this index
        self._check: HeadCheck | None = None  # for an incomplete head
        self._skipped = False  # whether the one allowed empty line before a request was skipped
        self._request: Request | None = None  # the request whose body is being received
        self._body: FixedBody | ChunkedBody | None = None
        self._refused = False
        self._refused_head_request = False

    # The state

    @property
    def expecting(self) -> ParserState:
        """What the next byte belongs to; valid after ``next_request`` has returned None."""
        if self._refused:
            return ParserState.NOTHING
        if self._body is not None:
            return ParserState.BODY
        return ParserState.HEAD if self.pending else ParserState.REQUEST

    @property
    def pending(self) -> int:
        """Bytes that were fed and are not part of a request yet."""
        return len(self._data) - self._at

    @property
    def unfinished(self) -> bool:
        """Whether ``next_request`` returned None because its turn was over: call it again."""
        return self._body is not None and self.pending > 0

    @property
    def body_bytes(self) -> int:
        """Bytes of the current body that were received."""
        return 0 if self._body is None else self._body.store.size

    @property
    def is_head_request(self) -> bool:
        """Whether the method of the request that is being read, or was refused, is HEAD.

        Then the response, even an error page, must have no content.
        """
        if self._refused:
            return self._refused_head_request
        if self._request is not None:
            return self._request.method == "HEAD"
        return self._data.startswith(b"HEAD ", self._at)

    def take_continue(self) -> bool:
        """Return whether to send ``100 Continue`` now; True at most once for each request."""
        request = self._request
        if request is None or not request.expects_continue:
            return False
        request.expects_continue = False
        return not self.body_bytes and not self.pending

    # Input

    def feed(self, data: bytes) -> None:
        """Take bytes from the client; after a refusal they are dropped."""
        if self._refused:
            return
        if self._at == len(self._data):
            self._data, self._at, self._searched = data, 0, 0
        else:
            self._data = self._data[self._at :] + data
            self._searched -= self._at
            self._at = 0

    def next_request(self) -> Request | None:
        """The next complete request, or None if there is none yet.

        Raises:
            RequestRefusedError: the bytes break a rule; no more requests are parsed.
        """
        if self._refused:
            return None
        try:
            if self._body is None and not self._read_head():
                return None
            return self._read_body()
        except RequestRefusedError:
            self.close()
            raise

    def close(self) -> None:
        """Release everything at the end of the connection."""
        self._refused_head_request = self.is_head_request
        self._refused = True
        self._data, self._at = b"", 0
        self._check = None
        self._request = None
        if self._body is not None:
            self._body.store.discard()
            self._body = None

    # Heads

    def _read_head(self) -> bool:
        """Read a head if it is complete, and set ``_request`` and, if it has one, ``_body``."""
        if self._at == len(self._data):
            return False
        if self._data[self._at] < 0x20 and not self._skip_empty_line():
            return False
        end = self._data.find(_END, max(self._searched, self._at)) + 4
        if end < 4 or end - self._at > self._limits.head_bytes:
            self._check_partial_head()
            return False
        self._request = request = self._heads.read(self._data[self._at : end])
        self._at = self._searched = end
        self._check, self._skipped = None, False
        if request.chunked:
            self._body = ChunkedBody(
                self._limits.body_bytes, BodyStore(self._bodies), self._max_chunks_per_turn
            )
        elif request.content_length:
            self._bodies.check(request.content_length)
            self._body = FixedBody(request.content_length, BodyStore(self._bodies))
        return True

    def _skip_empty_line(self) -> bool:
        """Skip one empty line before the request line (RFC 9112 2.2).

        Called if the next byte is a control character, which cannot begin a request.

        Returns:
            Whether a request can begin at ``_at`` now; False if more bytes are needed.

        Raises:
            RequestRefusedError: it is not an empty line, or the second one.
        """
        if self._data[self._at] == _TLS_HANDSHAKE:
            raise RequestRefusedError(400, "this port speaks HTTP, not TLS: use http://")
        start = self._data[self._at : self._at + 3]
        if not b"\r\n".startswith(start[:2]) or self._skipped:
            raise rules.NO_METHOD.refusal()
        if len(start) < 2:
            return False
        self._at += 2
        self._skipped = True
        if len(start) == 3 and start[2] < 0x20:
            raise rules.NO_METHOD.refusal()
        return len(start) == 3

    def _check_partial_head(self) -> None:
        """Refuse an incomplete head at its first invalid byte."""
        at, limit = self._at, self._limits.head_bytes
        if self._check is None:
            self._check = self._heads.new_check()
        self._check.check(self._data[at : at + limit])
        if self.pending > limit:
            raise rules.head_too_long(limit).refusal()
        self._searched = max(at, len(self._data) - 3)  # its last bytes may begin the end

    # Bodies

    def _read_body(self) -> Request | None:
        request, body = self._request, self._body
        assert request is not None
        if body is not None:
            self._at = self._searched = body.feed(self._data, self._at)
            if not body.complete:
                return None
            request.content_length = body.store.size
            request.body = body.store.finish()
            self._body = None
        self._request = None
        return request
