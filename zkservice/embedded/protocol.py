"""Bytes between a transport and the server; what they mean is decided elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, cast

from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.embedded.connection import Connection
from zkservice.errors import FrameSizeError
from zkservice.wire.frames import Framer

if TYPE_CHECKING:
    from zkservice.embedded.server import ZooKeeperServer

_WORD: Final = 4  # bytes of a four-letter word

#: Frames of the largest size that may wait for a client that does not read.  It gets no
#: answers then, but what it watches makes events all the time.
MOST_UNREAD: Final = 16


class StreamTransport(ITCPTransport, IConsumer, IPushProducer):
    """What a stream transport has: TCP, TLS and UNIX sockets alike."""


@implementer(IPushProducer)
class ServerProtocol(Protocol):
    """One connection: a four-letter word, or a handshake and requests.

    It is the `Link` of its `Connection`; and it is the transport's producer, because
    what it sends are answers: a client that does not read them is not read either.
    """

    def __init__(self, server: ZooKeeperServer) -> None:
        self._server = server
        self._framer = Framer(server.settings.max_frame)
        self._connection: Connection | None = None
        self._beginning: bytes | None = b""  # until it is no four-letter word
        self._producing = True
        self._unread = 0  # bytes written since the transport had no more room
        #: Requests that wait until there is room for their answers.
        self._backlog: Iterator[bytes] | None = None

    @property
    def _transport(self) -> StreamTransport:
        return cast(StreamTransport, self.transport)

    @override
    def connectionMade(self) -> None:
        transport = self._transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        peer = transport.getPeer()
        host, port = getattr(peer, "host", "unix"), getattr(peer, "port", 0)
        self._connection = self._server.connected(self, host, port)

    @override
    def dataReceived(self, data: bytes) -> None:
        connection = self._connection
        if connection is None or connection.closing:
            return
        if self._beginning is not None:
            data = self._beginning + data
            if len(data) < _WORD:
                self._beginning = data
                return
            self._beginning = None
            if self._server.say(connection, data[:_WORD]):
                return
        frames = self._framer.feed(data)
        if self._backlog is None:
            self._serve(connection, frames)
        else:
            self._backlog = chain(self._backlog, frames)

    def go_on(self) -> None:
        """Serve what waits, if there is room for the answers."""
        connection, frames = self._connection, self._backlog
        if connection is None or connection.closing or frames is None or self._blocked:
            return
        self._backlog = None
        self._serve(connection, frames)
        if self._backlog is None:
            self._let_flow()

    def _serve(self, connection: Connection, frames: Iterator[bytes]) -> None:
        """Serve requests until there is no more room for their answers.

        A few bytes can ask for megabytes, so it is not enough to stop reading then.
        """
        try:
            while not self._server.received(connection, frames):
                if connection.out or self._blocked:
                    self._backlog = frames
                    self._let_flow()
                    return
        except FrameSizeError:
            connection.close()
            self._server.flush()

    @property
    def _blocked(self) -> bool:
        return not self._producing or self._server.paused

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        connection, self._connection = self._connection, None
        self._backlog = None
        self._server.lost(self, connection)

    # -- Link

    def write(self, data: bytes) -> None:
        """Send bytes; hang up on a client that lets too many of them pile up."""
        if not self._producing:
            self._unread += len(data)
            if self._unread > MOST_UNREAD * self._server.settings.max_frame:
                return self.abort()
        self._transport.write(data)

    def close(self) -> None:
        """Hang up once all is sent."""
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def abort(self) -> None:
        """Hang up at once."""
        self._transport.abortConnection()

    # -- IPushProducer: the client reads too slowly, or fast enough again

    def pauseProducing(self) -> None:
        """Read no more requests: their answers would only pile up."""
        self._producing = False
        self._let_flow()

    def resumeProducing(self) -> None:
        """Read again."""
        self._producing = True
        self._unread = 0
        if self._connection is not None:
            self._server.heard_of(self._connection)  # it reads, so it is there
        self._let_flow()
        self.go_on()

    def stopProducing(self) -> None:
        """The connection is going; `connectionLost` sees to it."""

    def server_paused(self) -> None:
        """The whole server was paused or resumed."""
        self._let_flow()
        self.go_on()

    def _let_flow(self) -> None:
        if self._blocked or self._backlog is not None:
            self._transport.pauseProducing()
        else:
            self._transport.resumeProducing()
