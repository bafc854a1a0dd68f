"""One client's connection, as the server knows it: no socket, but a link to one."""

from __future__ import annotations

from struct import Struct
from typing import Final, Protocol

from zkservice.embedded.access import ConnectionIdentities
from zkservice.embedded.sasl import DigestMd5
from zkservice.embedded.sessions import Session
from zkservice.wire.watches import WatchKind

_REPLY: Final = Struct(">iiqi")  # the frame's length, then ReplyHeader
_LENGTH: Final = Struct(">i")


class Link(Protocol):
    """What carries a connection's bytes."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def close(self) -> None:
        """Hang up once they are sent."""


class RequestStats:
    """What a connection did so far, for reports.  Latencies are in whole milliseconds.

    The latency of a request is the time that the server spent on all the requests that
    came together.
    """

    __slots__ = (
        "fastest",
        "last",
        "last_opcode",
        "last_reply",
        "last_xid",
        "last_zxid",
        "received",
        "sent",
        "slowest",
        "spent",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from nothing again."""
        self.received = self.sent = 0
        self.last_opcode: int | None = None
        self.last_xid = self.last_zxid = -1
        self.last_reply = 0  # milliseconds since 1970
        self.last = self.fastest = self.slowest = self.spent = 0

    @property
    def average(self) -> float:
        """Of the latencies of all requests."""
        return self.spent / self.sent if self.sent else 0.0

    def took(self, requests: int, began: float, now: float) -> None:
        """Some requests were answered.  Times are in seconds."""
        last = int((now - began) * 1000)
        if last < self.fastest or not self.last_reply:
            self.fastest = last
        if last > self.slowest:
            self.slowest = last
        self.last = last
        self.spent += last * requests
        self.last_reply = int(now * 1000)

    def add(self, other: RequestStats) -> None:
        """Count another's, too."""
        self.received += other.received
        self.sent += other.sent
        self.spent += other.spent
        self.fastest = min(self.fastest, other.fastest)
        self.slowest = max(self.slowest, other.slowest)


class Connection:
    """A connection: who it is, its session, its watches, and what it is to be told.

    ``waiting`` is where the connection puts itself when it has something to send;
    whoever owns that calls `flush`.
    """

    __slots__ = (
        "_link",
        "_waiting",
        "closing",
        "host",
        "identities",
        "negotiation",
        "out",
        "port",
        "session",
        "since",
        "traffic",
        "watched",
    )

    def __init__(
        self,
        link: Link,
        host: str,
        port: int,
        since: float,
        identities: ConnectionIdentities,
        waiting: dict[Connection, None],
    ) -> None:
        self.host, self.port = host, port
        self.since = since
        self.identities = identities
        self.session: Session | None = None
        self.watched: dict[tuple[WatchKind, str], None] = {}
        self.closing = False
        #: The SASL exchange, if there was one.
        self.negotiation: DigestMd5 | None = None
        self.traffic = RequestStats()
        self.out = bytearray()
        self._link = link
        self._waiting = waiting

    def send(self, payload: bytes) -> None:
        """Send one frame."""
        self._wait()
        self.out += _LENGTH.pack(len(payload))
        self.out += payload

    def reply(self, xid: int, zxid: int, body: bytes = b"") -> None:
        """Answer a request that was carried out."""
        out = self.out
        if not out:
            self._waiting[self] = None
        out += _REPLY.pack(16 + len(body), xid, zxid, 0)
        out += body
        self.traffic.sent += 1

    def reply_error(self, xid: int, zxid: int, code: int, body: bytes = b"") -> None:
        """Answer a request that was not."""
        self._wait()
        self.out += _REPLY.pack(16 + len(body), xid, zxid, code)
        self.out += body
        self.traffic.sent += 1

    def notify(self, zxid: int, event: bytes) -> None:
        """Tell of a watch event: a `WatcherEvent`, encoded."""
        self._wait()
        self.out += _REPLY.pack(16 + len(event), -1, zxid, 0)
        self.out += event

    def close(self) -> None:
        """Say what is still to be said, then hang up."""
        self.closing = True
        self._waiting[self] = None

    def flush(self) -> None:
        """Send what was put together; hang up if it is time to."""
        if self.out:
            data = bytes(self.out)
            self.out.clear()
            self._link.write(data)
        if self.closing:
            self._link.close()

    def _wait(self) -> None:
        self._waiting[self] = None
