"""Number the calls of one connection and write them, all of one reactor turn at once."""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final

from twisted.internet.interfaces import IReactorTime

from zkservice.client.calls import Call, SendQueue
from zkservice.client.counters import ClientCounters
from zkservice.client.heartbeat import Heartbeat
from zkservice.client.protocol import ZooKeeperProtocol
from zkservice.client.silence import Silence

_REQUEST: Final = Struct(">iii")  # length, and RequestHeader: xid, type
_LAST_XID: Final = 2**31 - 1

#: Bytes handed to the transport in one write; afterwards it may pause the writer.
_WRITE_SIZE: Final = 0x40000


class RequestWriter:
    """Moves calls from a queue to the transport, in their order.

    Args:
        reactor: calls back at the end of the turn, and tells the time.
        protocol: carries the bytes.
        pending: receives each call that was written; its reply is due in this order.
        counters: are counted up.
        silence: measures how old the latest answered request is.
        heartbeat: notes when bytes were sent.
        measure_every: seconds between two requests that ``silence`` measures.
    """

    __slots__ = (
        "_counters",
        "_flush_due",
        "_heartbeat",
        "_last_xid",
        "_measure_every",
        "_paused",
        "_pending",
        "_protocol",
        "_reactor",
        "_silence",
        "closed",
        "queue",
    )

    def __init__(
        self,
        reactor: IReactorTime,
        protocol: ZooKeeperProtocol,
        pending: deque[Call],
        counters: ClientCounters,
        silence: Silence,
        heartbeat: Heartbeat,
        *,
        measure_every: float,
    ) -> None:
        self._reactor = reactor
        self._protocol = protocol
        self._pending = pending
        self._counters = counters
        self._silence = silence
        self._heartbeat = heartbeat
        self._measure_every = measure_every
        self._last_xid = 0
        self._flush_due = False
        self._paused = False
        self.queue = SendQueue()  #: whose calls are sent; may be replaced by another one
        self.closed = False  #: the connection is gone: nothing is sent any more

    def wake(self) -> None:
        """Send what is in the queue at the end of this turn."""
        if not self._flush_due:
            self._flush_due = True
            self._reactor.callLater(0, self.flush)

    def hold(self) -> None:
        """Let calls gather until the caller calls `flush`, instead of at the end of this turn."""
        self._flush_due = True

    def submit(self, call: Call) -> None:
        """Send a call after those that are in the queue."""
        self.queue.append(call)
        self.wake()

    def room_changed(self, paused: bool) -> None:
        """The transport's buffer is full (True), or has room again."""
        self._paused = paused
        if not paused and self.queue.calls:
            self.wake()

    def flush(self) -> None:
        """Send what is in the queue now, as far as the transport has room."""
        self._flush_due = False
        if self._paused or self.closed:
            return
        calls = self.queue.calls
        while calls and not self._paused:
            self._write_some(calls)

    def _write_some(self, calls: deque[Call]) -> None:
        """Write the calls that are waiting, up to about `_WRITE_SIZE` bytes of them."""
        now = self._reactor.seconds()
        out: list[bytes] = []
        size, xid = 0, self._last_xid
        pending, pack = self._pending, _REQUEST.pack
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
        self._counters.requests += (xid - self._last_xid) % _LAST_XID
        self._last_xid = xid
        if out:
            silence = self._silence
            if not silence.measured_xid and abs(now - silence.last_measured) > self._measure_every:
                silence.request_sent(xid, now)
            self._heartbeat.last_sent = now
            self._protocol.write(b"".join(out))
