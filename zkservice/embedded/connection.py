"""A client's connection and its session, as the server sees them, without a socket."""

from __future__ import annotations

from struct import Struct
from typing import Final, Protocol

from zkservice.embedded.access import ConnectionIdentities
from zkservice.embedded.sasl import DigestMd5
from zkservice.wire.watches import WatchKind

_REPLY: Final = Struct(">iiqi")  # the frame's length, then ReplyHeader
_LENGTH: Final = Struct(">i")


class ConnectionTransport(Protocol):
    """Carries the bytes of a connection."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def close(self) -> None:
        """Close once everything is sent."""


class RequestStats:
    """Requests, replies and latencies, for reports.  Latencies are in whole milliseconds.

    The latency of a request is the time that the server spent on all requests that
    arrived together with it.
    """

    __slots__ = (
        "last_latency",
        "last_opcode",
        "last_reply",
        "last_xid",
        "last_zxid",
        "max_latency",
        "min_latency",
        "received",
        "sent",
        "total_latency",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start counting from zero again."""
        self.received = self.sent = 0
        self.last_opcode: int | None = None
        self.last_xid = self.last_zxid = -1
        self.last_reply = 0  # milliseconds since 1970
        self.last_latency = self.min_latency = self.max_latency = self.total_latency = 0

    @property
    def average(self) -> float:
        """The mean latency of all requests."""
        return self.total_latency / self.sent if self.sent else 0.0

    def record(self, requests: int, began: float, now: float) -> None:
        """Add requests that were served together.

        Args:
            requests: their number.
            began: when the server began with the first one, in seconds since 1970.
            now: when all of them had their replies.
        """
        latency = int((now - began) * 1000)
        if latency < self.min_latency or not self.last_reply:
            self.min_latency = latency
        if latency > self.max_latency:
            self.max_latency = latency
        self.last_latency = latency
        self.total_latency += latency * requests
        self.last_reply = int(now * 1000)

    def add(self, other: RequestStats) -> None:
        """Add the totals of another connection."""
        self.received += other.received
        self.sent += other.sent
        self.total_latency += other.total_latency
        if other.last_reply:  # else it has no latency, and its ``min_latency`` of 0 means nothing
            fastest = min(self.min_latency, other.min_latency)
            self.min_latency = fastest if self.last_reply else other.min_latency
            self.max_latency = max(self.max_latency, other.max_latency)
            self.last_reply = max(self.last_reply, other.last_reply)


class Session:
    """One client's session.  It outlives its connection by up to ``timeout`` seconds."""

    __slots__ = ("bucket", "connection", "id", "local", "timeout")

    def __init__(self, id: int, timeout: float, *, local: bool = False) -> None:
        self.id = id
        self.timeout = timeout
        #: When it expires, counted in ticks of the server.
        self.bucket = 0
        #: None while the client is not connected.
        self.connection: Connection | None = None
        #: Created by a read-only server: it is not a transaction, and is never saved.
        self.local = local


class Connection:
    """One client's connection: its identities, session, watches and unsent bytes.

    Args:
        transport: carries its bytes.
        host: the client's address; ``port`` is the client's port.
        connected_at: seconds since 1970.
        identities: what ACLs are checked against.
        unflushed: where the connection adds itself when it has something to send.  The owner
            of the dict calls `flush`.
    """

    __slots__ = (
        "_transport",
        "_unflushed",
        "closing",
        "connected_at",
        "host",
        "identities",
        "out",
        "port",
        "sasl",
        "session",
        "stats",
        "watched",
    )

    def __init__(
        self,
        transport: ConnectionTransport,
        host: str,
        port: int,
        connected_at: float,
        identities: ConnectionIdentities,
        unflushed: dict[Connection, None],
    ) -> None:
        self.host, self.port = host, port
        self.connected_at = connected_at
        self.identities = identities
        self.session: Session | None = None
        #: What the connection watches, in the order of the requests.
        self.watched: dict[tuple[WatchKind, str], None] = {}
        #: Whether the server closes it after the bytes in ``out``.
        self.closing = False
        #: The SASL exchange, once the client began one.
        self.sasl: DigestMd5 | None = None
        self.stats = RequestStats()
        self.out = bytearray()
        self._transport = transport
        self._unflushed = unflushed

    def send(self, payload: bytes) -> None:
        """Send one frame."""
        self._unflushed[self] = None
        self.out += _LENGTH.pack(len(payload))
        self.out += payload

    def reply(self, xid: int, zxid: int, body: bytes = b"") -> None:
        """Reply to a request that succeeded."""
        out = self.out
        if not out:
            self._unflushed[self] = None
        out += _REPLY.pack(16 + len(body), xid, zxid, 0)
        out += body
        self.stats.sent += 1

    def reply_error(self, xid: int, zxid: int, code: int, body: bytes = b"") -> None:
        """Reply to a request that failed."""
        self._unflushed[self] = None
        self.out += _REPLY.pack(16 + len(body), xid, zxid, code)
        self.out += body
        self.stats.sent += 1

    def notify(self, zxid: int, event: bytes) -> None:
        """Send a watch event: an encoded `WatcherEvent`."""
        self._unflushed[self] = None
        self.out += _REPLY.pack(16 + len(event), -1, zxid, 0)
        self.out += event

    def close(self) -> None:
        """Close the connection with the next `flush`, after what is already in ``out``."""
        self.closing = True
        self._unflushed[self] = None

    def flush(self) -> None:
        """Send the bytes in ``out``; then close the transport if the connection is closing."""
        if self.out:
            data = bytes(self.out)
            self.out.clear()
            self._transport.write(data)
        if self.closing:
            self._transport.close()
