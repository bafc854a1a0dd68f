"""Tests for SASL DIGEST-MD5, with the embedded server and with Apache's."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import TestCase
from typing_extensions import override

from zkservice.client import DigestMD5, ZooKeeperClient
from zkservice.errors import AuthFailedError, SaslError
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache
from zkservice.testing.embedded import EmbeddedZooKeeper
from zkservice.wire.acl import ACL, CREATOR_ALL_ACL, Id
from zkservice.wire.session import State

JAAS = """
Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_alice="it's a secret";
};
"""


class SaslContract(TestCase):
    """A server that knows ``alice``."""

    timeout = 30
    server: Any

    def connect(self, user: DigestMD5) -> tuple[ZooKeeperClient, Any]:
        """A client, and its connection to be."""
        client = ZooKeeperClient(self.server.connection_string, 4.0, sasl=user)
        self.addCleanup(client.close)
        return client, client.connect(10)

    async def test_accepted(self) -> None:
        """The right password gives an identity, on every connection."""
        client, connected = self.connect(DigestMD5("alice", "it's a secret"))
        await connected
        await client.create("/mine", b"", CREATOR_ALL_ACL)
        self.assertEqual((await client.get_acl("/mine"))[0], [ACL(31, Id("sasl", "alice"))])
        before = client.client_id
        connection = client._manager._connection
        assert connection is not None
        connection.abort()
        await client.get("/mine")
        self.assertEqual(client.client_id, before)

    async def test_refused(self) -> None:
        """A wrong password, or an unknown user, is the end of the client."""
        for user in (DigestMD5("alice", "wrong"), DigestMD5("bob", "guess")):
            client, connected = self.connect(user)
            await self.assertFailure(connected, AuthFailedError)
            self.assertIs(client.state, State.AUTH_FAILED)

    def test_secret(self) -> None:
        """The password is in no representation."""
        self.assertNotIn("secret", repr(DigestMD5("alice", "it's a secret")))


class EmbeddedTests(SaslContract):
    """With the server in this process."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.server = EmbeddedZooKeeper(sasl_users={"alice": "it's a secret"})
        await self.server.start()
        self.addCleanup(self.server.stop)


@skip_without_apache
class ApacheTests(SaslContract):
    """With the real one."""

    @override
    def setUp(self) -> None:
        folder = self.mktemp()
        os.makedirs(folder)
        jaas = os.path.abspath(os.path.join(folder, "jaas.conf"))
        with open(jaas, "w") as file:
            file.write(JAAS)
        self.server = ApacheZooKeeper(
            properties={
                "java.security.auth.login.config": jaas,
                "zookeeper.authProvider.1": (
                    "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
                ),
            }
        )
        self.addCleanup(self.server.remove)
        self.server.start()


class UnconfiguredTests(TestCase):
    """With a server that has no SASL."""

    timeout = 10

    async def test_said_once(self) -> None:
        """The client is told why, and does not go on without."""
        server = EmbeddedZooKeeper()
        await server.start()
        self.addCleanup(server.stop)
        client = ZooKeeperClient(
            server.connection_string, 4.0, sasl=DigestMD5("alice", "it's a secret")
        )
        self.addCleanup(client.close)
        error: Any = await self.assertFailure(client.connect(5), SaslError)
        self.assertIn("not configured", str(error))
        self.assertIs(client.state, State.AUTH_FAILED)
        error = await self.assertFailure(client.get("/"), SaslError)
        self.assertIn("not configured", str(error))


del SaslContract
