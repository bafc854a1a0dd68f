"""One connection: bytes to the parser, requests to views and workers, responses to the output."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from math import inf
from typing import Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.errors import BodyStorageError, RequestRefusedError
from zkservice.http11 import Limits, ParserState, Request, RequestParser, error_page
from zkservice.web.environ import ConnectionInfo, connection_info
from zkservice.web.exchange import End, Exchange, ReactorExchange
from zkservice.web.output import Output, Part, discard, output_for
from zkservice.web.server import HTTPServer

__all__ = ["ChannelState", "HTTPChannel"]

_CONTINUE: Final = (b"HTTP/1.1 100 Continue\r\n\r\n",)

#: Bytes that a client may still send after its last response, and seconds to read the response.
#: Closing a socket with unread input resets the connection, and the response would be lost.
_LINGER_BYTES: Final = 65536
_LINGER_SECONDS: Final = 2.0
#: Requests of one connection that are served before other connections get a turn.
_REQUESTS_PER_TURN: Final = 32


class ChannelState(Enum):
    """What a connection can still do; it only moves down this list."""

    OPEN = "requests"
    FLUSHING = "sending the rest of the last response"
    LINGERING = "waiting until the client has read it; input is dropped"
    CLOSING = "the transport is closing"


class _Loop(Enum):
    """Whether the loop that parses and serves requests is running."""

    IDLE = auto()
    RUNNING = auto()
    #: It waits for a turn of the reactor: there is more to parse than fits into one.
    WAITING = auto()


class _ReadSide:
    """The client's side: whether its input is read, and how much is dropped."""

    __slots__ = ("_reading", "_transport", "dropped", "ended")

    def __init__(self) -> None:
        self._transport: Any = None
        self._reading = True
        #: Whether the client has half-closed the connection.
        self.ended = False
        #: Bytes that came after the last request.
        self.dropped = 0

    def connect(self, transport: Any) -> None:
        """Read from a transport."""
        self._transport = transport

    def pause(self) -> None:
        """Stop reading: backpressure for the client."""
        if self._reading and not self.ended:
            self._reading = False
            self._transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if not self._reading and not self.ended:
            self._reading = True
            self._transport.resumeProducing()


class _BodyRate:
    """The deadline of a request's body, by the minimal rate.

    Args:
        limits: define the rate.
    """

    __slots__ = ("_limits", "_since")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since = 0.0

    def begin(self, now: float) -> None:
        """Start to measure at the body's first byte."""
        self._since = now

    def deadline(self, received: int) -> float:
        """When a body of which so many bytes were received becomes too slow."""
        limits = self._limits
        allowed = received / limits.body_rate if limits.body_rate else inf
        return self._since + limits.body_grace + allowed


# Read for each request: before Python 3.12 a member of an enum costs ten times as much.
_OPEN: Final = ChannelState.OPEN
_REQUEST: Final = ParserState.REQUEST
_IDLE: Final = _Loop.IDLE
_RUNNING: Final = _Loop.RUNNING
_WAITING: Final = _Loop.WAITING


@implementer(IHalfCloseableProtocol)
class HTTPChannel(Protocol):
    """One connection of a client.  Everything here happens in the reactor thread."""

    _log = Logger()
    _output: Output

    def __init__(self, server: HTTPServer, parser: RequestParser) -> None:
        self._server = server
        #: None before the first request: a PROXY header comes after the connection is made.
        self.info: ConnectionInfo | None = None
        self._parser = parser
        self._state = _OPEN
        self._exchange: Exchange | None = None  # the request in service
        self._sending: Exchange | None = None  # complete, but its response is not all sent
        # Bytes of a streamed response that are queued as far as its window knows: in memory, in
        # files.  The window learns of the difference to the output's backlog in _open_window.
        self._known_backlog = (0, 0)
        self._response_begun = False  # whether some of the current response was sent
        self._deadline_for = _REQUEST  # what the client has to send before the deadline
        self._body_rate = _BodyRate(server.limits)
        self._loop = _IDLE
        self._read_side = _ReadSide()
        self.deadline = self.bucket = inf  # for ``Deadlines``

    # Called by the transport

    @override
    def connectionMade(self) -> None:
        server = self._server
        self._read_side.connect(self.transport)
        self._output = output_for(self.transport, self._output_progressed)
        self._set_deadline(self._idle_time() or server.limits.head_timeout)
        server.counters.accepted += 1
        if server.connections.add(self):
            return
        if server.connections.crowded:
            self.abort()  # too crowded even to send a 503
        else:
            self._shed("there are too many connections; try again later")

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._state is not _OPEN:
            self._drop(len(data))
            return
        parser = self._parser
        parser.feed(data)
        if self._exchange is None:
            if self._loop is not _WAITING:
                self._advance()
        elif parser.pending > self._server.limits.pipeline_bytes:
            self._read_side.pause()

    def readConnectionLost(self) -> None:  # noqa: N802 - IHalfCloseableProtocol
        """The client has half-closed; it may still wait for responses."""
        self._read_side.ended = True
        if self._exchange is not None:
            self._exchange.read_side_closed()
        elif self._state is ChannelState.LINGERING:
            self._close_now()
        elif not self._output.blocked and self._loop is not _WAITING:
            self._close()  # otherwise complete requests may wait in the parser

    def writeConnectionLost(self) -> None:  # noqa: N802
        """Do nothing: the client reads the response, then closes."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = ChannelState.CLOSING
        # Each step is tried separately: a failure must not keep the others from releasing what
        # they hold.  A connection that stayed listed would count against the limit for good.
        for step in (self._parser.close, self._end_exchange, self._output.stopProducing):
            try:
                step()
            except Exception:  # noqa: BLE001
                self._log.failure("a connection that has ended could not be cleaned up")
        self._server.deadlines.forget(self)
        self._server.connections.discard(self)

    def _end_exchange(self) -> None:
        """End the request in service, because the client has left."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        else:
            exchange = self._sending
        if exchange is not None:
            self._note_aborted(exchange)
            self._log_response(exchange)

    # Called by the server

    @property
    def serving(self) -> bool:
        """Whether a request is in service."""
        return self._exchange is not None

    @property
    def exchange(self) -> Exchange | None:
        """The request in service, or the one whose response is not all sent."""
        return self._exchange or self._sending

    def close_if_idle(self) -> None:
        """Close the connection if neither a request nor a response is under way."""
        idle = self._exchange is None and not self._output.blocked
        if idle and self._parser.expecting is _REQUEST:
            self._close_now()

    def abort(self) -> None:
        """Cut the connection, whatever is under way; pipelined requests are not served."""
        self._state = ChannelState.CLOSING
        self._transport().abortConnection()

    def overdue(self, now: float) -> None:
        """The client or the application took too long; see ``Limits`` for each case."""
        if self._state is not _OPEN or self._output.blocked:
            self.abort()
        elif self._exchange is not None:
            self._check_overrun(self._exchange)
        elif self._deadline_for is _REQUEST:
            self._close_now()
        elif self._deadline_for is ParserState.HEAD:
            self._refuse(RequestRefusedError(408, "the request head took too long"))
        else:
            deadline = self._body_rate.deadline(self._parser.body_bytes)
            if deadline > now:
                self._server.deadlines.set(self, deadline)
            else:
                self._refuse(RequestRefusedError(408, "the request body came too slowly"))

    # Called by a worker's exchange, in the reactor's thread

    def respond(
        self, exchange: Exchange, parts: Sequence[Part], end: End | None, body_bytes: int
    ) -> None:
        """Send some of the response to ``exchange``; ``end`` is set for the last part."""
        if exchange is not self._exchange:
            discard(parts)  # the client has gone meanwhile
            return
        output = self._output
        exchange.body_bytes += body_bytes
        self._response_begun = True
        if end is None:
            memory, file = self._known_backlog
            before = output.backlog, output.file_backlog
            output.hold(parts)
            self._known_backlog = (
                memory + output.backlog - before[0],
                file + output.file_backlog - before[1],
            )
            # more parts may come in the same delivery: send them together
            self._server.workers.results.after_delivery(self._flush)
            return
        output.write(parts)
        if end is End.ABORT or output.broken:
            self._note_aborted(exchange)
        if output.blocked:
            self._set_deadline(self._server.limits.write_stall)
            self._sending = exchange
        else:
            self._log_response(exchange)
        self._exchange = None
        self._known_backlog = (0, 0)
        if end is End.ABORT:
            self.abort()
            return
        self._server.counters.responded += 1
        if end is End.CLOSE:
            self._close()
        elif self._loop is not _RUNNING:
            self._read_side.resume()
            self._advance()

    # Requests

    def _advance(self) -> None:
        """Serve the next request if it is complete, and so on until one has to wait."""
        self._loop = _RUNNING
        left = _REQUESTS_PER_TURN
        # a client that does not read its responses gets no more of them
        while self._exchange is None and self._state is _OPEN and not self._output.blocked:
            try:
                request = self._parser.next_request()
            except BodyStorageError as error:
                self._server.storage_warning.failed(error)
                self._shed(error.rule, error.status)
                break
            except RequestRefusedError as refused:
                self._refuse(refused)
                break
            if request is None:
                if self._parser.unfinished:
                    self._wait_for_turn()
                else:
                    self._await_client()
                break
            self._serve(request)
            left -= 1
            if not left:  # a pipeline of views would keep the reactor from other connections
                self._server.reactor.callLater(0, self._advance)
                break
        if self._loop is _RUNNING:
            self._loop = _IDLE

    def _wait_for_turn(self) -> None:
        """Stop reading until the rest of the input is parsed in later turns of the reactor."""
        self._loop = _WAITING
        if self._deadline_for is not ParserState.BODY:
            self._expect_body()
        self._read_side.pause()
        self._server.turns.wait(self._take_turn)

    def _take_turn(self) -> None:
        self._loop = _IDLE
        self._advance()
        waits = self._exchange is not None or self._loop is _WAITING
        if self._state is _OPEN and not waits:
            self._read_side.resume()

    def _serve(self, request: Request) -> None:
        """Pass a request to a view or to the workers, or respond with 503."""
        server, handler = self._server, self._server.handler
        server.counters.requests += 1
        if self.info is None:
            self.info = connection_info(self.transport)
        self._deadline_for = _REQUEST
        self._response_begun = False
        view = server.views.get(request.path, server.fallback)
        in_reactor = view is not None or server.queue.reached  # else in a worker thread
        kind = ReactorExchange if in_reactor else Exchange
        self._exchange = exchange = kind(request, self.info, self, handler, server.workers)
        if self._read_side.ended:
            exchange.read_side_closed()
        handler.admit(exchange)
        if view is not None:
            server.counters.viewed += 1
            self.deadline = inf  # end the deadline of the idle connection; views have none
            path = request.path.decode("ascii")
            handler.run_view(exchange, view, path)
            return
        handler.trace(exchange)
        if in_reactor:  # no view: the queue is full
            server.counters.shed += 1
            request.body.close()
            exchange.answer(503, "all threads are busy; try again later", server.retry_after())
            return
        self._await_worker()
        server.workers.submit(exchange)

    def _await_worker(self) -> None:
        """Set the deadline of a request in service: the client's deadlines do not apply to it."""
        timeout = self._server.limits.request_timeout
        if timeout and not isinstance(self._exchange, ReactorExchange):
            self._set_deadline(timeout)
        else:
            self.deadline = inf

    def _check_overrun(self, exchange: Exchange) -> None:
        """Give the request in service up if it has run too long.

        Its deadline was set when it was queued; time in the queue does not count.
        """
        timeout = self._server.limits.request_timeout
        ran = 0.0 if exchange.began is None else self._server.workers.now() - exchange.began
        if ran < timeout:
            self._set_deadline(timeout - ran)
            return
        exchange.status = exchange.status or 504
        self._server.overrun(exchange, ran)
        exchange.abandon()
        if self._response_begun:
            self._note_aborted(exchange)
        self._log_response(exchange)
        self._exchange = None
        if exchange.trace is not None:
            exchange.trace.ended(f"given up after {ran:.1f} s")
        if self._response_begun:
            self.abort()
        else:
            self._error(504, "the application did not respond in time", exchange.request.method)

    def _await_client(self) -> None:
        """Set the deadline for what the client has to send next."""
        expecting, before = self._parser.expecting, self._deadline_for
        self._deadline_for = expecting
        limits = self._server.limits
        if self._read_side.ended:
            self._close()  # the client sends no more requests
        elif expecting is _REQUEST:
            if not self._output.blocked:
                self._set_deadline(self._idle_time())
        elif expecting is before:
            pass  # the body has its own deadline
        elif expecting is ParserState.HEAD:
            self._set_deadline(limits.head_timeout)
        else:
            self._expect_body()
            if self._parser.take_continue():
                if self._server.queue.reached:
                    self._shed("all threads are busy; try again later")
                else:
                    self._output.write(_CONTINUE)

    def _expect_body(self) -> None:
        """Start the deadline of a body."""
        self._deadline_for = ParserState.BODY
        self._body_rate.begin(self._server.reactor.seconds())
        self._set_deadline(self._server.limits.body_grace)

    def _idle_time(self) -> float:
        """How long the connection may stay open without a request."""
        limits = self._server.limits
        if self._server.draining:  # an earlier response told the client to keep the connection
            return min(limits.drain_linger, limits.keep_alive)
        return limits.keep_alive

    def _note_aborted(self, exchange: Exchange) -> None:
        """Note that the rest of the response cannot be sent; the caller closes the connection."""
        if not exchange.aborted:
            exchange.aborted = True
            exchange.body_bytes = max(0, exchange.body_bytes - self._output.unsent)
            self._server.counters.aborted += 1

    def _log_response(self, exchange: Exchange) -> None:
        """Log an exchange: nothing more will be sent for it."""
        slow = self._sending is not None
        self._sending = None
        self._server.handler.log(exchange, slow)

    # Responses without an exchange

    def _refuse(self, refused: RequestRefusedError) -> None:
        """Refuse a client that has broken a rule or a limit."""
        self._server.counters.refused += 1
        self._server.handler.log_refusal(
            self.info or connection_info(self.transport), refused.status
        )
        self._error(refused.status, refused.rule, self._method_for_error())

    def _shed(self, rule: str, status: int = 503) -> None:
        """Refuse a client because there is no room for it now."""
        self._server.counters.shed += 1
        self._server.handler.log_refusal(self.info or connection_info(self.transport), status)
        self._error(status, rule, self._method_for_error(), self._server.retry_after())

    def _method_for_error(self) -> str:
        return "HEAD" if self._parser.is_head_request else "GET"

    def _error(
        self, status: int, rule: str, method: str, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Send an error page, and drop all further input."""
        self._parser.close()
        line, fields, body = error_page(status, rule, headers)
        heads = self._server.heads
        head = heads.head(heads.check(line, fields), method, "HTTP/1.1", False, len(body))
        self._output.write((head.data,) if method == "HEAD" else (head.data, body))
        self._close()

    # Output

    def _flush(self) -> None:
        self._output.flush()
        self._open_window()
        if self._output.blocked:
            self._set_deadline(self._server.limits.write_stall)

    def _output_progressed(self) -> None:
        """Go on after the client has taken some of the queued output."""
        self._open_window()
        if self._output.blocked:
            self._set_deadline(self._server.limits.write_stall)
            return
        if self._sending is not None:
            self._log_response(self._sending)
        if self._state is ChannelState.FLUSHING:
            self._linger_or_close()
        elif self._exchange is not None:
            self._await_worker()
        elif self._state is _OPEN:
            self._set_deadline(self._idle_time())
            self._read_side.resume()
            self._advance()

    def _open_window(self) -> None:
        """Tell the worker how much of its response the client has taken."""
        exchange, output = self._exchange, self._output
        if exchange is not None and exchange.window is not None:
            memory, file = self._known_backlog
            self._known_backlog = (output.backlog, output.file_backlog)
            exchange.window.take(memory - output.backlog, file - output.file_backlog)

    def _set_deadline(self, seconds: float) -> None:
        server = self._server
        server.deadlines.set(self, server.reactor.seconds() + seconds)

    # Closing

    def _close(self) -> None:
        """Close as soon as everything has been sent."""
        if self._state is _OPEN:
            self._state = ChannelState.FLUSHING
            if self._output.blocked:
                self._set_deadline(self._server.limits.write_stall)
            else:
                self._linger_or_close()

    def _linger_or_close(self) -> None:
        """Close after everything was sent, without losing what the client has not read."""
        # A refused client may still be sending; closing with unread input resets the connection.
        refused = self._parser.expecting is ParserState.NOTHING
        unread = refused or self._parser.pending or self._read_side.dropped
        if self._read_side.ended or not unread or not self._can_half_close():
            self._close_now()
            return
        self._state = ChannelState.LINGERING
        self._output.close()
        self._transport().loseWriteConnection()
        self._read_side.resume()
        self._set_deadline(_LINGER_SECONDS)

    def _can_half_close(self) -> bool:
        """Whether to half-close.  TLS cannot; its close alert keeps the response safe."""
        transport = self.transport
        return hasattr(transport, "loseWriteConnection") and not ISSLTransport.providedBy(transport)

    def _close_now(self) -> None:
        """Close; the transport sends what it has in its buffer."""
        if self._state is not ChannelState.CLOSING:
            self._output.close()
            self._state = ChannelState.CLOSING
            self._set_deadline(self._server.limits.write_stall)
            self._transport().loseConnection()

    def _drop(self, size: int) -> None:
        """Count the input that is dropped after the last request; close above a bound."""
        self._read_side.dropped += size
        if self._read_side.dropped > _LINGER_BYTES:
            if self._state is ChannelState.FLUSHING:
                self._read_side.pause()
            else:
                self.abort()

    def _transport(self) -> Any:
        return self.transport
