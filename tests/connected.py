"""A base class for tests with an embedded ZooKeeper and a client that is connected to it."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.interfaces import IProtocolFactory
from twisted.trial.unittest import TestCase
from typing_extensions import override

from zkservice.client import ZooKeeperClient
from zkservice.testing import EmbeddedZooKeeper


class ConnectedTestCase(TestCase):
    """Real connections on loopback, all closed at the end of each test.

    Attributes:
        server: the embedded server.
        client: is connected to it.
    """

    timeout = 300

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.server = EmbeddedZooKeeper()
        await self.server.start()
        self.addCleanup(self.server.stop)
        self.client = ZooKeeperClient(self.server.connection_string)
        self.addCleanup(self.client.close)
        await self.client.connect(60.0)

    @property
    def servers(self) -> str:
        """The connection string, as an argument in an endpoint string."""
        quoted: str = quoteStringArgument(self.server.connection_string)
        return quoted

    async def open_port(self, factory: IProtocolFactory) -> Any:
        """Listen on loopback until the end of the test."""
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port: Any = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return port
