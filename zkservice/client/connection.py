"""One connection after its handshake: requests in order, replies, events, and its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.client.calls import REPLY_HEADER_SIZE, Call, SendQueue, call_for, read_nothing
from zkservice.client.counters import ClientCounters
from zkservice.client.heartbeat import Heartbeat
from zkservice.client.protocol import Receiver, ZooKeeperProtocol
from zkservice.client.request_writer import RequestWriter
from zkservice.client.silence import Silence
from zkservice.deferreds import Alarm
from zkservice.errors import (
    AuthFailedError,
    ConnectionLossError,
    ProtocolError,
    ReplyTooLargeError,
    ServerError,
    SessionClosedRequireSaslAuthError,
)
from zkservice.wire.frames import frame
from zkservice.wire.jute import decode, encode
from zkservice.wire.records import (
    CloseSession,
    OpCode,
    RequestHeader,
    WatcherEvent,
    Xid,
)

_REPLY: Final = Struct(">iqi")  # ReplyHeader: xid, zxid, err

_PING: Final = frame(encode(RequestHeader(Xid.PING, OpCode.PING)))

#: After these codes the server closes the connection, and would do so again after a reconnect.
_CLOSING_CODES: Final = frozenset({AuthFailedError.code, SessionClosedRequireSaslAuthError.code})

# A server writes each reply separately, and reading them one by one is slow.  So if more than so
# many replies are pending and few bytes arrived, reading pauses until more have arrived.
_MANY_PENDING: Final = 100
_FEW_BYTES: Final = 0x4000
_READING_PAUSE: Final = 0.0005  # seconds

#: `silence` is measured again after this share of the session's time-out.
_MEASURE_SHARE: Final = 1 / 10

#: Watch events that are buffered while a connection is prepared.  SetWatches causes at most one
#: for each watch, so a server that sends more than this is broken.
MAX_EARLY_EVENTS: Final = 1_000_000

#: Called with a watch event and the zxid in its header, which is -1 if the server sends none.
EventReceived = Callable[[WatcherEvent, int], None]


class EventBuffer:
    """Buffers watch events until there is a receiver, then passes each on at once."""

    __slots__ = ("_early", "receiver")

    def __init__(self) -> None:
        self._early: list[tuple[WatcherEvent, int]] = []
        self.receiver: EventReceived | None = None

    def add(self, event: WatcherEvent, zxid: int) -> None:
        """Pass an event on, or buffer it.

        Raises:
            ProtocolError: there are over `MAX_EARLY_EVENTS` in the buffer.
        """
        if self.receiver is None:
            if len(self._early) >= MAX_EARLY_EVENTS:
                raise ProtocolError(
                    None, f"over {MAX_EARLY_EVENTS} watch events before the connection was ready"
                )
            self._early.append((event, zxid))
        else:
            self.receiver(event, zxid)

    def hand_to(self, receiver: EventReceived) -> None:
        """Set the receiver, and pass the buffered events to it first."""
        self.receiver = receiver
        events, self._early = self._early, []
        for event, zxid in events:
            receiver(event, zxid)


class Connection(Receiver):
    """A connection that a server has accepted a session on.

    Calls are sent in the order in which they are queued, all of one reactor turn in one
    write, and replies are matched with them in that order.

    Args:
        reactor: tells the time.
        protocol: carries the frames.
        timeout: the session's time-out in seconds, as granted by the server.
        counters: count requests and replies.
        silence: measures the time between requests and replies.
        read_only: whether the server has lost its quorum.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        protocol: ZooKeeperProtocol,
        timeout: float,
        counters: ClientCounters,
        silence: Silence,
        *,
        read_only: bool = False,
    ) -> None:
        self._protocol = protocol
        self._counters = counters
        self.silence = silence
        self.read_only = read_only
        self.last_zxid = 0
        #: The error after which the server closes the connection, if it has sent one.
        self.error: ServerError | None = None
        #: Called once when the connection is gone, before the calls that are pending fail.
        self.lost: Callable[[Failure], None] = lambda _: None
        #: Fires with None when the connection is gone and all pending calls have failed.
        self.ended: Deferred[None] = Deferred()
        #: The calls that were sent and have no reply yet.
        self.pending: deque[Call] = deque()
        self._auth: deque[Deferred[None]] = deque()
        self._events = EventBuffer()
        self._heartbeat = Heartbeat(reactor, timeout, self._ping, self._server_silent)
        self._reading_pause = Alarm(reactor, protocol.resume_reading)
        self._close_limit = Alarm(reactor, self.abort)
        self.writer = RequestWriter(
            reactor,
            protocol,
            self.pending,
            counters,
            silence,
            self._heartbeat,
            measure_every=timeout * _MEASURE_SHARE,
        )
        protocol.receiver = self

    @property
    def last_received(self) -> float:
        """The time at which bytes last arrived, in the reactor's seconds."""
        return self._heartbeat.last_received

    # -- out ------------------------------------------------------------------------

    def serve(self, queue: SendQueue, event_received: EventReceived) -> None:
        """Send the calls of a queue from now on, and pass events on, buffered ones first."""
        self.writer.queue = queue
        self._events.hand_to(event_received)
        self.writer.wake()

    def call(self, call: Call) -> Deferred[Any]:
        """Send a call that prepares the connection, before those of the queue."""
        assert call.deferred is not None
        deferred = call.deferred
        if self.writer.closed:
            call.fail(ConnectionLossError(call.path, maybe_applied=False))
        else:
            self.writer.submit(call)
        return deferred

    def authenticate(self, packet: bytes) -> Deferred[None]:
        """Add a credential to this connection, with the bytes of an `AuthPacket`.

        Its reply may arrive before earlier ones, so it is matched separately.
        """
        deferred: Deferred[None] = Deferred()
        self._auth.append(deferred)
        header = RequestHeader(Xid.AUTH, OpCode.AUTH)
        self._protocol.write(frame(encode(header) + packet))
        return deferred

    def _ping(self) -> None:
        self._counters.pings += 1
        self.silence.ping_sent()
        self._protocol.write(_PING)

    # -- in -------------------------------------------------------------------------

    @override
    def turn_began(self) -> None:
        self.writer.hold()  # requests that are made while replies are read are sent afterwards
        self._heartbeat.bytes_received()

    @override
    def turn_ended(self, size: int) -> None:
        self.writer.flush()
        few_bytes = size < _FEW_BYTES and len(self.pending) > _MANY_PENDING
        if few_bytes and not self._reading_pause.is_set:
            self._protocol.pause_reading()
            self._reading_pause.set(_READING_PAUSE)

    @override
    def frame_received(self, payload: bytes) -> None:
        if len(payload) < REPLY_HEADER_SIZE:
            raise ProtocolError(None, f"a reply of {len(payload)} bytes has no header")
        xid, zxid, err = _REPLY.unpack_from(payload)
        if xid > 0:
            pending = self.pending
            if not pending or pending[0].xid != xid:
                due = pending[0].xid if pending else "none"
                raise ProtocolError(None, f"expected the reply to request {due}, got that to {xid}")
            call = pending.popleft()
            if xid == self.silence.measured_xid:
                self.silence.reply_received()
            if zxid > 0:
                self.last_zxid = zxid
            self._counters.replied(self._heartbeat.last_received - call.sent)
            if err:
                self._refused(call, err)
            else:
                call.succeed(payload)
        else:
            self._special(xid, zxid, err, payload)

    @override
    def frame_skipped(self, head: bytes, size: int) -> None:
        """Fail the call of a reply that is too large, and keep the connection."""
        xid, zxid, _ = _REPLY.unpack(head)
        if not self.pending or self.pending[0].xid != xid:
            raise ProtocolError(
                None, f"a frame of {size} bytes, over the limit, that is not the next reply"
            )
        call = self.pending.popleft()
        if xid == self.silence.measured_xid:
            self.silence.reply_received()
        self.last_zxid = max(self.last_zxid, zxid)
        self._counters.replied(self._heartbeat.last_received - call.sent)
        call.fail(ReplyTooLargeError(call.path, size, self._protocol.limit))

    def _refused(self, call: Call, code: int) -> None:
        self._counters.refused(code)
        if code in _CLOSING_CODES:
            self._close_refused(code)
        call.refuse(code)

    def _close_refused(self, code: int) -> ServerError:
        """Close the connection, because the server refuses this client."""
        self.error = ServerError.from_code(code)
        self._protocol.lose()
        return self.error

    def _special(self, xid: int, zxid: int, err: int, payload: bytes) -> None:
        """Handle a frame that is not the reply to a numbered request."""
        if xid == Xid.NOTIFICATION:
            self._counters.events += 1
            self._events.add(decode(WatcherEvent, payload, REPLY_HEADER_SIZE), zxid)
        elif xid == Xid.PING:
            self.silence.ping_reply_received()
            if err in _CLOSING_CODES:
                self._close_refused(err)
        elif xid == Xid.AUTH and self._auth:
            self._authenticated(err)
        else:
            raise ProtocolError(None, f"an unexpected reply with the number {xid}")

    def _authenticated(self, err: int) -> None:
        deferred = self._auth.popleft()
        if err:
            self._counters.refused(err)
            deferred.errback(self._close_refused(err))
        else:
            deferred.callback(None)

    # -- the end --------------------------------------------------------------------

    def _server_silent(self) -> None:
        self._log.warn(
            "{server} did not reply to a ping and was silent for {silence:.1f} s: "
            "closing the connection",
            server=self._protocol.transport_peer,
            silence=self._heartbeat.silence(),
        )
        self._protocol.abort()

    def close_session(self, limit: float) -> None:
        """Send what is queued, then end the session; the server replies and closes the connection.

        Args:
            limit: seconds for all of it; then the connection is aborted.
        """
        self._heartbeat.stop()
        closing = call_for(CloseSession(), None, read_nothing)
        assert closing.deferred is not None
        closing.deferred.addBoth(lambda _: self._protocol.lose())
        self.writer.submit(closing)
        self._close_limit.set(limit)

    def abort(self) -> None:
        """Close the connection at once; `lost` is called as soon as the socket is closed."""
        self._protocol.abort()

    @override
    def room_changed(self, paused: bool) -> None:
        self.writer.room_changed(paused)

    @override
    def connection_lost(self, reason: Failure) -> None:
        self.writer.closed = True
        self._heartbeat.stop()
        self._reading_pause.cancel()
        self._close_limit.cancel()
        if self._events.receiver is None:
            # `serve` was not called, so the queue has only the calls of the preparation, which
            # fail.  Those in the session's queue are sent on the next connection.
            self.pending.extend(self.writer.queue.take_all())
        self.lost(reason)
        self.fail_pending(ConnectionLossError)
        self.ended.callback(None)

    def fail_pending(self, make_error: Callable[[str | None], Exception]) -> None:
        """Fail each pending call with an error of its own, because no reply will come."""
        auth, self._auth = self._auth, deque()
        pending = list(self.pending)
        self.pending.clear()
        for deferred in auth:
            deferred.errback(make_error(None))
        for call in pending:
            call.fail(make_error(call.path))
