"""Tests for `zkservice.web.client_certificates`: which clients are accepted, and what
the application learns of them."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterable
from typing import Any

from cryptography.x509 import load_pem_x509_certificate
from twisted.internet import reactor as _reactor  # noqa: TID251 - real connections
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorCore
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from typing_extensions import override

from tests.certificates import Authority
from tests.web.support import GET, StartResponse
from zkservice.errors import ConfigurationError
from zkservice.web import HTTPFactory, Workers

reactor: Any = _reactor
PATIENCE = 120.0
ASK = GET[:-2] + b"SSL-Client-Verify: SUCCESS\r\nConnection: close\r\n\r\n"


def tell(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """What the application knows of its client's certificate."""
    start_response("200 OK", [("Content-Type", "application/json")])
    known = {name: value for name, value in environ.items() if name.startswith("SSL_")}
    return [json.dumps({"scheme": environ["wsgi.url_scheme"], **known}).encode()]


class LettingInTests(TestCase):
    """A front end behind ``mtls:``, and clients with this and that certificate."""

    @override
    def setUp(self) -> None:
        self.clients = Authority(self.mktemp(), "clients")
        self.servers = Authority(self.mktemp(), "servers")
        self.server_file = self.servers.issue("localhost")

    async def listen(self, text: str) -> None:
        """Listen at an endpoint string; it gets the rest of what it needs."""
        workers = Workers(reactor, 1)
        workers.start()
        self.addCleanup(workers.stop, 5)
        factory = HTTPFactory(tell, workers, reactor=reactor)
        port = await serverFromString(reactor, text).listen(factory)
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    def strict(self, **more: str) -> str:
        """The endpoint string."""
        words = {"privateKey": self.server_file, "clientCA": self.clients.ca, **more}
        return ":".join(
            ["mtls:0:interface=127.0.0.1", *(f"{name}={value}" for name, value in words.items())]
        )

    def ask_with(self, certificate: str | None) -> dict[str, str]:
        """What the application tells a client with a certificate."""
        context = ssl.create_default_context(cafile=self.servers.ca)
        if certificate is not None:
            context.load_cert_chain(certificate)
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as sock,
        ):
            sock.sendall(ASK)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), answer
        told: dict[str, str] = json.loads(body)
        return told

    async def test_the_application_knows_the_client(self) -> None:
        """A client with a trusted certificate is served, and the application learns its name."""
        await self.listen(self.strict())
        name = "j\N{LATIN SMALL LETTER A WITH RING ABOVE}ne"
        certificate = self.clients.issue(name)
        told = await deferToThread(self.ask_with, certificate)
        self.assertEqual(told["scheme"], "https")
        self.assertEqual(told["SSL_CLIENT_VERIFY"], "SUCCESS")
        # Text in environ is bytes in latin-1; these are UTF-8.
        self.assertEqual(told["SSL_CLIENT_S_DN"].encode("latin-1"), f"CN={name}".encode())
        self.assertEqual(told["SSL_CLIENT_S_DN_CN"].encode("latin-1"), name.encode())
        self.assertEqual(told["SSL_CLIENT_I_DN"], "CN=clients")
        with open(certificate) as file:
            self.assertIn(told["SSL_CLIENT_CERT"], file.read())
        serial = load_pem_x509_certificate(told["SSL_CLIENT_CERT"].encode()).serial_number
        self.assertEqual(int(told["SSL_CLIENT_M_SERIAL"], 16), serial)

    async def test_clients_of_other_authorities_are_refused(self) -> None:
        """No certificate, or one of another authority: not even a request is read."""
        await self.listen(self.strict())
        for certificate in (None, self.server_file):
            # In TLS 1.3 the client learns of it only when it reads.
            error = await self.assertFailure(
                deferToThread(self.ask_with, certificate), ssl.SSLError, ConnectionError
            )
            self.assertNotIsInstance(error, ssl.SSLCertVerificationError)

    async def test_an_optional_certificate_may_be_missing(self) -> None:
        """A client without a certificate is accepted; environ has no keys about it."""
        await self.listen(self.strict(optional="yes"))
        self.assertEqual(await deferToThread(self.ask_with, None), {"scheme": "https"})
        told = await deferToThread(self.ask_with, self.clients.issue("jane"))
        self.assertEqual(told["SSL_CLIENT_S_DN_CN"], "jane")
        await self.assertFailure(
            deferToThread(self.ask_with, self.server_file), ssl.SSLError, ConnectionError
        )

    async def test_the_whole_chain_is_sent(self) -> None:
        """All certificates in the file are shown: clients know only the root."""
        middle = Authority(self.mktemp(), "middle", self.servers)
        own = middle.issue("localhost")
        with open(own, "ab") as file, open(middle.ca, "rb") as more:
            file.write(more.read())
        await self.listen(self.strict(privateKey=own))
        told = await deferToThread(self.ask_with, self.clients.issue("jane"))
        self.assertEqual(told["SSL_CLIENT_S_DN_CN"], "jane")


class StringTests(SynchronousTestCase):
    """Endpoint strings that cannot be used say why."""

    def refused(self, text: str) -> str:
        """Why it is refused."""
        errors = (ConfigurationError, OSError)
        return str(self.assertRaises(errors, serverFromString, IReactorCore, text))

    def test_each_mistake_has_its_reason(self) -> None:
        """What is missing, unknown, or not in the file that was named."""
        authority = Authority(self.mktemp())
        ca, own = authority.ca, authority.issue("localhost")
        other = Authority(self.mktemp()).issue("localhost")
        empty = self.mktemp()
        with open(empty, "w"):
            pass
        for text, reason in {
            f"mtls:443:privateKey={own}": "clientCA=FILE",
            f"mtls:privateKey={own}:clientCA={ca}": "'port'",
            f"mtls:https:privateKey={own}:clientCA={ca}": "numbers",
            f"mtls:443:privateKey={own}:clientCA={ca}:optional=perhaps": "yes or no",
            f"mtls:443:privateKey={own}:clientCA={ca}:color=red": "'color'",
            f"mtls:443:privateKey={own}:clientCA={empty}": f"{empty} has no certificate",
            f"mtls:443:privateKey={own}:clientCA={empty}.pem": f"{empty}.pem",
            f"mtls:443:privateKey={empty}:certKey={own}:clientCA={ca}": "no private key",
            f"mtls:443:privateKey={other}:certKey={own}:clientCA={ca}": "does not match",
        }.items():
            self.assertIn(reason, self.refused(text), text)

    def test_a_broken_certificate_is_named_by_number(self) -> None:
        """A broken one among several is named by its number."""
        authority = Authority(self.mktemp())
        own = authority.issue("localhost")
        both = os.path.join(os.path.dirname(own), "both.pem")
        with open(both, "wb") as file, open(authority.ca, "rb") as good:
            file.write(good.read())
            file.write(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        reason = self.refused(f"mtls:443:privateKey={own}:clientCA={both}")
        self.assertIn(f"certificate 2 in {both} is broken", reason)
