"""Tests for TLS with the embedded server; `tests.functional.apache` has Apache's."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as installed  # noqa: TID251 - real connections
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.trial.unittest import SynchronousTestCase, TestCase
from typing_extensions import override

from tests.client.tls_contract import TLSContract
from zkservice.client import TLS, ZooKeeperClient
from zkservice.client.tls import readable_tls_error
from zkservice.embedded import ZooKeeperServer
from zkservice.errors import ConnectTimeoutError
from zkservice.testing import EmbeddedZooKeeper

reactor: Any = installed


class ErrorTextTests(SynchronousTestCase):
    """The texts of TLS errors."""

    def test_an_alert_is_about_the_clients_certificate(self) -> None:
        """An alert from the server is about the client's certificate."""
        alert = SSL.Error([("SSL routines", "", "tls alert bad certificate")])
        self.assertEqual(
            str(readable_tls_error(alert)),
            "it refuses the client's certificate, or requires one (tls alert bad certificate)",
        )

    def test_other_errors_are_left_alone(self) -> None:
        """Other errors of OpenSSL keep their text; other exceptions are returned unchanged."""
        odd = SSL.Error([("SSL routines", "", "wrong version number")])
        self.assertEqual(str(readable_tls_error(odd)), "TLS failed (wrong version number)")
        for error in (SSL.Error(), SSL.Error([]), ValueError("x")):
            self.assertIs(readable_tls_error(error), error)


class EmbeddedTests(TLSContract):
    """With the embedded server behind Twisted's own TLS."""

    @override
    async def serve(self) -> int:
        server = ZooKeeperServer(reactor, tick_time=0.5)
        with open(self.server_file) as file:
            certificate = PrivateCertificate.loadPEM(file.read())
        with open(self.authority.ca, "rb") as file:
            options = certificate.options(Certificate.loadPEM(file.read()))
        endpoint = SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1")
        port = await endpoint.listen(server.factory)
        server.start()
        self.addCleanup(server.stop)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number


class WithoutTLSTests(TestCase):
    """A server that does not speak TLS."""

    async def test_the_error_asks_about_the_port(self) -> None:
        """It closes the connection before TLS has begun; the error says what may be wrong."""
        async with EmbeddedZooKeeper() as zookeeper:
            client = ZooKeeperClient(zookeeper.connection_string, 4.0, tls=TLS(verify_name=False))
            error: Any = await self.assertFailure(client.connect(1.0), ConnectTimeoutError)
        self.assertIn("without a reply; is its port for TLS?", str(error))


del TLSContract  # not to be run by itself
