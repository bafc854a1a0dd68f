"""Sessions that say farewell leave nothing in the tracker, whenever they do."""

from __future__ import annotations

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from zkservice.client import ZooKeeperClient
from zkservice.testing import EmbeddedZooKeeper


class FarewellTests(TestCase):
    """A farewell is also a sign of life, and must not be taken for one."""

    timeout = 10

    async def test_a_farewell_in_a_later_tick(self) -> None:
        """After closes in later ticks than the last call, other sessions still expire."""
        server = EmbeddedZooKeeper(tick_time=0.1)
        await server.start()
        self.addCleanup(server.stop)
        for _ in range(3):
            client = ZooKeeperClient(server.connection_string, 0.3)
            await client.connect(5.0)
            await deferLater(reactor, 0.15, lambda: None)
            await client.close()
        silent = ZooKeeperClient(server.connection_string, 0.3)
        self.addCleanup(silent.close)
        await silent.connect(5.0)
        identity = silent.client_id
        assert identity is not None
        server.refuse = True
        server.drop(identity[0])
        for _ in range(60):
            if identity[0] not in server.sessions():
                break
            await deferLater(reactor, 0.05, lambda: None)
        self.assertEqual(server.sessions(), [])
