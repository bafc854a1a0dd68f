"""With trial: the server and the code under test share the reactor."""

from flags import PATH, Flags
from twisted.internet import reactor  # noqa: TID251 - trial's own
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from zkservice.client import ZooKeeperClient
from zkservice.testing import EmbeddedZooKeeper


class FlagTests(TestCase):
    async def setUp(self):
        self.zookeeper = EmbeddedZooKeeper()
        await self.zookeeper.start()
        self.addCleanup(self.zookeeper.stop)
        self.client = await self.connect()
        self.flags = await Flags.follow(self.client, reactor)

    async def connect(self):
        client = await ZooKeeperClient(self.zookeeper.connection_string).connect(timeout=10)
        self.addCleanup(client.close)
        return client

    async def until(self, condition):
        """Wait for what has to travel through ZooKeeper; trial's time-out ends a vain wait."""
        while not condition():
            await deferLater(reactor, 0.01)

    async def test_a_flag_is_off_until_it_is_set(self):
        self.assertFalse(self.flags.is_on("new-cart"))

    async def test_a_change_is_seen(self):
        operator = await self.connect()
        await operator.set(PATH, b'{"new-cart": true}')
        await self.until(lambda: self.flags.is_on("new-cart"))

    async def test_a_change_is_seen_after_the_session_has_expired(self):
        operator = await self.connect()
        self.zookeeper.expire(self.client.client_id[0])
        await operator.set(PATH, b'{"new-cart": true}')
        await self.until(lambda: self.flags.is_on("new-cart"))

    async def test_the_last_value_is_kept_while_zookeeper_is_away(self):
        await self.client.set(PATH, b'{"new-cart": true}')
        await self.until(lambda: self.flags.is_on("new-cart"))
        await self.zookeeper.stop()
        await deferLater(reactor, 0.05)
        self.assertTrue(self.flags.is_on("new-cart"))
