"""Tests for what one program hands to the next: ports, files of sockets, connections inside."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from typing import Any

from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.privates import set_systemd_socket_names, systemd_socket_names
from zkservice.service.config import Owner
from zkservice.service.options.option_table import Given
from zkservice.service.options.worker_settings import settings_for
from zkservice.service.ports.endpoint_strings import Ports, give_socket
from zkservice.service.ports.inheritance import InheritedSockets
from zkservice.service.ports.inside import InsideEndpoint


class _Welcome(Protocol):
    """Says a word to whoever connects."""

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(b"welcome")


class HandingOverCase(SynchronousTestCase):
    """Two programs in one process, with a reactor that the test turns."""

    @override
    def setUp(self) -> None:
        self.reactor = SelectReactor()
        self.addCleanup(self.reactor.waker.connectionLost, Failure(ConnectionDone()))
        self.folder = tempfile.mkdtemp()  # short: a socket's path has a limit
        self.addCleanup(shutil.rmtree, self.folder)
        self.old = Ports(self.reactor)

    def inherit(self, ports: Ports) -> InheritedSockets:
        """What another program gets of these ports."""
        ports.share()
        return InheritedSockets((text, os.dup(number)) for text, number in ports.sockets())

    def open(self, ports: Ports, endpoint: str) -> IListeningPort:
        """A port that is closed with the test."""
        port = ports.open(endpoint, Factory.forProtocol(_Welcome))
        self.addCleanup(self.close, port)
        return port

    def close(self, port: Any) -> None:
        """Close a port, unless that is done already."""
        if port.connected:
            port.stopListening()
            self.reactor.runUntilCurrent()

    def assert_welcome(self, client: socket.socket) -> None:
        """A connection is served within some turns of the reactor."""
        with client:
            client.settimeout(0.01)
            for _ in range(5000):
                self.reactor.iterate(0.01)
                try:
                    self.assertEqual(client.recv(100), b"welcome")
                except TimeoutError:
                    continue
                return
        self.fail("nobody serves")


class PortTests(HandingOverCase):
    """Ports on inherited sockets."""

    def test_the_same_socket_is_listened_on(self) -> None:
        """A port that the system has picked, too; it goes on when the old program closes its."""
        first = self.open(self.old, "tcp:0:interface=127.0.0.1")
        new = Ports(self.reactor, self.inherit(self.old))
        second = self.open(new, "tcp:0:interface=127.0.0.1")
        self.assertEqual(second.getHost(), first.getHost())
        self.close(first)
        where: Any = second.getHost()
        self.assert_welcome(socket.create_connection(("127.0.0.1", where.port), 5))

    def test_another_endpoint_gets_a_socket_of_its_own(self) -> None:
        """The configuration has changed."""
        first = self.open(self.old, "tcp:0:interface=127.0.0.1")
        inherited = self.inherit(self.old)
        second = self.open(Ports(self.reactor, inherited), "tcp:0")
        inherited.close()
        self.assertNotEqual(second.getHost(), first.getHost())

    def test_paused_ports_accept_nothing(self) -> None:
        """Connections wait in the kernel, and are served when the port accepts again."""
        where: Any = self.open(self.old, "tcp:0:interface=127.0.0.1").getHost()
        self.old.pause()
        client = socket.create_connection(("127.0.0.1", where.port), 5)
        client.settimeout(0.01)
        self.reactor.iterate(0.01)
        self.assertRaises(TimeoutError, client.recv, 1)
        self.old.resume()
        self.assert_welcome(client)

    def test_systemd_socket_is_taken_from_the_program_before(self) -> None:
        """Its endpoint string is understood, although systemd has given nothing to this one."""
        self.addCleanup(set_systemd_socket_names, systemd_socket_names())
        set_systemd_socket_names(["http"])
        with socket.create_server(("127.0.0.1", 0)) as listening:
            where = listening.getsockname()
            inherited = InheritedSockets([("systemd:domain=INET:index=0", listening.detach())])
            self.open(Ports(self.reactor, inherited), "systemd:domain=INET:index=0")
        self.assert_welcome(socket.create_connection(where, 5))

    def test_workers_need_no_sockets_of_systemd(self) -> None:
        """A worker gets connections, and the endpoint string without systemd's part."""
        texts = ("systemd:domain=INET:index=0", "haproxy:systemd:domain=INET:name=a", "tcp:1")
        settings = settings_for("app:app", {"listen": Given("--listen", texts)})
        self.assertEqual(settings["given"]["listen"][1], ["tcp:0", "haproxy:tcp:0", "tcp:1"])


class UnixTests(HandingOverCase):
    """The file of a Unix socket, and the lock beside it."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.join(self.folder, "s")
        self.endpoint = f"unix:{self.path}:mode=600"
        self.first = self.open(self.old, self.endpoint)
        self.new = Ports(self.reactor, self.inherit(self.old))
        self.second = self.open(self.new, self.endpoint)

    def connect(self) -> socket.socket:
        """A client."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        return client

    def exists(self) -> tuple[bool, bool]:
        """Whether there are the socket and its lock."""
        return os.path.exists(self.path), os.path.islink(f"{self.path}.lock")

    def test_the_new_program_has_the_file(self) -> None:
        """The old one leaves it; the new one removes it at its end."""
        self.old.hand_over()
        self.new.take_over()
        self.close(self.first)
        self.assertEqual(self.exists(), (True, True))
        self.assert_welcome(self.connect())
        self.close(self.second)
        self.assertEqual(self.exists(), (False, False))

    def test_a_program_that_does_not_take_over_leaves_the_file(self) -> None:
        """It ends before the old one has handed over."""
        self.close(self.second)
        self.assertEqual(self.exists(), (True, True))
        self.assert_welcome(self.connect())
        self.close(self.first)
        self.assertEqual(self.exists(), (False, False))

    def test_the_file_keeps_its_owner(self) -> None:
        """It was given away by the first program."""
        self.patch(os, "chown", lambda *words, **named: self.fail(f"chown{words}"))
        give_socket(self.second, Owner(12, 12))

    def test_a_lock_that_cannot_be_taken_over_is_no_reason_to_stop(self) -> None:
        """Somebody has removed it."""
        os.remove(f"{self.path}.lock")
        self.old.hand_over()
        self.new.take_over()
        self.assert_welcome(self.connect())

    def test_systemd_keeps_the_file_of_its_socket(self) -> None:
        """systemd goes on listening after the program has ended; clients need the file."""
        path = os.path.join(self.folder, "systemd")
        self.addCleanup(set_systemd_socket_names, systemd_socket_names())
        set_systemd_socket_names(["http"])
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            endpoint = "systemd:domain=UNIX:index=0"
            inherited = InheritedSockets([(endpoint, os.dup(listening.fileno()))])
            ports = Ports(self.reactor, inherited)
            port = self.open(ports, endpoint)
            ports.take_over()
            self.close(port)
            listening.settimeout(5)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                listening.accept()[0].close()


class InsideTests(HandingOverCase):
    """Connections within the process."""

    def test_the_other_end_is_served(self) -> None:
        """Without a port."""
        ends: list[socket.socket] = []
        endpoint = InsideEndpoint(self.reactor, ends.append)
        protocol: Any = self.successResultOf(endpoint.connect(Factory.forProtocol(_Welcome)))
        self.addCleanup(protocol.transport.abortConnection)
        self.assert_welcome(ends[0])

    def test_a_factory_without_a_protocol_is_an_error(self) -> None:
        """As with other endpoints, nothing is opened."""

        refusing: Any = Factory()
        refusing.buildProtocol = lambda address: None
        endpoint = InsideEndpoint(self.reactor, lambda end: self.fail("connected"))
        self.failureResultOf(endpoint.connect(refusing), ConnectError)
