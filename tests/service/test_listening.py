"""Tests for `zkservice.service.listening`."""

from __future__ import annotations

import socket

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.service.listening import close_port


class _Welcome(Protocol):
    """Says a word to whoever is let in."""

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"welcome")


class ClosePortTests(SynchronousTestCase):
    """A real port, of a reactor that turns when the test says so."""

    def setUp(self) -> None:
        """A port that has had a quiet time: the reactor accepts one connection at a time."""
        self.reactor = SelectReactor()
        self.addCleanup(self.end_reactor)
        factory = Factory.forProtocol(_Welcome)
        self.port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.connect()
        self.port.doRead()

    def end_reactor(self) -> None:
        """Close what is still open."""
        for open_one in self.reactor.removeAll():
            open_one.connectionLost(Failure(ConnectionDone()))
        self.reactor.waker.connectionLost(Failure(ConnectionDone()))

    def connect(self) -> socket.socket:
        """A connection, as far as the kernel is concerned."""
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port), 5)
        self.addCleanup(client.close)
        return client

    def test_pending_connections(self) -> None:
        """Everybody in the kernel's queue when the port closes is let in; nobody is later."""
        clients = [self.connect() for _ in range(10)]
        where = self.port.getHost().port
        closed = close_port(self.reactor, self.port)
        clients.append(self.connect())  # between two turns of the reactor
        self.reactor.runUntilCurrent()
        self.successResultOf(closed)
        self.reactor.doIteration(0)
        self.assertEqual([client.recv(7) for client in clients], [b"welcome"] * 11)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", where), 5)
