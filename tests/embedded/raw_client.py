"""A minimal client for tests of the server: frames in, frames out, no socket."""

from __future__ import annotations

from struct import pack, unpack
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from typing_extensions import override

from zkservice.embedded import ZooKeeperServer
from zkservice.wire import multi
from zkservice.wire.acl import OPEN_ACL_UNSAFE
from zkservice.wire.jute import decode, encode
from zkservice.wire.records import (
    AuthPacket,
    ConnectRequest,
    ConnectResponse,
    CreateRequest,
    OpCode,
    Ping,
    WatcherEvent,
    Xid,
)

#: Seconds since 1970 at which the tests' clocks start.
NOON = 1_790_000_000.0


class Transport(StringTransportWithDisconnection):
    """A transport that disconnects at once, and counts the writes."""

    def __init__(self, peerAddress: IPv4Address) -> None:  # noqa: N803 - Twisted's name
        super().__init__(peerAddress=peerAddress)
        self.writes = 0

    @override
    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """As TCP transports can."""


class Reply(NamedTuple):
    """A reply: its header, and its body as a record (None if there is an error)."""

    xid: int
    zxid: int
    err: int
    body: Any


def started(clock: Clock | None = None, **options: Any) -> tuple[ZooKeeperServer, Clock]:
    """A server that runs on a clock of its own."""
    if clock is None:
        clock = Clock()
        clock.rightNow = NOON
    server = ZooKeeperServer(clock, secret=b"secret", **options)
    server.start()
    return server, clock


class RawClient:
    """One connection to a server."""

    def __init__(self, server: ZooKeeperServer, host: str = "127.0.0.1") -> None:
        peer = IPv4Address("TCP", host, 54321)
        self.transport = Transport(peerAddress=peer)
        self.protocol = server.factory.buildProtocol(peer)
        assert self.protocol is not None
        self.transport.protocol = self.protocol
        self.xid = 0
        self.events: list[WatcherEvent] = []
        self.event_zxids: list[int] = []
        self.protocol.makeConnection(self.transport)

    @property
    def connected(self) -> bool:
        """Whether the server has not closed the connection."""
        return self.transport.connected

    def send(self, data: bytes) -> None:
        """Send bytes."""
        assert self.protocol is not None
        self.protocol.dataReceived(data)

    def read(self) -> bytes:
        """All bytes that came."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def frames(self) -> list[bytes]:
        """All frames that came, events too."""
        data, found = self.read(), []
        while data:
            (size,) = unpack(">i", data[:4])
            found.append(data[4 : 4 + size])
            data = data[4 + size :]
        return found

    def hello(
        self,
        timeout: int = 6000,
        session_id: int = 0,
        password: bytes | None = bytes(16),
        last_zxid: int = 0,
        read_only: bool | None = False,
    ) -> ConnectResponse:
        """Do the handshake; fails without a reply."""
        request = ConnectRequest(0, last_zxid, timeout, session_id, password, read_only)
        self.send(framed(encode(request)))
        (frame,) = self.frames()
        return decode(ConnectResponse, frame)

    def request(self, record: Any, xid: int | None = None) -> bytes:
        """The frame of a request; by default with the next number."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        body = record.body if isinstance(record, Multi) else encode(record)
        return framed(pack(">ii", xid, record.opcode) + body)

    def call(self, record: Any, xid: int | None = None) -> Reply:
        """Send one request and read its reply; events before it go to `events`."""
        self.send(self.request(record, xid))
        replies = self.replies([record])
        assert len(replies) == 1, replies
        return replies[0]

    def replies(self, records: list[Any]) -> list[Reply]:
        """The replies to requests that were sent; events among them go to `events`."""
        waiting, found = list(records), []
        for frame in self.frames():
            xid, zxid, err = unpack(">iqi", frame[:16])
            if xid == Xid.NOTIFICATION:
                self.events.append(decode(WatcherEvent, frame, 16))
                self.event_zxids.append(zxid)
                continue
            record = waiting.pop(0)
            body: Any = None
            if isinstance(record, Multi):
                body = multi.decode_results(frame, 16) if not err else None
            elif not err:
                body = decode(record.reply, frame, 16)
            found.append(Reply(xid, zxid, err, body))
        return found

    def told(self) -> list[tuple[int, str]]:
        """The events that came since the last time: type and path."""
        self.replies([])
        events, self.events = self.events, []
        return [(event.type, event.path) for event in events]

    def lose(self) -> None:
        """Break the connection."""
        self.transport.loseConnection()

    # -- what tests say most often

    def create(self, path: str, data: bytes | None = b"", flags: int = 0, acl: Any = None) -> Reply:
        """Create a node, open to all."""
        acl = list(OPEN_ACL_UNSAFE) if acl is None else acl
        return self.call(CreateRequest(path, data, acl, flags))

    def ping(self) -> Reply:
        """Say that we are here."""
        return self.call(Ping(), Xid.PING)

    def authenticate(self, scheme: str, credential: bytes | None) -> Reply:
        """Add an identity."""
        return self.call(AuthPacket(0, scheme, credential), Xid.AUTH)


class Multi:
    """A transaction, to be used like a request record."""

    def __init__(self, *operations: Any, opcode: OpCode = OpCode.MULTI) -> None:
        self.opcode = opcode
        self.operations = operations
        self.body = multi.encode_requests(operations)

    @override
    def __repr__(self) -> str:
        return f"Multi{self.operations!r}"


def framed(payload: bytes) -> bytes:
    """The payload with its length in front."""
    return pack(">i", len(payload)) + payload


def connected_client(server: ZooKeeperServer, **hello: Any) -> RawClient:
    """A client that has a session."""
    one = RawClient(server)
    one.hello(**hello)
    return one
