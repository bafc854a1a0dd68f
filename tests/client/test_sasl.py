"""Tests for SASL DIGEST-MD5, with the embedded server; `tests.functional.apache` has Apache's."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase
from typing_extensions import override

from tests.client.sasl_contract import SaslContract
from zkservice.client import DigestMD5, ZooKeeperClient
from zkservice.errors import SaslError
from zkservice.testing.embedded import EmbeddedZooKeeper
from zkservice.wire.session import State


class EmbeddedTests(SaslContract):
    """With the server in this process."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.server = EmbeddedZooKeeper(sasl_users={"alice": "it's a secret"})
        await self.server.start()
        self.addCleanup(self.server.stop)


class UnconfiguredTests(TestCase):
    """With a server that is not configured for SASL."""

    timeout = 300

    async def test_the_client_is_closed_with_the_reason(self) -> None:
        """The client fails with the reason; it does not continue without authentication."""
        server = EmbeddedZooKeeper()
        await server.start()
        self.addCleanup(server.stop)
        client = ZooKeeperClient(
            server.connection_string, 4.0, sasl=DigestMD5("alice", "it's a secret")
        )
        self.addCleanup(client.close)
        error: Any = await self.assertFailure(client.connect(60), SaslError)
        self.assertIn("not configured", str(error))
        self.assertIs(client.state, State.AUTH_FAILED)
        error = await self.assertFailure(client.get("/"), SaslError)
        self.assertIn("not configured", str(error))


del SaslContract  # not to be run by itself
