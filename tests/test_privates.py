"""Tests for `zkservice.privates`: each function still finds what it relies on."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from zkservice.privates import immediate_write


class ImmediateWriteTests(SynchronousTestCase):
    """Bytes that go to the kernel in the call."""

    def setUp(self) -> None:
        """A TCP transport, and the socket at the other end."""
        ours, self.peer = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.peer.close)
        ours.setblocking(False)
        self.transport = Connection(ours, Protocol(), MemoryReactor())

    def test_tcp_transport_sends_at_once(self) -> None:
        """The bytes have been sent when the call returns their number."""
        write = immediate_write(self.transport)
        assert write is not None
        self.assertEqual(write(b"abc"), 3)
        self.assertEqual(self.peer.recv(10), b"abc")

    def test_full_socket_takes_nothing(self) -> None:
        """A socket without room takes no bytes, which is not an error."""
        write = immediate_write(self.transport)
        assert write is not None
        took = [write(bytes(100_000)) for _ in range(1000)]
        self.assertEqual((took[0], took[-1]), (100_000, 0))

    def test_closed_peer_returns_the_error(self) -> None:
        """A lost connection is returned, not raised."""
        write = immediate_write(self.transport)
        assert write is not None
        self.peer.close()
        self.assertIsInstance(write(b"abc"), Exception)

    def test_tls_transport_is_left_alone(self) -> None:
        """Bytes for a TLS transport must be encrypted, so there is no such function."""
        directlyProvides(self.transport, ISSLTransport)
        self.assertIsNone(immediate_write(self.transport))

    def test_other_transports_have_none(self) -> None:
        """A transport without a socket has no such function."""
        self.assertIsNone(immediate_write(StringTransport()))
