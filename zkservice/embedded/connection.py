"""One client's connection, as the server knows it: no socket, but a link to one."""

from __future__ import annotations

from struct import Struct
from typing import Final, Protocol

from zkservice.embedded.access import Identities
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


class Traffic:
    """What a connection did so far, for reports."""

    __slots__ = ("last_opcode", "last_xid", "last_zxid", "received", "sent")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from nothing again."""
        self.received = self.sent = 0
        self.last_opcode: int | None = None
        self.last_xid = self.last_zxid = -1


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
        identities: Identities,
        waiting: dict[Connection, None],
    ) -> None:
        self.host, self.port = host, port
        self.since = since
        self.identities = identities
        self.session: Session | None = None
        self.watched: dict[tuple[WatchKind, str], None] = {}
        self.closing = False
        self.negotiation: object = None
        self.traffic = Traffic()
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
