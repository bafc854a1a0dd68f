"""The Twisted protocol: splits the bytes of a client into frames for the server."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final, Protocol, cast

from twisted.internet import protocol
from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.embedded.connection import Connection
from zkservice.embedded.settings import ServerSettings
from zkservice.errors import FrameSizeError
from zkservice.wire.frames import Framer

_WORD_LENGTH: Final = 4  # bytes of a four-letter word

#: Frames of the largest size that may be queued for a client that does not read.  Its requests
#: wait meanwhile, but its watches still cause events.
MAX_UNREAD_FRAMES: Final = 16


class StreamTransport(ITCPTransport, IConsumer, IPushProducer):
    """What TCP, TLS and UNIX transports have in common."""


class ConnectionHost(Protocol):
    """The server, as far as a `ServerProtocol` needs it."""

    @property
    def settings(self) -> ServerSettings:
        """The server's settings."""

    @property
    def paused(self) -> bool:
        """Whether the server has stopped reading for now."""

    def connected(self, protocol: ServerProtocol, host: str, port: int) -> Connection | None:
        """Make the connection of a new client; returns None if the client is refused."""

    def disconnected(self, protocol: ServerProtocol, connection: Connection | None) -> None:
        """Forget a connection that is closed."""

    def four_letter_word(self, connection: Connection, word: bytes) -> bool:
        """Reply to a four-letter word; returns False if the bytes are not a known word."""

    def received(self, connection: Connection, frames: Iterator[bytes]) -> bool:
        """Serve frames; returns False if it stopped early, because many replies are unsent."""

    def client_is_alive(self, connection: Connection) -> None:
        """Restart the time-out of a connection's session."""

    def flush(self) -> None:
        """Send the unsent bytes of all connections."""


@implementer(IPushProducer)
class ServerProtocol(protocol.Protocol):
    """One connection: a four-letter word, or a handshake and requests.

    It is the `ConnectionTransport` of its `Connection`.  It is also its transport's producer,
    for backpressure: while a client does not read its replies, its requests are not read.
    """

    def __init__(self, host: ConnectionHost) -> None:
        self._host = host
        self._framer = Framer(host.settings.max_frame)
        self._connection: Connection | None = None
        #: The first bytes, until there are enough to tell a four-letter word from a frame.
        self._first_bytes: bytes | None = b""
        self._transport_has_room = True
        self._unread = 0  # bytes written since the transport's buffer was full
        #: Requests that wait until there is room for their replies.
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
        self._connection = self._host.connected(self, host, port)

    @override
    def dataReceived(self, data: bytes) -> None:
        connection = self._connection
        if connection is None or connection.closing:
            return
        if self._first_bytes is not None:
            data = self._first_bytes + data
            if len(data) < _WORD_LENGTH:
                self._first_bytes = data
                return
            self._first_bytes = None
            if self._host.four_letter_word(connection, data[:_WORD_LENGTH]):
                return
        frames = self._framer.feed(data)
        if self._backlog is None:
            self._serve(connection, frames)
        else:
            self._backlog = chain(self._backlog, frames)

    def resume_backlog(self) -> None:
        """Serve the requests that wait, if there is room for their replies now."""
        connection, frames = self._connection, self._backlog
        if connection is None or connection.closing or frames is None or self._blocked:
            return
        self._backlog = None
        self._serve(connection, frames)
        if self._backlog is None:
            self._update_reading()

    def _serve(self, connection: Connection, frames: Iterator[bytes]) -> None:
        """Serve requests until there is no more room for their replies.

        A few bytes can request megabytes, so requests that were already read have to wait too.
        """
        try:
            while not self._host.received(connection, frames):
                # It stopped early.  If the transport took all replies at once, go on.
                if connection.out or self._blocked:
                    self._backlog = frames
                    self._update_reading()
                    return
        except FrameSizeError:
            connection.close()
            self._host.flush()

    @property
    def _blocked(self) -> bool:
        return not self._transport_has_room or self._host.paused

    @override
    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        connection, self._connection = self._connection, None
        self._backlog = None
        self._host.disconnected(self, connection)

    # -- ConnectionTransport

    def write(self, data: bytes) -> None:
        """Send bytes; abort if too many are queued for a client that does not read."""
        if not self._transport_has_room:
            self._unread += len(data)
            if self._unread > MAX_UNREAD_FRAMES * self._host.settings.max_frame:
                return self.abort()
        self._transport.write(data)

    def close(self) -> None:
        """Close once everything is sent."""
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abortConnection()

    # -- IPushProducer: the client reads too slowly, or fast enough again

    def pauseProducing(self) -> None:
        """Stop reading requests: their replies would only be queued."""
        self._transport_has_room = False
        self._update_reading()

    def resumeProducing(self) -> None:
        """Read again."""
        self._transport_has_room = True
        self._unread = 0
        if self._connection is not None:
            self._host.client_is_alive(self._connection)  # it has read what was queued
        self.host_paused_or_resumed()

    def stopProducing(self) -> None:
        """The connection is closing; `connectionLost` cleans up."""

    def host_paused_or_resumed(self) -> None:
        """Follow a change of the host's ``paused``."""
        self._update_reading()
        self.resume_backlog()

    def _update_reading(self) -> None:
        if self._blocked or self._backlog is not None:
            self._transport.pauseProducing()
        else:
            self._transport.resumeProducing()


class ZooKeeperFactory(protocol.Factory):
    """Makes the protocols of a server, for any number of ports."""

    noisy = False

    def __init__(self, host: ConnectionHost) -> None:
        self._host = host

    @override
    def buildProtocol(self, addr: IAddress | None) -> ServerProtocol:
        return ServerProtocol(self._host)
