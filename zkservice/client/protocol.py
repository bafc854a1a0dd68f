"""Cut the bytes of a connection into frames; a receiver interprets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IPullProducer, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.errors import ProtocolError
from zkservice.privates import immediate_write
from zkservice.wire.frames import Framer


class Receiver:
    """Receives the frames and the connection's events from a protocol."""

    def frame_received(self, payload: bytes) -> None:
        """A whole frame was received; ``payload`` is without its length."""

    def frame_skipped(self, head: bytes, size: int) -> None:
        """A frame over the limit was skipped; these are its first bytes."""
        raise ProtocolError(None, f"a frame of {size} bytes")

    def turn_began(self) -> None:
        """Bytes were received; calls of `frame_received` may follow."""

    def turn_ended(self, size: int) -> None:
        """All complete frames were delivered, of ``size`` bytes that were received at once."""

    def room_changed(self, paused: bool) -> None:
        """The transport's buffer is full (True), or has room again."""

    def connection_lost(self, reason: Failure) -> None:
        """The connection is closed; no other method is called after this one."""


@implementer(IPullProducer, IPushProducer)
class ZooKeeperProtocol(Protocol):
    """Cuts a connection's bytes into frames and hands them to its `receiver`."""

    _log = Logger()
    _NO_RECEIVER: Final = Receiver()
    transport: Any  # ITCPTransport, or TLS over one: both are IConsumers, too

    def __init__(self, limit: int) -> None:
        self.limit = limit  #: bytes; a larger frame is skipped
        self.receiver: Receiver = self._NO_RECEIVER
        self._framer = Framer(limit, self._skipped)
        self._gone = False  # `connectionLost` was called
        self._closing = False  # gone, or `abort` was called: nothing is sent or delivered
        self._behind = False  # the transport holds bytes that it could not send at once
        self._send_now: Callable[[bytes], int | BaseException] | None = None

    @override
    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._send_now = immediate_write(self.transport)
        # This protocol produces nothing by itself; being a producer, it is called when the
        # transport's buffer is full and when it has room again.  Where the buffer is bypassed
        # it is a pull producer, called when all that was left over has been sent.
        self.transport.registerProducer(self, self._send_now is None)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        self.receiver.turn_began()
        try:
            for payload in self._framer.feed(data):
                self.receiver.frame_received(payload)
                if self._closing:
                    return
        except ProtocolError as error:
            self._log.error(
                "invalid data from {server}: {error}; closing the connection",
                server=self.transport_peer,
                error=error,
            )
            self.abort()
            return
        self.receiver.turn_ended(len(data))

    def _skipped(self, head: bytes, size: int) -> None:
        self.receiver.frame_skipped(head, size)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = self._closing = True
        receiver, self.receiver = self.receiver, self._NO_RECEIVER
        receiver.connection_lost(reason)

    @property
    def transport_peer(self) -> object:
        """The address at the other end."""
        return self.transport.getPeer() if self.transport is not None else None

    def write(self, data: bytes) -> None:
        """Send bytes; they are dropped once the connection is gone."""
        if self._closing:
            return
        if self._send_now is None or self._behind:
            self.transport.write(data)
            return
        # Most writes fit into the kernel's buffer.  If the reactor polled for room first, each
        # request would take two more rounds of the reactor; if the transport tried by itself,
        # two more system calls.
        sent = self._send_now(data)
        if sent != len(data):
            self._behind = True
            # An exception means a lost connection; the transport will notice it by itself.
            self.transport.write(data[sent:] if isinstance(sent, int) else data)
            self.receiver.room_changed(True)

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading` is called."""
        if not self._closing:
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Continue reading."""
        if not self._closing:
            self.transport.resumeProducing()

    def lose(self) -> None:
        """Close the connection when what was written has been sent."""
        if not self._closing:
            self._send_now = None
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close the connection at once; frames that have come but were not read are dropped."""
        self._closing = True
        if not self._gone:
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    # IPushProducer and IPullProducer: the transport calls these as its room changes.

    def pauseProducing(self) -> None:
        """The transport holds enough unsent bytes."""
        self.receiver.room_changed(True)

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._behind = False
        self.receiver.room_changed(False)

    def stopProducing(self) -> None:
        """The transport is going away; `connectionLost` follows."""
