"""Tests of `zkservice.client.protocol`: writes that bypass the transport's buffer."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.client.protocol import Receiver, ZooKeeperProtocol


class Socket(FileDescriptor):
    """A transport over a socket that takes `room` bytes."""

    def __init__(self) -> None:
        reactor: Any = self
        super().__init__(reactor)
        self.connected = 1
        self.room = 0
        self.error: Exception | None = None
        self.sent = b""
        self.watched = 0  # how often the reactor was asked to watch for room

    @override
    def writeSomeData(self, data: bytes) -> int | BaseException:
        if self.error is not None:
            return self.error
        took = bytes(data[: self.room])
        self.room -= len(took)
        self.sent += took
        return len(took)

    def addWriter(self, writer: object) -> None:  # noqa: N802
        """Count that the reactor was asked to report room."""
        self.watched += 1

    def removeWriter(self, writer: object) -> None:  # noqa: N802
        """Do nothing."""

    def removeReader(self, reader: object) -> None:  # noqa: N802
        """Do nothing."""


class PauseRecorder(Receiver):
    """Records the calls that pause and resume it."""

    def __init__(self) -> None:
        self.paused: list[bool] = []

    @override
    def room_changed(self, paused: bool) -> None:
        self.paused.append(paused)


class WriteTests(SynchronousTestCase):
    """What is sent, when, and in which order."""

    def protocol(self, transport: Any) -> ZooKeeperProtocol:
        """A connected protocol."""
        protocol = ZooKeeperProtocol(1000)
        protocol.makeConnection(transport)
        self.receiver = protocol.receiver = PauseRecorder()
        return protocol

    def test_what_the_socket_takes_is_sent_at_once(self) -> None:
        """Bytes that the socket takes are sent in the call, without the reactor."""
        socket = Socket()
        protocol = self.protocol(socket)
        socket.room = 100
        protocol.write(b"abc")
        protocol.write(b"def")
        self.assertEqual((socket.sent, socket.watched), (b"abcdef", 0))
        self.assertEqual(self.receiver.paused, [])

    def test_more_than_there_is_room_for(self) -> None:
        """The rest is sent later, in order; meanwhile the receiver is paused."""
        socket = Socket()
        protocol = self.protocol(socket)
        socket.room = 2
        protocol.write(b"abcd")
        protocol.write(b"ping")
        self.assertEqual((socket.sent, self.receiver.paused), (b"ab", [True]))
        socket.room = 3
        socket.doWrite()
        self.assertEqual((socket.sent, self.receiver.paused), (b"abcdp", [True]))
        socket.room = 100
        socket.doWrite()
        self.assertEqual((socket.sent, self.receiver.paused), (b"abcdping", [True, False]))
        protocol.write(b"!")
        self.assertEqual(socket.sent, b"abcdping!")

    def test_a_lost_connection_is_reported_by_the_transport(self) -> None:
        """If the socket turns out to be closed, the transport reports it, not the protocol."""
        socket = Socket()
        protocol = self.protocol(socket)
        socket.error = ConnectionLost()
        protocol.write(b"abc")
        self.assertEqual(socket.watched, 1)
        self.assertIs(socket.doWrite(), socket.error)

    def test_closing_sends_what_is_left_first(self) -> None:
        """Closing sends what is left over first."""
        socket = Socket()
        protocol = self.protocol(socket)
        socket.room = 2
        protocol.write(b"abcd")
        protocol.lose()
        socket.room = 100
        self.assertIsInstance(socket.doWrite(), Exception)  # the connection is done
        self.assertEqual(socket.sent, b"abcd")

    def test_other_transports_are_written_to_as_usual(self) -> None:
        """A transport that is not a socket, such as TLS, gets ordinary writes."""
        transport = StringTransport()
        protocol = self.protocol(transport)
        protocol.write(b"abc")
        self.assertEqual(transport.value(), b"abc")
        self.assertTrue(transport.streaming)
