"""Tests of TLS that must pass with any server."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor  # noqa: TID251 - real connections
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from typing_extensions import override

from tests.certificates import Authority
from zkservice.client import TLS, ZooKeeperClient, four_letter_word


class TLSContract(TestCase):
    """A server with a certificate for ``localhost`` and 127.0.0.1.

    It requires client certificates.
    """

    timeout = 300

    async def serve(self) -> int:
        """Start the server; returns its port."""
        raise NotImplementedError

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.make_certificates()
        self.port = await self.serve()

    def make_certificates(self) -> None:
        """An authority, a certificate for the server, one for the client."""
        self.authority = Authority(self.mktemp())
        self.server_file = self.authority.issue("localhost", "127.0.0.1")
        self.client_file = self.authority.issue("client")

    async def connect(self, tls: TLS, host: str = "localhost") -> ZooKeeperClient:
        """A connected client."""
        client = ZooKeeperClient(f"{host}:{self.port}", 10.0, tls=tls)
        self.addCleanup(client.close)
        return await client.connect(60)

    async def refused(self, tls: TLS, host: str = "localhost") -> str:
        """The reason why a client cannot connect."""
        client = ZooKeeperClient(f"{host}:{self.port}", 10.0, tls=tls)
        self.addCleanup(client.close)
        connecting = self.assertFailure(client.connect(60), CancelledError)
        while client._manager.last_failure is None:  # it would go on trying
            await deferLater(reactor, 0.01, lambda: None)
        reason = str(client._manager.last_failure)
        connecting.cancel()
        await connecting
        return reason

    async def all_refused(self, wrong: list[TLS]) -> list[str]:
        """The errors of clients that cannot connect; they wait concurrently."""
        return await gatherResults([Deferred.fromCoroutine(self.refused(tls)) for tls in wrong])

    def tls(self, **options: Any) -> TLS:
        """The TLS settings of a client, with changes."""
        return TLS(**{"ca": self.authority.ca, "certificate": self.client_file, **options})

    async def test_a_verified_server_is_accepted(self) -> None:
        """With the right authority and name or address, requests of any size work."""
        for host in ("localhost", "127.0.0.1"):
            client = await self.connect(self.tls(), host)
            await client.ensure_path("/tls")
            await client.set("/tls", bytes(500_000))
            self.assertEqual(len((await client.get("/tls"))[0]), 500_000)
            await client.close()

    async def test_a_certificate_for_another_name_is_refused(self) -> None:
        """A certificate for another name is refused; the error names the expected one."""
        names = ("elsewhere.example", "192.0.2.1")
        reasons = await self.all_refused([self.tls(server_name=name) for name in names])
        for name, reason in zip(names, reasons, strict=True):
            self.assertIn(f"its certificate is not for {name}; connect to a name", reason)

    async def test_another_name_can_be_expected(self) -> None:
        """It is accepted if that name is set, or if names are not verified."""
        await self.connect(self.tls(server_name="localhost"), "127.0.0.1")
        await self.connect(self.tls(server_name="elsewhere.example", verify_name=False))

    async def test_another_authority_is_refused(self) -> None:
        """A certificate of another authority is refused, even if names are not verified."""
        other = Authority(self.mktemp())
        wrong = [self.tls(ca=other.ca, verify_name=verify) for verify in (True, False)]
        for reason in await self.all_refused(wrong):
            self.assertIn("has expired, or is not signed by a trusted authority (cert", reason)

    async def test_a_client_without_a_certificate_is_refused(self) -> None:
        """A server that requires a certificate refuses a client without one."""
        await self.refused(self.tls(certificate=None))

    async def test_four_letter_word(self) -> None:
        """Four-letter words go through TLS, too."""
        answer = await four_letter_word(f"localhost:{self.port}", "ruok", tls=self.tls())
        self.assertEqual(answer, "imok")
