"""Clients that offer protocols in the TLS handshake (RFC 7301), as every browser does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.certificates import Authority
from tests.web.support import InlineWorkers
from zkservice.service.ports.listening import LateBoundFactory
from zkservice.web import HTTPFactory


class _Client(Protocol):
    """Says something, which begins the handshake."""

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"GET / HTTP/1.1\r\n")


def negotiated(
    certificate: PrivateCertificate, factory: IProtocolFactory, *offered: bytes
) -> bytes | None:
    """The protocol agreed on with a client that offers these; ``b""`` if disconnected."""
    clock = Clock()
    options = CertificateOptions(acceptableProtocols=list(offered) or None)
    server = TLSMemoryBIOFactory(certificate.options(), False, factory, clock)
    client = TLSMemoryBIOFactory(options, True, Factory.forProtocol(_Client), clock)
    tls: Any
    tls, _, pump = connectedServerAndClient(
        lambda: server.buildProtocol(None), lambda: client.buildProtocol(None), clock=clock
    )
    pump.flush()
    answer: bytes | None = b"" if tls.wrappedProtocol is None else tls.negotiatedProtocol
    return answer


class NegotiationTests(SynchronousTestCase):
    """The front end, and the door before it, which stands there when the port is opened."""

    @override
    def setUp(self) -> None:
        pem = Path(Authority(self.mktemp()).issue("localhost")).read_bytes()
        self.certificate = PrivateCertificate.loadPEM(pem)

    def factories(self) -> list[IProtocolFactory]:
        """What a port is opened with."""
        clock = Clock()
        workers: Any = InlineWorkers(clock.seconds)
        front_end = HTTPFactory(lambda environ, start: [], workers, reactor=clock)
        door = LateBoundFactory()
        door.target = front_end
        return [front_end, door]

    def test_a_browser_speaks_http11(self) -> None:
        """A client that would like HTTP/2 speaks HTTP/1.1."""
        for factory in self.factories():
            self.assertEqual(negotiated(self.certificate, factory, b"h2", b"http/1.1"), b"http/1.1")

    def test_an_http10_client_is_accepted(self) -> None:
        """A client that knows HTTP/1.0 only is welcome, too."""
        for factory in self.factories():
            self.assertEqual(negotiated(self.certificate, factory, b"http/1.0"), b"http/1.0")

    def test_nothing_is_negotiated_without_an_offer(self) -> None:
        """Nothing is negotiated with a client that offers nothing."""
        for factory in self.factories():
            self.assertIsNone(negotiated(self.certificate, factory))

    def test_an_unknown_protocol_is_refused(self) -> None:
        """A client without a supported HTTP version is refused in the TLS handshake."""
        for factory in self.factories():
            self.assertEqual(negotiated(self.certificate, factory, b"h2"), b"")
