"""Tests for `zkservice.privates`: each function still finds what it relies on."""

from __future__ import annotations

import io
import os
import socket
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - parsing asks nothing of it
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection, Port, _reservedFD
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.internet.unix import Port as UNIXPort
from twisted.logger import LogPublisher, textFileLogObserver
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from zkservice.privates import (
    accept_pending,
    append_to_log_files,
    close_socket_only,
    close_without_shutdown,
    file_observers,
    immediate_write,
    log_files,
    refuse_invalid_proxy_headers,
    reserve_descriptor,
    set_systemd_socket_names,
    systemd_socket_names,
)


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


class LogFileTests(SynchronousTestCase):
    """The observers and files of twistd's log."""

    def test_observers_that_write_text_are_found(self) -> None:
        """Other observers are left out."""
        observer = textFileLogObserver(io.StringIO())
        other: Any = print
        publisher = LogPublisher(other, observer)
        self.assertEqual(list(file_observers(publisher)), [observer])

    def test_files_that_can_be_opened_again_are_found(self) -> None:
        """A log that goes to a stream has no such file."""
        file: Any = LogFile("twistd.log", self.mktemp_folder())
        self.addCleanup(file.close)
        publisher = LogPublisher(textFileLogObserver(io.StringIO()), textFileLogObserver(file))
        self.assertEqual(list(log_files(publisher)), [file])

    def mktemp_folder(self) -> str:
        """A new folder."""
        folder: str = self.mktemp()
        os.mkdir(folder)
        return folder


class PortTests(SynchronousTestCase):
    """Private behaviour of listening ports."""

    def setUp(self) -> None:
        """A reactor that keeps what it reads."""
        self.reactor = MemoryReactor()
        self.built: list[Protocol] = []

    def build(self) -> Protocol:
        """A protocol, which the test counts."""
        self.built.append(Protocol())
        return self.built[-1]

    def test_all_waiting_connections_are_accepted(self) -> None:
        """All connections are accepted in one turn; a closed port accepts none."""
        port = Port(0, Factory.forProtocol(self.build), 200, "127.0.0.1", self.reactor)
        port.startListening()
        address = port.getHost()
        clients = [socket.create_connection((address.host, address.port)) for _ in range(150)]
        for client in clients:
            self.addCleanup(client.close)
        port.numberAccepts = 1
        accept_pending(port)
        self.assertEqual(len(self.built), 150)
        for protocol in self.built:
            transport: Any = protocol.transport
            transport.connectionLost(Failure(ConnectionError()))
        port.connectionLost(Failure(ConnectionError()))
        accept_pending(port)
        self.assertEqual(len(self.built), 150)

    def test_the_file_of_a_closed_unix_port_stays(self) -> None:
        """The socket is closed, and its file is left."""
        path = os.path.relpath(self.mktemp())
        port = UNIXPort(path, Factory.forProtocol(self.build), reactor=self.reactor)
        port.startListening()
        close_socket_only(port, Failure(ConnectionError()))
        self.assertTrue(os.path.exists(path))
        self.assertFalse(port.connected)

    def test_a_descriptor_is_reserved(self) -> None:
        """A second call changes nothing."""
        reserved: Any = _reservedFD
        reserve_descriptor()
        descriptor = reserved._fileDescriptor
        self.assertIsNotNone(descriptor)
        reserve_descriptor()
        self.assertIs(reserved._fileDescriptor, descriptor)


class _Picky(Protocol):
    """Raises a `ValueError` for whatever it is sent."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - IProtocol
        """Raise."""
        raise ValueError(data)


class ProxyHeaderTests(SynchronousTestCase):
    """PROXY headers that Twisted's parser raises for."""

    def connect(self) -> tuple[Any, StringTransport]:
        """A connection of a factory that is wrapped once more, and its transport."""
        factory: Any = WrappingFactory(HAProxyWrappingFactory(Factory.forProtocol(_Picky)))
        refuse_invalid_proxy_headers(factory)
        nowhere: Any = None
        wrapper, transport = factory.buildProtocol(nowhere), StringTransport()
        wrapper.makeConnection(transport)
        return wrapper, transport

    def test_unreadable_header_closes_the_connection(self) -> None:
        """Nothing is raised for an address that is not UTF-8 or a port that is not a number."""
        for header in (b"TCP4 1.2.3.\xff 5.6.7.8 1 2", b"TCP4 1.2.3.4 5.6.7.8 x y"):
            wrapper, transport = self.connect()
            wrapper.dataReceived(b"PROXY " + header + b"\r\n")
            self.assertTrue(transport.disconnecting, header)

    def test_errors_behind_the_header_are_raised(self) -> None:
        """Exceptions of the wrapped protocol are still raised."""
        wrapper, transport = self.connect()
        wrapper.dataReceived(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n")
        self.assertFalse(transport.disconnecting)
        self.assertRaises(ValueError, wrapper.dataReceived, b"GET")


class SharingTests(SynchronousTestCase):
    """Resources that an old and a new program share during an upgrade."""

    def test_a_shared_socket_listens_on_when_one_port_closes(self) -> None:
        """Without the call, shutdown(2) would end it for all processes."""
        port = Port(0, Factory(), interface="127.0.0.1", reactor=MemoryReactor())
        port.startListening()
        with port.socket.dup() as other:
            close_without_shutdown(port)
            port.connectionLost(Failure(ConnectionDone()))
            with socket.create_connection(other.getsockname(), 5):
                other.settimeout(5)
                other.accept()[0].close()

    def test_two_writers_of_one_log_file(self) -> None:
        """Each process appends its lines."""
        path = self.mktemp()
        files, publishers = [], []
        for _ in range(2):
            files.append(LogFile.fromFullPath(path))
            self.addCleanup(files[-1].close)
            publishers.append(LogPublisher(textFileLogObserver(files[-1])))
            append_to_log_files(publishers[-1])
        for text in ("one\n", "two\n", "three\n", "four\n"):
            files[0].write(text)
            files[1].write(text.upper())
        with open(path) as file:
            self.assertEqual(file.read(), "one\nONE\ntwo\nTWO\nthree\nTHREE\nfour\nFOUR\n")

    def test_systemd_endpoints_are_understood_without_the_sockets(self) -> None:
        """By index and by name, as often as they are parsed."""
        self.addCleanup(set_systemd_socket_names, systemd_socket_names())
        set_systemd_socket_names(["http", "https"])
        for text in ("systemd:domain=INET:index=1", "systemd:domain=INET6:name=http") * 2:
            serverFromString(reactor, text)
        self.assertRaises(LookupError, serverFromString, reactor, "systemd:domain=INET:index=2")
        self.assertEqual(systemd_socket_names(), ["http", "https"])
