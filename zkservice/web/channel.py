"""One connection: bytes to the parser, requests to their place, responses to the transport."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.errors import BodyStorageError, RequestRefusedError
from zkservice.http11 import Expecting, Request, RequestParser, error_page
from zkservice.web.environ import Ends, ends_of
from zkservice.web.exchange import End, Exchange, ReactorExchange
from zkservice.web.output import Output, discard, output_for

if TYPE_CHECKING:
    from zkservice.web.factory import HTTPFactory
    from zkservice.web.output import Part

__all__ = ["HTTPChannel", "Phase"]

_CONTINUE: Final = (b"HTTP/1.1 100 Continue\r\n\r\n",)

#: How much a client may still send after its last response, and how long it may take to
#: read it: closing over unread bytes would reset the connection, and the response be lost.
_LINGER_BYTES: Final = 65536
_LINGER_SECONDS: Final = 2.0
#: Requests that one connection may have served before others get their turn.
_TURNS: Final = 32


class Phase(Enum):
    """What a connection is still good for; it only moves down this list."""

    OPEN = "requests"
    FLUSHING = "the rest of the last response"
    LINGERING = "the client's reading it; what it sends is dropped"
    LEAVING = "nothing: the transport was told to close"


@implementer(IHalfCloseableProtocol)
class HTTPChannel(Protocol):
    """One connection of a client.  Everything here happens in the reactor thread."""

    _log = Logger()
    _output: Output

    def __init__(self, factory: HTTPFactory, parser: RequestParser) -> None:
        self._factory = factory
        #: Known from the first request on: a proxy's word comes after the connection.
        self.ends: Ends | None = None
        self._parser = parser
        self._phase = Phase.OPEN
        self._exchange: Exchange | None = None  # the request in service
        self._unsettled: Exchange | None = None  # answered, but not all of it has gone
        self._held = (0, 0)  # bytes of its response that wait, in memory and in files
        self._expecting = Expecting.REQUEST  # what the deadline was set for
        self._body_since = 0.0
        self._begun = False  # some of the response in service has gone
        self._advancing = False  # the loop over pipelined requests is running
        self._waits_for_turn = False  # to parse the rest of what has come
        self._reading = True
        self._at_eof = False
        self._refused = False
        self._dropped = 0  # bytes that came after the last request
        self.deadline = self.bucket = inf

    # What the transport calls

    @override
    def connectionMade(self) -> None:
        self._output = output_for(self.transport, self._output_moved)
        self._set_deadline(self._idle_time() or self._factory.limits.head_timeout)
        if self._factory.connected(self):
            return
        if self._factory.crowded:
            self.abort()  # not even for an answer is there room
        else:
            self._shed("there are too many connections; come again later")

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._phase is not Phase.OPEN:
            self._drop(len(data))
            return
        parser = self._parser
        parser.feed(data)
        if self._exchange is None:
            if not self._waits_for_turn:
                self._advance()
        elif parser.pending > self._factory.limits.pipeline_bytes:
            self._pause_reading()

    def readConnectionLost(self) -> None:  # noqa: N802 - IHalfCloseableProtocol
        """The client sends no more; it may still wait for the response to what it sent."""
        self._at_eof = True
        if self._exchange is not None:
            self._exchange.read_side_closed()
        elif self._phase is Phase.LINGERING:
            self._leave()
        elif not self._output.blocked and not self._waits_for_turn:
            self._close()  # else there may be whole requests behind what waits

    def writeConnectionLost(self) -> None:  # noqa: N802
        """Our own half-close is done; now the client reads, and closes."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._phase = Phase.LEAVING
        # Each step for itself: one that fails must not keep the others from giving back
        # what they hold, and a connection that stays in the factory blocks a place for good.
        for step in (self._parser.close, self._end_exchange, self._output.stopProducing):
            try:
                step()
            except Exception:  # noqa: BLE001
                self._log.failure("a connection that has ended could not be cleaned up")
        self._factory.disconnected(self)

    def _end_exchange(self) -> None:
        """The client has left: end what was under way for it."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        else:
            exchange = self._unsettled
        if exchange is not None:
            self._cut_off(exchange)
            self._settle(exchange)

    # What the factory calls

    @property
    def serving(self) -> bool:
        """Whether a request is in service."""
        return self._exchange is not None

    def close_if_idle(self) -> None:
        """Close the connection if neither a request nor a response is under way."""
        idle = self._exchange is None and not self._output.blocked
        if idle and self._parser.expecting is Expecting.REQUEST:
            self._leave()

    def abort(self) -> None:
        """Cut the connection, whatever is under way; what was pipelined is not served any more."""
        self._phase = Phase.LEAVING
        self._transport().abortConnection()

    def overdue(self, now: float) -> None:
        """The client took too long; see ``Limits`` for each case."""
        if self._phase is not Phase.OPEN or self._output.blocked:
            self.abort()
        elif self._exchange is not None:
            self._check_overrun(self._exchange)
        elif self._expecting is Expecting.REQUEST:
            self._leave()
        elif self._expecting is Expecting.HEAD:
            self._refuse(RequestRefusedError(408, "the request head took too long"))
        elif self._body_deadline() > now:
            self._factory.deadlines.set(self, self._body_deadline())
        else:
            self._refuse(RequestRefusedError(408, "the request body came too slowly"))

    # What a worker's exchange calls, through the reactor

    def respond(
        self, exchange: Exchange, parts: Sequence[Part], end: End | None, body_bytes: int
    ) -> None:
        """Send some of the response to ``exchange``; ``end`` says that this is its end."""
        if exchange is not self._exchange:
            discard(parts)  # the client has gone meanwhile
            return
        output = self._output
        exchange.body_bytes += body_bytes
        self._begun = True
        if end is None:
            # more of it may be on its way with the same delivery: send them together
            before = output.backlog, output.file_backlog
            output.hold(parts)
            self._held = (
                self._held[0] + output.backlog - before[0],
                self._held[1] + output.file_backlog - before[1],
            )
            self._factory.workers.after_delivery(self._flush)
            return
        output.write(parts)
        if end is End.ABORT or output.broken:
            self._cut_off(exchange)
        if output.blocked:
            self._set_deadline(self._factory.limits.write_stall)
            self._unsettled = exchange
        else:
            self._settle(exchange)
        self._exchange = None
        self._held = (0, 0)
        if end is End.ABORT:
            self.abort()
            return
        self._factory.counters.responded += 1
        if end is End.CLOSE:
            self._close()
        elif not self._advancing:
            self._resume_reading()
            self._advance()

    # Requests

    def _advance(self) -> None:
        """Serve the next request if it is complete, and so on until one has to wait."""
        self._advancing = True
        turns = _TURNS
        # one that does not read its responses gets no more of them
        while self._exchange is None and self._phase is Phase.OPEN and not self._output.blocked:
            try:
                request = self._parser.next_request()
            except BodyStorageError as error:
                self._factory.storage_failed(error)
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
            turns -= 1
            if not turns:  # views can answer a whole pipeline here: let others have a turn
                self._factory.reactor.callLater(0, self._advance)
                break
        self._advancing = False

    def _wait_for_turn(self) -> None:
        """There is more to parse than fits into one turn: read no more until that is done."""
        self._waits_for_turn = True
        if self._expecting is not Expecting.BODY:
            self._expect_body()
        self._pause_reading()
        self._factory.turns.wait(self._take_turn)

    def _take_turn(self) -> None:
        self._waits_for_turn = False
        self._advance()
        if self._phase is Phase.OPEN and self._exchange is None and not self._waits_for_turn:
            self._resume_reading()

    def _serve(self, request: Request) -> None:
        """Give a request to a view or to the workers, or turn it away."""
        factory = self._factory
        factory.counters.requests += 1
        if self.ends is None:
            self.ends = ends_of(self.transport)
        self._expecting = Expecting.REQUEST
        self._begun = False
        view = factory.views.get(request.path)
        here = view is not None or factory.overloaded
        kind = ReactorExchange if here else Exchange
        self._exchange = exchange = kind(request, self.ends, self, factory.site, factory.workers)
        if self._at_eof:
            exchange.read_side_closed()
        factory.site.admit(exchange)
        if view is not None:
            factory.counters.viewed += 1
            path = request.path.decode("ascii")
            factory.site.run_view(exchange, view, path)
            return
        factory.site.trace(exchange)
        if here:
            factory.counters.shed += 1
            request.body.close()
            exchange.answer(503, "all threads are busy; come again later", factory.retry_after())
            return
        self._await_worker()
        factory.workers.submit(exchange)

    def _await_worker(self) -> None:
        """While a request is in service, only its own time is limited."""
        timeout = self._factory.limits.request_timeout
        if timeout:
            self._set_deadline(timeout)
        else:
            self.deadline = inf

    def _check_overrun(self, exchange: Exchange) -> None:
        """The deadline of a request in service has passed; its time in the queue is free."""
        timeout = self._factory.limits.request_timeout
        ran = 0.0 if exchange.began is None else self._factory.workers.now() - exchange.began
        if ran < timeout:
            self._set_deadline(timeout - ran)
            return
        exchange.status = exchange.status or 504
        self._factory.overrun(exchange, ran)
        exchange.abandon()
        if self._begun:
            self._cut_off(exchange)
        self._settle(exchange)
        self._exchange = None
        if exchange.trace is not None:
            exchange.trace.ended(f"given up after {ran:.1f} s")
        if self._begun:
            self.abort()
        else:
            self._error(504, "the application did not answer in time", exchange.request.method)

    def _await_client(self) -> None:
        """Set the deadline for what the client has to send next."""
        expecting, before = self._parser.expecting, self._expecting
        self._expecting = expecting
        limits = self._factory.limits
        if self._at_eof:
            self._close()  # nothing more will come
        elif expecting is Expecting.REQUEST:
            if not self._output.blocked:
                self._set_deadline(self._idle_time())
        elif expecting is before:
            pass  # it has one
        elif expecting is Expecting.HEAD:
            self._set_deadline(limits.head_timeout)
        else:
            self._expect_body()
            if self._parser.must_continue():
                if self._factory.overloaded:
                    self._shed("all threads are busy; come again later")
                else:
                    self._output.write(_CONTINUE)

    def _expect_body(self) -> None:
        """From now on the body must come, and come fast enough."""
        self._expecting = Expecting.BODY
        self._body_since = self._factory.reactor.seconds()
        self._set_deadline(self._factory.limits.body_grace)

    def _idle_time(self) -> float:
        """How long the connection may stay open without a request."""
        factory = self._factory
        limits = factory.limits
        if factory.draining:  # a response that began before told the client to stay
            return min(limits.drain_linger, limits.keep_alive)
        return limits.keep_alive

    def _body_deadline(self) -> float:
        """When a body that has come this far is too slow."""
        limits = self._factory.limits
        bought = self._parser.body_bytes / limits.body_rate if limits.body_rate else inf
        return self._body_since + limits.body_grace + bought

    def _cut_off(self, exchange: Exchange) -> None:
        """The client does not get what is left of the response."""
        if not exchange.aborted:
            exchange.aborted = True
            exchange.body_bytes = max(0, exchange.body_bytes - self._output.unsent)
            self._factory.counters.aborted += 1

    def _settle(self, exchange: Exchange) -> None:
        """Nothing more will be sent for an exchange: log it."""
        self._unsettled = None
        self._factory.site.log(exchange)

    # Answers without a request

    def _refuse(self, refused: RequestRefusedError) -> None:
        """The client has broken a rule or a limit."""
        self._factory.counters.refused += 1
        self._factory.site.log_refusal(self.ends or ends_of(self.transport), refused.status)
        self._error(refused.status, refused.rule, self._method_to_answer())

    def _shed(self, rule: str, status: int = 503) -> None:
        """There is no room for this client at the moment."""
        self._factory.counters.shed += 1
        self._factory.site.log_refusal(self.ends or ends_of(self.transport), status)
        self._error(status, rule, self._method_to_answer(), self._factory.retry_after())

    def _method_to_answer(self) -> str:
        return "HEAD" if self._parser.awaits_head else "GET"

    def _error(
        self, status: int, rule: str, method: str, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Answer with an error page, and take nothing more from this connection."""
        self._refused = True
        self._parser.close()
        line, fields, body = error_page(status, rule, headers)
        heads = self._factory.heads
        head = heads.head(heads.draft(line, fields), method, "HTTP/1.1", False, len(body))
        self._output.write((head.data,) if method == "HEAD" else (head.data, body))
        self._close()

    # The way out

    def _flush(self) -> None:
        self._output.flush()
        self._open_window()
        if self._output.blocked:
            self._set_deadline(self._factory.limits.write_stall)

    def _output_moved(self) -> None:
        """The client has taken some of what waited."""
        self._open_window()
        if self._output.blocked:
            self._set_deadline(self._factory.limits.write_stall)
            return
        if self._unsettled is not None:
            self._settle(self._unsettled)
        if self._phase is Phase.FLUSHING:
            self._finish()
        elif self._exchange is not None:
            self._await_worker()
        elif self._phase is Phase.OPEN:
            self._set_deadline(self._idle_time())
            self._resume_reading()
            self._advance()

    def _open_window(self) -> None:
        """Tell the worker how much of its response the client has taken."""
        exchange, output = self._exchange, self._output
        if exchange is not None and exchange.window is not None:
            held, self._held = self._held, (output.backlog, output.file_backlog)
            exchange.window.take(held[0] - output.backlog, held[1] - output.file_backlog)

    def _set_deadline(self, seconds: float) -> None:
        factory = self._factory
        factory.deadlines.set(self, factory.reactor.seconds() + seconds)

    # Closing

    def _close(self) -> None:
        """Close as soon as everything has been sent."""
        if self._phase is Phase.OPEN:
            self._phase = Phase.FLUSHING
            if self._output.blocked:
                self._set_deadline(self._factory.limits.write_stall)
            else:
                self._finish()

    def _finish(self) -> None:
        """Everything has been sent: close, but so that the client can read it."""
        unread = self._refused or self._parser.pending or self._dropped
        if self._at_eof or not unread or not self._can_half_close():
            self._leave()
            return
        self._phase = Phase.LINGERING
        self._output.close()
        self._transport().loseWriteConnection()
        self._resume_reading()
        self._set_deadline(_LINGER_SECONDS)

    def _can_half_close(self) -> bool:
        """TLS has no half-close; its own farewell keeps the response safe."""
        transport = self.transport
        return hasattr(transport, "loseWriteConnection") and not ISSLTransport.providedBy(transport)

    def _leave(self) -> None:
        if self._phase is not Phase.LEAVING:
            self._output.close()
            self._phase = Phase.LEAVING
            self._set_deadline(self._factory.limits.write_stall)
            self._transport().loseConnection()

    def _drop(self, size: int) -> None:
        """Count what comes after the last request; no client may send it for ever."""
        self._dropped += size
        if self._dropped > _LINGER_BYTES:
            if self._phase is Phase.FLUSHING:
                self._pause_reading()
            else:
                self.abort()

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
