"""Tests of SASL that must pass with any server."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from zkservice.client import DigestMD5, ZooKeeperClient
from zkservice.errors import AuthFailedError
from zkservice.wire.acl import ACL, CREATOR_ALL_ACL, Id
from zkservice.wire.session import State


class SaslContract(TestCase):
    """A server that knows ``alice``."""

    timeout = 300
    server: Any

    def connect(self, user: DigestMD5) -> tuple[ZooKeeperClient, Any]:
        """A client, and the Deferred of its `connect`."""
        client = ZooKeeperClient(self.server.connection_string, 10.0, sasl=user)
        self.addCleanup(client.close)
        return client, client.connect(60)

    async def test_the_right_password_is_accepted(self) -> None:
        """The right password authenticates every connection."""
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

    async def test_a_wrong_password_closes_the_client(self) -> None:
        """A wrong password or an unknown user closes the client."""
        for user in (DigestMD5("alice", "wrong"), DigestMD5("bob", "guess")):
            client, connected = self.connect(user)
            error: Any = await self.assertFailure(connected, AuthFailedError)
            self.assertIn("-Dzookeeper.fips-mode=false", str(error))
            self.assertIs(client.state, State.AUTH_FAILED)

    def test_the_password_is_in_no_representation(self) -> None:
        """The password is not in the repr."""
        self.assertNotIn("secret", repr(DigestMD5("alice", "it's a secret")))
