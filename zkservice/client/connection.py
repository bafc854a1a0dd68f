"""One connection after its handshake: requests in order, replies, pings, the read time-out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.client.calls import BODY, Call, Waiting, call_for, nothing
from zkservice.client.counters import Counters
from zkservice.client.protocol import Receiver, ZooKeeperProtocol
from zkservice.client.silence import Silence
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
_REQUEST: Final = Struct(">iii")  # length, and RequestHeader: xid, type
_LAST_XID: Final = 2**31 - 1

_PING: Final = frame(encode(RequestHeader(Xid.PING, OpCode.PING)))

#: After these codes the server hangs up, and the next connection would fare no better.
_HANGS_UP: Final = frozenset({AuthFailedError.code, SessionClosedRequireSaslAuthError.code})

#: Bytes handed to the transport in one go; it says afterwards whether it wants more.
_WRITE_SIZE: Final = 0x40000

# A server writes each reply by itself.  Reading them one by one would cost more than they
# are worth, so when more than so many are due, and few bytes came, we let some gather.
_MANY: Final = 100
_MUCH: Final = 0x4000  # bytes
_REST: Final = 0.0005  # seconds

# ClientCnxn: a silence of 2/3 of the session's time-out is a dead connection; one ping
# every third keeps a living one from being silent.  So we ask after a third, and give the
# server another to answer: also when we ask late, because we were busy ourselves.
_THIRD: Final = 1 / 3

#: Of the session's time-out: so often it is measured what the server has heard.
_TENTH: Final = 1 / 10

#: Is handed a watch event, and the zxid in its header, -1 if the server sends none.
EventReceived = Callable[[WatcherEvent, int], None]


class Connection(Receiver):
    """A connection that a server has accepted a session on.

    Calls are sent in the order in which they are in `waiting`, all of one reactor turn in
    one write, and replies are matched with them in that order.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        protocol: ZooKeeperProtocol,
        timeout: float,
        counters: Counters,
        silence: Silence,
        *,
        max_reply: int,
        read_only: bool = False,
    ) -> None:
        """Begin to read a connection.

        Args:
            reactor: tells the time.
            protocol: carries the frames.
            timeout: of the session, in seconds, as the server has it.
            counters: are counted up.
            silence: is told of requests and answers.
            max_reply: the protocol's limit, in bytes.
            read_only: the server has lost its quorum.
        """
        self._reactor = reactor
        self._protocol = protocol
        self._counters = counters
        self.silence = silence
        self._timeout = timeout
        self._max_reply = max_reply
        self.read_only = read_only
        self.last_zxid = 0
        #: Why the server is about to hang up, if it has said so.
        self.error: ServerError | None = None
        #: Called once when the connection is gone, before the calls that are pending fail.
        self.lost: Callable[[Failure], None] = lambda _: None
        #: Fires, with None, when it is gone and all that were waiting for it know.
        self.ended: Deferred[None] = Deferred()
        self.pending: deque[Call] = deque()
        self._waiting = Waiting()
        self._auth: deque[Deferred[None]] = deque()
        self._event_received: EventReceived | None = None
        self._early_events: list[tuple[WatcherEvent, int]] = []
        self._xid = 0
        self._awake = False  # a flush is due at the end of this turn
        self._paused = False
        self._gone = False
        self.heard = self._spoke = self._pinged = reactor.seconds()
        self._came = 0  # bytes in this turn
        self._rest: IDelayedCall | None = None
        self._beat: IDelayedCall | None = None
        self._beat_due = 0.0
        protocol.receiver = self
        self._schedule_beat()

    # -- out ------------------------------------------------------------------------

    def wake(self) -> None:
        """There are calls waiting: send them at the end of this turn."""
        if not self._awake:
            self._awake = True
            self._reactor.callLater(0, self._flush)

    def serve(self, waiting: Waiting, event_received: EventReceived) -> None:
        """From now on send these calls, and hand events on, those that came before first."""
        self._waiting = waiting
        self._event_received = event_received
        events, self._early_events = self._early_events, []
        for event, zxid in events:
            event_received(event, zxid)
        self.wake()

    def call(self, call: Call) -> Deferred[Any]:
        """Send one call of our own."""
        assert call.deferred is not None
        deferred = call.deferred
        if self._gone:
            call.fail(ConnectionLossError(call.path, maybe_applied=False))
        else:
            self._waiting.append(call)
            self.wake()
        return deferred

    def authenticate(self, packet: bytes) -> Deferred[None]:
        """Add an identity to this connection, with the bytes of an `AuthPacket`.

        Its reply may overtake others, so it has an order of its own.
        """
        deferred: Deferred[None] = Deferred()
        self._auth.append(deferred)
        header = RequestHeader(Xid.AUTH, OpCode.AUTH)
        self._protocol.write(frame(encode(header) + packet))
        return deferred

    def _flush(self) -> None:
        self._awake = False
        if self._paused or self._gone:
            return
        calls = self._waiting.calls
        while calls and not self._paused:
            self._write_some(calls)

    def _write_some(self, calls: deque[Call]) -> None:
        """Write what is waiting, or a portion of it if that is very much."""
        now = self._reactor.seconds()
        out: list[bytes] = []
        size, xid = 0, self._xid
        pending, pack = self.pending, _REQUEST.pack
        while calls and size < _WRITE_SIZE:
            call = calls.popleft()
            if call.deferred is None:
                continue  # cancelled before it was sent
            xid = 1 if xid == _LAST_XID else xid + 1
            payload = call.payload
            length = len(payload)
            call.xid, call.sent, call.payload = xid, now, b""
            out += (pack(length + 8, xid, call.opcode), payload)
            size += length
            pending.append(call)
        self._counters.requests += (xid - self._xid) % _LAST_XID
        self._xid = xid
        if out:
            silence = self.silence
            if not silence.xid and abs(now - silence.measured) > self._timeout * _TENTH:
                silence.asked(xid, now)
            self._spoke = now
            self._protocol.write(b"".join(out))

    # -- in -------------------------------------------------------------------------

    @override
    def turn_began(self, size: int) -> None:
        self._awake = True  # whatever is asked for while we read goes out afterwards
        self._came = size
        self.heard = self._reactor.seconds()

    @override
    def turn_ended(self) -> None:
        self._flush()
        if self._came < _MUCH and len(self.pending) > _MANY and self._rest is None:
            self._protocol.rest()
            self._rest = self._reactor.callLater(_REST, self._read_on)

    def _read_on(self) -> None:
        self._rest = None
        self._protocol.read_on()

    @override
    def frame_received(self, payload: bytes) -> None:
        if len(payload) < BODY:
            raise ProtocolError(None, f"a reply of {len(payload)} bytes has no header")
        xid, zxid, err = _REPLY.unpack_from(payload)
        if xid > 0:
            pending = self.pending
            if not pending or pending[0].xid != xid:
                due = pending[0].xid if pending else "none"
                raise ProtocolError(None, f"the reply to request {xid}; due was {due}")
            call = pending.popleft()
            if xid == self.silence.xid:
                self.silence.answered()
            if zxid > 0:
                self.last_zxid = zxid
            self._counters.replied(self.heard - call.sent)
            if err:
                self._refused(call, err)
            else:
                call.succeed(payload)
        else:
            self._special(xid, zxid, err, payload)

    @override
    def frame_skipped(self, head: bytes, size: int) -> None:
        """A reply that is too large costs its call, not the connection."""
        xid, zxid, _ = _REPLY.unpack(head)
        if not self.pending or self.pending[0].xid != xid:
            raise ProtocolError(None, f"a frame of {size} bytes that is no reply")
        call = self.pending.popleft()
        if xid == self.silence.xid:
            self.silence.answered()
        self.last_zxid = max(self.last_zxid, zxid)
        self._counters.replied(self.heard - call.sent)
        call.fail(ReplyTooLargeError(call.path, size, self._max_reply))

    def _refused(self, call: Call, code: int) -> None:
        self._counters.refused(code)
        if code in _HANGS_UP:
            self._turned_away(code)
        call.refuse(code)

    def _turned_away(self, code: int) -> ServerError:
        """The server wants no more of us and hangs up; if it does not, we do."""
        self.error = ServerError.from_code(code)
        self._protocol.lose()
        return self.error

    def _special(self, xid: int, zxid: int, err: int, payload: bytes) -> None:
        """A frame that is no reply to a numbered request."""
        if xid == Xid.NOTIFICATION:
            self._counters.events += 1
            event = decode(WatcherEvent, payload, BODY)
            if self._event_received is None:
                self._early_events.append((event, zxid))
            else:
                self._event_received(event, zxid)
        elif xid == Xid.PING:
            self.silence.ping_answered()
            if err in _HANGS_UP:
                self._turned_away(err)
        elif xid == Xid.AUTH and self._auth:
            self._authenticated(err)
        else:
            raise ProtocolError(None, f"a reply with the number {xid}, which was not asked for")

    def _authenticated(self, err: int) -> None:
        deferred = self._auth.popleft()
        if err:
            self._counters.refused(err)
            deferred.errback(self._turned_away(err))
        else:
            deferred.callback(None)

    # -- the heart beat -------------------------------------------------------------

    def _schedule_beat(self) -> None:
        """Look again when the next ping is due, or the answer to the last one."""
        now = self._reactor.seconds()
        since = self._pinged if self._unanswered else min(self._spoke, self.heard)
        delay = max(0.0, since + self._timeout * _THIRD - now)
        self._beat_due = now + delay
        self._beat = self._reactor.callLater(delay, self._check)

    @property
    def _unanswered(self) -> bool:
        """Whether nothing has come since the last ping."""
        return self._pinged > self.heard

    def _check(self) -> None:
        """Ping if either side was silent for a third; hang up if that is not answered."""
        third = self._timeout * _THIRD
        now = self._reactor.seconds()
        # So late were we stopped ourselves, perhaps with the whole machine: ask anew.
        stopped = now - self._beat_due > third
        if self._unanswered and not stopped and now >= self._pinged + third:
            # What came while we were busy is read before the next call.
            self._beat = self._reactor.callLater(0, self._leave)
            return
        if stopped or now >= min(self._spoke, self.heard) + third:
            self._spoke = self._pinged = now
            self._counters.pings += 1
            self.silence.pinged()
            self._protocol.write(_PING)
        self._schedule_beat()

    def _leave(self) -> None:
        """Hang up, unless there was an answer at the last moment."""
        if not self._unanswered:
            self._schedule_beat()
            return
        self._log.warn(
            "{server} was silent for {silence:.1f} s: leaving it",
            server=self._protocol.transport_peer,
            silence=self._reactor.seconds() - self.heard,
        )
        self._beat = None
        self._protocol.abort()

    def _stop_beat(self) -> None:
        if self._beat is not None and self._beat.active():
            self._beat.cancel()
        self._beat = None

    # -- the end --------------------------------------------------------------------

    def say_goodbye(self) -> None:
        """Send what waits, then end the session; the server answers and hangs up."""
        self._stop_beat()
        goodbye = call_for(CloseSession(), None, nothing)
        assert goodbye.deferred is not None
        goodbye.deferred.addBoth(lambda _: self._protocol.lose())
        self._waiting.append(goodbye)
        self.wake()

    def abort(self) -> None:
        """Hang up at once; `lost` is called as soon as the socket is closed."""
        self._protocol.abort()

    @override
    def room_changed(self, paused: bool) -> None:
        self._paused = paused
        if not paused and self._waiting.calls:
            self.wake()

    @override
    def connection_lost(self, reason: Failure) -> None:
        self._gone = True
        self._stop_beat()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._event_received is None:  # what waits is ours, not the session's
            self.pending.extend(self._waiting.take_all())
        self.lost(reason)
        self.fail_pending(ConnectionLossError)
        self.ended.callback(None)

    def fail_pending(self, make_error: Callable[[str | None], Exception]) -> None:
        """Nobody answers these any more: each fails with an error of its own."""
        auth, self._auth = self._auth, deque()
        pending, self.pending = self.pending, deque()
        for deferred in auth:
            deferred.errback(make_error(None))
        for call in pending:
            call.fail(make_error(call.path))
