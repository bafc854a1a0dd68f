"""Send the same requests to two servers, and compare their replies and events."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from struct import unpack
from typing import Any, NamedTuple, Protocol

from tests.embedded.raw_client import Multi, RawClient, framed
from zkservice.embedded import ZooKeeperServer
from zkservice.wire import multi
from zkservice.wire.jute import decode, encode
from zkservice.wire.records import ConnectRequest, ConnectResponse, Ping, Stat, WatcherEvent, Xid


class Line(Protocol):
    """A connection to a server: frames out, frames in."""

    def send(self, data: bytes) -> None:
        """Send bytes."""

    def frames(self) -> list[bytes]:
        """The frames that came; waits for one if it must."""


class SocketLine:
    """A connection over TCP, with a bound on every wait."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._data = b""

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def frames(self) -> list[bytes]:
        """The frames that came; waits for one.

        Raises:
            EOFError: The server closed the connection.
        """
        found: list[bytes] = []
        while not found:
            while len(self._data) >= 4:
                (size,) = unpack(">i", self._data[:4])
                if len(self._data) < 4 + size:
                    break
                found.append(self._data[4 : 4 + size])
                self._data = self._data[4 + size :]
            if not found:
                chunk = self._socket.recv(65536)
                if not chunk:
                    raise EOFError
                self._data += chunk
        return found

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class ServerMessage(NamedTuple):
    """A message of a server, in a form that can be compared with that of another server."""

    kind: str
    xid: int
    zxid: int
    err: int
    body: Any


class RecordedClient:
    """One client of one server."""

    def __init__(self, line: Line, number: int) -> None:
        self._line = line
        self.number = number
        line.send(framed(encode(ConnectRequest(0, 0, 10_000, 0, bytes(16), False))))
        self.session_id = decode(ConnectResponse, line.frames()[0]).session_id
        self.xid = 0

    def ask(self, record: Any) -> Iterator[tuple[int, int, int, bytes]]:
        """Send a request; all that comes up to its reply, as header fields and body."""
        if isinstance(record, Ping):
            xid = int(Xid.PING)
        else:
            self.xid += 1
            xid = self.xid
        body = record.body if isinstance(record, Multi) else encode(record)
        opcode = record.opcode
        self._line.send(framed(xid.to_bytes(4, "big", signed=True) + _int(opcode) + body))
        while True:
            for frame in self._line.frames():
                got, zxid, err = unpack(">iqi", frame[:16])
                yield got, zxid, err, frame[16:]
                if got == xid:
                    return


class Server:
    """One server with some clients; every message between them is recorded."""

    def __init__(self, lines: Sequence[Line], *, event_zxids: bool = False) -> None:
        self._event_zxids = event_zxids
        self._clients = [RecordedClient(line, number) for number, line in enumerate(lines)]
        self._owners = {client.session_id: client.number for client in self._clients}
        # Transactions are counted from here.
        self._base = next(zxid for _, zxid, _, _ in self._clients[0].ask(Ping()))

    def exchange(self, number: int, record: Any) -> list[list[ServerMessage]]:
        """Send a request of one client; return what each client has received by its reply."""
        received: list[list[ServerMessage]] = []
        sender = self._clients[number]
        first = [self._comparable(record, *what) for what in sender.ask(record)]
        for client in self._clients:
            if client is sender:
                received.append(first)
            else:  # the ping shows that nothing more is on its way
                received.append([self._comparable(Ping(), *what) for what in client.ask(Ping())])

        return received

    def _comparable(self, record: Any, xid: int, zxid: int, err: int, body: bytes) -> ServerMessage:
        if xid == Xid.NOTIFICATION:
            number = 0
            if self._event_zxids:  # -1 from servers before 3.9
                number = self._zxid(zxid) if zxid > 0 else zxid
            return ServerMessage("event", xid, number, err, decode(WatcherEvent, body))
        zxid = zxid - self._base if zxid else 0
        if err:
            return ServerMessage("error", xid, zxid, err, body)
        if isinstance(record, Multi):
            return ServerMessage("reply", xid, zxid, err, self._plain(multi.decode_results(body)))
        return ServerMessage("reply", xid, zxid, err, self._plain(decode(record.reply, body)))

    def _plain(self, value: Any) -> Any:
        """The value without what differs from run to run."""
        if isinstance(value, Stat):
            return value._replace(
                czxid=self._zxid(value.czxid),
                mzxid=self._zxid(value.mzxid),
                pzxid=self._zxid(value.pzxid),
                ctime=0,
                mtime=0,
                ephemeral_owner=self._owners.get(value.ephemeral_owner, value.ephemeral_owner),
            )
        if isinstance(value, list):
            plain = [self._plain(one) for one in value]
            return sorted(plain) if plain and isinstance(plain[0], str) else plain
        if is_dataclass(value) and not isinstance(value, type):
            return (
                type(value).__name__,
                {field.name: self._plain(getattr(value, field.name)) for field in fields(value)},
            )
        return value

    def _zxid(self, zxid: int) -> int:
        return zxid - self._base if zxid else 0


def _int(number: int) -> bytes:
    return int(number).to_bytes(4, "big", signed=True)


def embedded_lines(server: ZooKeeperServer, count: int) -> list[Line]:
    """Connections to an embedded server, without a socket."""
    return [RawClient(server) for _ in range(count)]
