"""Tests for `zkservice.service.ports.binding`: certificates that are read again."""

from __future__ import annotations

import os
import shutil
from typing import Any

from cryptography.x509.oid import NameOID
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.certificates import Authority
from zkservice.errors import ConfigurationError
from zkservice.service.ports.endpoint_strings import Ports


class _Greeting(Protocol):
    """Says something, which begins the handshake."""

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")


class ProxyTests(SynchronousTestCase):
    """Ports behind a proxy that says where connections come from."""

    def test_unreadable_proxy_header_closes_the_connection(self) -> None:
        """Whoever can connect could fill the log with tracebacks otherwise."""
        reactor: Any = MemoryReactorClock()
        Ports(reactor).open("haproxy:tcp:80", Factory.forProtocol(Protocol))
        nowhere: Any = None
        connection, transport = reactor.tcpServers[-1][1].buildProtocol(nowhere), StringTransport()
        connection.makeConnection(transport)
        connection.dataReceived(b"PROXY TCP4 1.2.3.\xff 5.6.7.8 1 2\r\n")
        self.assertTrue(transport.disconnecting)


class ReloadTests(SynchronousTestCase):
    """A port with TLS, and files that change under it."""

    @override
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.ports = Ports(self.reactor)
        self.folder = self.mktemp()
        self.authority = Authority(self.folder)
        self.pem = os.path.join(self.folder, "served.pem")
        self.install("first")

    def install(self, name: str) -> None:
        """Put another certificate and its key into the file."""
        shutil.copy(self.authority.issue(name), self.pem)

    def open(self, endpoint: str) -> IProtocolFactory:
        """What the port of an endpoint builds its connections with."""
        self.ports.open(endpoint, Factory.forProtocol(Protocol))
        factory: IProtocolFactory = self.reactor.tcpServers[-1][1]
        return factory

    def shown(self, factory: IProtocolFactory, certificate: str | None = None) -> str | None:
        """The name in the certificate that a client is shown; None if it is not let in."""
        options: Any = CertificateOptions()
        if certificate is not None:
            with open(certificate, "rb") as file:
                options = PrivateCertificate.loadPEM(file.read()).options()
        clients = TLSMemoryBIOFactory(options, True, Factory.forProtocol(_Greeting), self.reactor)
        nowhere: Any = None
        server: Any = factory.buildProtocol(nowhere)
        client: Any = clients.buildProtocol(nowhere)
        pump = connect(server, FakeTransport(server, True), client, FakeTransport(client, False))
        pump.flush()
        self.reactor.advance(1)
        pump.flush()
        if client.transport.disconnected:
            return None
        subject = client.getPeerCertificate().to_cryptography().subject
        name = str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        return name

    def reloaded(self) -> str:
        """What the log says of reading them again."""
        with capturedLogs() as seen:
            self.ports.reload_certificates()
        return "\n".join(formatEvent(each) or "" for each in seen)

    def test_new_connections_get_the_new_certificate(self) -> None:
        """It is shown after the reload, not before, at all kinds of endpoints."""
        for endpoint in (
            f"ssl:0:privateKey={self.pem}",
            f"mtls:0:privateKey={self.pem}:clientCA={self.authority.ca}:optional=yes",
        ):
            self.install("first")
            factory = self.open(endpoint)
            self.install("second")
            self.assertEqual(self.shown(factory), "first")
            self.assertIn(f"the certificates of {endpoint} were read again", self.reloaded())
            self.assertEqual(self.shown(factory), "second")
        self.assertEqual(len(self.reactor.tcpServers), 2)  # and no port was opened again

    def test_client_authorities_are_reloaded(self) -> None:
        """The file of trusted client authorities is read again as well."""
        clients = os.path.join(self.folder, "clients.pem")
        shutil.copy(self.authority.ca, clients)
        factory = self.open(f"mtls:0:privateKey={self.pem}:clientCA={clients}")
        mine = self.authority.issue("me")
        self.assertEqual(self.shown(factory, mine), "first")
        shutil.copy(Authority(self.mktemp(), "other").ca, clients)
        self.reloaded()
        self.assertIsNone(self.shown(factory, mine))

    def test_broken_files_change_nothing(self) -> None:
        """The old certificate stays, and the log says why."""
        factory = self.open(f"ssl:0:privateKey={self.pem}")
        other = self.authority.issue("other")
        for break_it, why in (
            (lambda: os.truncate(self.pem, 100), "not valid PEM"),
            (lambda: os.unlink(self.pem), "No such file or directory"),
            (lambda: self._mix(other), "private keys do not match"),
        ):
            break_it()
            said = self.reloaded()
            self.assertIn(why, said)
            self.assertIn("new connections still get the old certificate", said)
            self.assertEqual(said.count("\n"), 0)
            self.assertEqual(self.shown(factory), "first")
        self.install("second")
        self.reloaded()
        self.assertEqual(self.shown(factory), "second")

    def _mix(self, other: str) -> None:
        """A key and the certificate of another one, as halfway through a renewal."""
        with open(other) as key, open(self.authority.issue("first")) as certificate:
            text = key.read().partition("-----BEGIN CERT")[0]
            text += "".join(certificate.read().partition("-----BEGIN CERT")[1:])
        with open(self.pem, "w") as file:
            file.write(text)

    def test_wrong_key_at_the_start(self) -> None:
        """A key that is not the certificate's is found when the port opens."""
        self._mix(self.authority.issue("other"))
        error = self.assertRaises(ConfigurationError, self.open, f"ssl:0:privateKey={self.pem}")
        self.assertIn("private keys do not match", str(error))

    def test_ports_without_tls(self) -> None:
        """They have nothing to read, and are opened with the factory itself."""
        factory = Factory.forProtocol(Protocol)
        self.ports.open("tcp:0", factory)
        self.assertIs(self.reactor.tcpServers[-1][1], factory)
        self.assertEqual(self.reloaded(), "")
