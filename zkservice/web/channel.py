"""One connection: bytes to the parser, requests to their place, responses to the transport."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.errors import RequestRefusedError
from zkservice.http11 import Expecting, Request, RequestParser, error_page
from zkservice.web.environ import Ends
from zkservice.web.exchange import End, Exchange
from zkservice.web.output import Output, output_for

if TYPE_CHECKING:
    from zkservice.web.factory import HTTPFactory

__all__ = ["HTTPChannel"]

_CONTINUE: Final = (b"HTTP/1.1 100 Continue\r\n\r\n",)

#: How much a refused client may still send, and how long it may take, before its connection
#: is cut: closing over unread bytes would reset it, and the answer would be lost.
_LINGER_BYTES: Final = 65536
_LINGER_SECONDS: Final = 2.0


@implementer(IHalfCloseableProtocol)
class HTTPChannel(Protocol):
    """One connection of a client.  Everything here happens in the reactor thread."""

    factory: HTTPFactory
    _output: Output

    def __init__(self, factory: HTTPFactory, parser: RequestParser) -> None:
        self.factory = factory
        self._parser = parser
        self._exchange: Exchange | None = None  # the request in service
        self._delivered = 0  # bytes of its response that were given to the output
        self._advancing = False
        self._reading = True
        self._at_eof = False
        self._closing = False  # close when everything has been sent
        self._lingering = -1  # bytes that were discarded since the refusal; -1: none was
        self.deadline = self.bucket = inf

    # What the transport calls

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.ends = _ends(self.transport)
        self._output = output_for(self.transport, self._output_moved)
        self.factory.connected(self)
        self._wait_for_client()

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._lingering >= 0:
            self._discard(len(data))
            return
        parser = self._parser
        parser.feed(data)
        if self._exchange is None:
            self._advance()
        elif parser.pending > self.factory.limits.pipeline_bytes:
            self._pause_reading()

    def readConnectionLost(self) -> None:  # noqa: N802 - IHalfCloseableProtocol
        """The client sends no more; it may still wait for the response to what it sent."""
        self._at_eof = True
        if self._exchange is not None:
            self._exchange.read_side_closed()
        elif self._output.empty:
            self._lose()
        else:
            self._close()

    def writeConnectionLost(self) -> None:  # noqa: N802
        """Our own half-close is done; the client reads it and closes."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._parser.close()
        self.factory.disconnected(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()

    # What the factory calls

    @property
    def idle(self) -> bool:
        """Whether nothing is under way here: no part of a request, no rest of a response."""
        return (
            self._exchange is None
            and self._parser.expecting is Expecting.REQUEST
            and self._output.empty
        )

    @property
    def serving(self) -> bool:
        """Whether a request is in service."""
        return self._exchange is not None

    def close_if_idle(self) -> None:
        """Close an idle connection."""
        if self.idle:
            self._lose()

    def abort(self) -> None:
        """Cut the connection, whatever is under way."""
        self._transport().abortConnection()

    def overdue(self, now: float) -> None:
        """The client took too long; see ``Limits`` for each case."""
        if self._lingering >= 0 or not self._output.empty:
            self.abort()
            return
        expecting = self._parser.expecting
        if expecting is Expecting.REQUEST:
            self._lose()
        elif expecting is Expecting.HEAD:
            self._refuse(RequestRefusedError(408, "the request head took too long"))
        elif self._body_deadline() > now:
            self.factory.deadlines.set(self, self._body_deadline())
        else:
            self._refuse(RequestRefusedError(408, "the request body came too slowly"))

    # What a worker's exchange calls, through the reactor

    def respond(self, exchange: Exchange, parts: Sequence[bytes], end: End | None) -> None:
        """Send some of the response to ``exchange``; ``end`` says that this is its end."""
        if exchange is not self._exchange:
            return  # the client has gone meanwhile
        if parts:
            self._output.write(parts)
            self._delivered += sum(map(len, parts))
            if not self._output.empty:
                self._expect_progress()
        if end is None:
            self._open_window()
            return
        self._exchange = None
        self._delivered = 0
        self.factory.responded += 1
        if end is End.ABORT:
            self.abort()
        elif end is End.CLOSE or self._at_eof:
            self._close()
        elif not self._advancing:
            self._resume_reading()
            self._advance()

    # Requests

    def _advance(self) -> None:
        """Serve the next request if it is complete, and so on until one has to wait."""
        self._advancing = True
        while self._exchange is None and not self._closing:
            if self._output.backlog:
                break  # one that does not read its responses gets no more of them
            try:
                request = self._parser.next_request()
            except RequestRefusedError as refused:
                self._refuse(refused)
                break
            if request is None:
                self._wait_for_client()
                break
            self._serve(request)
        self._advancing = False

    def _serve(self, request: Request) -> None:
        factory = self.factory
        factory.requests += 1
        self.factory.deadlines.set(self, inf)
        self._exchange = exchange = Exchange(request, self, factory.site, factory.workers)
        factory.workers.submit(exchange)

    def _wait_for_client(self) -> None:
        """Set the deadline for the next step that is the client's."""
        factory = self.factory
        limits, now = factory.limits, factory.reactor.seconds()
        expecting = self._parser.expecting
        if expecting is Expecting.REQUEST:
            if factory.draining:
                factory.maybe_drained()
            factory.deadlines.set(self, now + limits.keep_alive)
        elif expecting is Expecting.HEAD:
            if self._expected is not Expecting.HEAD:
                factory.deadlines.set(self, now + limits.head_timeout)
        elif self._expected is not Expecting.BODY:
            self._body_since = now
            factory.deadlines.set(self, now + limits.body_grace)
            if self._parser.must_continue():
                self._output.write(_CONTINUE)
        self._expected = expecting

    def _body_deadline(self) -> float:
        """When a body that has come this far would be too slow."""
        limits = self.factory.limits
        paid = self._parser.body_bytes / limits.body_rate if limits.body_rate else inf
        return self._body_since + limits.body_grace + paid

    _expected = Expecting.REQUEST
    _body_since = 0.0

    def _refuse(self, refused: RequestRefusedError) -> None:
        """Answer with an error, and read nothing more of this connection."""
        self._parser.close()
        self.factory.refused += 1
        status, headers, body = error_page(refused.status, refused.rule)
        draft = self.factory.heads.draft(status, headers)
        head = self.factory.heads.head(draft, "GET", "HTTP/1.1", False, len(body))
        self._output.write((head.data, body))
        self._lingering = 0
        self._close()

    # The way out

    def _output_moved(self) -> None:
        """Some of what waited has been taken by the client."""
        self._open_window()
        if not self._output.empty:
            self._expect_progress()
        elif self._closing:
            self._finish_closing()
        elif self._exchange is None:
            self._resume_reading()
            self._advance()
        else:
            self.factory.deadlines.set(self, inf)

    def _open_window(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.window is not None:
            exchange.window.take(self._delivered - self._output.backlog)

    def _expect_progress(self) -> None:
        factory = self.factory
        factory.deadlines.set(self, factory.reactor.seconds() + factory.limits.write_stall)

    # Closing

    def _close(self) -> None:
        """Close as soon as everything has been sent."""
        self._closing = True
        if self._output.empty:
            self._finish_closing()

    def _finish_closing(self) -> None:
        """Everything has been sent: close so that the client can read it."""
        if self._at_eof or (self._lingering < 0 and not self._parser.pending):
            self._lose()
            return
        self._lingering = max(self._lingering, 0)
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is None:
            self._lose()
            return
        self._output.close()
        half_close()
        self._resume_reading()
        self.factory.deadlines.set(self, self.factory.reactor.seconds() + _LINGER_SECONDS)

    def _discard(self, size: int) -> None:
        self._lingering += size
        if self._lingering > _LINGER_BYTES:
            self.abort()

    def _lose(self) -> None:
        self._closing = True
        self._output.close()
        self._transport().loseConnection()

    # Reading

    def _pause_reading(self) -> None:
        if self._reading and not self._at_eof:
            self._reading = False
            self._transport().pauseProducing()

    def _resume_reading(self) -> None:
        if not self._reading and not self._at_eof:
            self._reading = True
            self._transport().resumeProducing()

    def _transport(self) -> Any:
        return self.transport


def _ends(transport: Any) -> Ends:
    host, peer = transport.getHost(), transport.getPeer()
    scheme = "https" if hasattr(transport, "getPeerCertificate") else "http"
    return Ends(
        getattr(host, "host", "localhost"),
        str(getattr(host, "port", 443 if scheme == "https" else 80)),
        getattr(peer, "host", "127.0.0.1"),
        str(getattr(peer, "port", 0)),
        scheme,
    )
