r"""Tests for `zkservice.registry.endpoints`, through Twisted's own parsers."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.wire import Echo
from twisted.trial.unittest import TestCase
from typing_extensions import override

from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    AddressError,
    InvalidHostsError,
    InvalidPathError,
)
from zkservice.registry import RegistrationState
from zkservice.testing import EmbeddedZooKeeper


class Said(Protocol):
    """Says hello, and hears what comes back."""

    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()

    @override
    def dataReceived(self, data: bytes) -> None:
        """The echo."""
        self.heard.callback(data)


class EndpointTests(TestCase):
    """Descriptions, as users write them."""

    timeout = 15

    async def setUp(self) -> None:  # type: ignore[override]
        """A ZooKeeper, and a client that looks on."""
        self.server = EmbeddedZooKeeper()
        await self.server.start()
        self.addCleanup(self.server.stop)
        self.servers = quoteStringArgument(self.server.connection_string)
        self.client = ZooKeeperClient(self.server.connection_string)
        self.addCleanup(self.client.close)
        await self.client.connect(5.0)

    async def test_listen_connect_stop(self) -> None:
        """Who listens is registered, is found, and is gone when it stops."""
        await self.check(quoteStringArgument("tcp:0:interface=127.0.0.1"))

    async def test_an_unescaped_description_is_understood(self) -> None:
        """A description that was not escaped is understood as well, where it is clear."""
        await self.check("tcp:0:interface=127.0.0.1")

    async def check(self, inner: str) -> None:
        """Listen, connect, stop."""
        listening = serverFromString(reactor, f"zk:/svc:servers={self.servers}:{inner}")
        port = await listening.listen(Factory.forProtocol(Echo))
        self.assertEqual(
            await self.client.get_children("/svc"), [f"127.0.0.1:{port.getHost().port}"]
        )
        connecting: Any = clientFromString(reactor, f"zk:/svc:servers={self.servers}")
        self.addCleanup(connecting.close)
        said = await connecting.connect(Factory.forProtocol(Said))
        said.transport.write(b"hello")
        self.assertEqual(await said.heard, b"hello")
        said.transport.abortConnection()
        await port.stopListening()
        self.assertEqual(await self.client.get_children("/svc"), [])

    async def test_the_same_port_twice(self) -> None:
        """A second server on one port is refused, and the first stays registered."""
        first = f"zk:/svc:servers={self.servers}:tcp:0:interface=127.0.0.1"
        port: Any = await serverFromString(reactor, first).listen(Factory.forProtocol(Echo))
        number = port.getHost().port
        second = f"zk:/svc:servers={self.servers}:tcp:{number}:interface=127.0.0.1"
        with self.assertRaises(CannotListenError):
            await serverFromString(reactor, second).listen(Factory.forProtocol(Echo))
        self.assertEqual(await self.client.get_children("/svc"), [f"127.0.0.1:{number}"])
        await port.stopListening()

    async def test_a_link_in_the_path(self) -> None:
        """A server is registered where its path leads."""
        await self.client.create("/links", b'{"svc ->": "/real"}')
        listening = f"zk:/links/svc:servers={self.servers}:tcp:0:interface=127.0.0.1"
        port: Any = await serverFromString(reactor, listening).listen(Factory.forProtocol(Echo))
        self.assertEqual(len(await self.client.get_children("/real")), 1)
        self.assertEqual(await self.client.get_children("/links"), [])
        await port.stopListening()
        self.assertEqual(await self.client.get_children("/real"), [])

    async def test_a_stopped_port_is_no_lost_session(self) -> None:
        """The end of a port is logged as wanted, not as a lost session."""
        description = f"zk:/svc:servers={self.servers}:tcp:0:interface=127.0.0.1"
        port: Any = await serverFromString(reactor, description).listen(Factory.forProtocol(Echo))
        states: list[RegistrationState] = []
        port.registration.subscribe(lambda change: states.append(change.state))
        await port.stopListening()
        self.assertEqual(states, [RegistrationState.WITHDRAWN])

    async def test_a_port_without_an_address_is_closed(self) -> None:
        """A port without an address is not registered, and is closed."""
        inner = quoteStringArgument(f"unix:{self.mktemp()[-40:]}".replace("/", ""))
        with self.assertRaises(AddressError):
            await serverFromString(reactor, f"zk:/svc:{inner}:servers={self.servers}").listen(
                Factory.forProtocol(Echo)
            )

    def test_the_connection_string_may_be_the_environments(self) -> None:
        """The connection string may be the environment's; without any it is an error."""
        self.patch(os, "environ", {"ZC_ZK_CONNECTION_STRING": "h:1"})
        clientFromString(reactor, "zk:/svc")
        self.patch(os, "environ", {})
        with self.assertRaises(ValueError) as caught:
            clientFromString(reactor, "zk:/svc")
        self.assertIn("servers=", str(caught.exception))

    def test_invalid_descriptions_are_refused_at_once(self) -> None:
        """Bad paths, bad servers and missing descriptions are refused at once."""
        with self.assertRaises(InvalidPathError):
            clientFromString(reactor, "zk:svc:servers=h")
        with self.assertRaises(InvalidHostsError):
            clientFromString(reactor, "zk:/svc:servers=h\\:x")
        with self.assertRaises(ValueError) as caught:
            serverFromString(reactor, "zk:/svc:servers=h")
        self.assertIn("has no endpoint to listen on", str(caught.exception))
