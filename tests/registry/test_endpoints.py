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
    LinkLoopError,
    NobodyRegisteredError,
)
from zkservice.formats import FORMATS, Announcement
from zkservice.registry import RegistrationState, register
from zkservice.testing import EmbeddedZooKeeper
from zkservice.wire.acl import ACL, ANYONE, Permission


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

    async def test_unescaped(self) -> None:
        """A description that was not escaped is understood as well, where it is clear."""
        await self.check("tcp:0:interface=127.0.0.1")

    async def check(self, inner: str) -> None:
        """Listen, connect, stop."""
        listening = serverFromString(reactor, f"zk:/svc:servers={self.servers}:{inner}")
        port = await listening.listen(Factory.forProtocol(Echo))
        self.assertEqual(
            await self.client.get_children("/svc"), [f"127.0.0.1:{port.getHost().port}"]
        )
        connecting = clientFromString(reactor, f"zk:/svc:servers={self.servers}")
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

    async def test_stopped(self) -> None:
        """The end of a port is told as what was wanted, not as a session that was lost."""
        description = f"zk:/svc:servers={self.servers}:tcp:0:interface=127.0.0.1"
        port: Any = await serverFromString(reactor, description).listen(Factory.forProtocol(Echo))
        states: list[RegistrationState] = []
        port.registration.subscribe(lambda change: states.append(change.state))
        await port.stopListening()
        self.assertEqual(states, [RegistrationState.WITHDRAWN])

    async def test_the_dead_are_passed_over(self) -> None:
        """An address that lets nobody in is not the last word."""
        plain = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port: Any = await plain.listen(Factory.forProtocol(Echo))
        self.addCleanup(port.stopListening)
        dead: Any = await plain.listen(Factory.forProtocol(Echo))
        addresses = [f"127.0.0.1:{dead.getHost().port}", f"127.0.0.1:{port.getHost().port}"]
        await dead.stopListening()
        await self.client.ensure_path("/svc")
        for name in (*addresses, "no-address"):
            await self.client.create(f"/svc/{name}", ephemeral=True)
        for _ in range(6):
            connecting = clientFromString(reactor, f"zk:/svc:servers={self.servers}")
            said = await connecting.connect(Factory.forProtocol(Said))
            said.transport.abortConnection()

    async def test_nobody(self) -> None:
        """An empty znode and a missing one are the same: nobody is there."""
        await self.client.create("/empty")
        for path in ("/empty", "/missing"):
            with self.assertRaises(NobodyRegisteredError):
                await clientFromString(reactor, f"zk:{path}:servers={self.servers}").connect(
                    Factory.forProtocol(Said)
                )

    async def test_no_address(self) -> None:
        """What nobody can connect to is not registered, and not left open."""
        inner = quoteStringArgument(f"unix:{self.mktemp()[-40:]}".replace("/", ""))
        with self.assertRaises(AddressError):
            await serverFromString(reactor, f"zk:/svc:{inner}:servers={self.servers}").listen(
                Factory.forProtocol(Echo)
            )

    def test_environment(self) -> None:
        """The connection string may be the environment's; without any it is an error."""
        self.patch(os, "environ", {"ZC_ZK_CONNECTION_STRING": "h:1"})
        clientFromString(reactor, "zk:/svc")
        self.patch(os, "environ", {})
        with self.assertRaises(ValueError) as caught:
            clientFromString(reactor, "zk:/svc")
        self.assertIn("servers=", str(caught.exception))

    def test_refusals(self) -> None:
        """Bad paths, bad servers and missing descriptions are refused at once."""
        with self.assertRaises(InvalidPathError):
            clientFromString(reactor, "zk:svc:servers=h")
        with self.assertRaises(InvalidHostsError):
            clientFromString(reactor, "zk:/svc:servers=h\\:x")
        with self.assertRaises(ValueError) as caught:
            serverFromString(reactor, "zk:/svc:servers=h")
        self.assertIn("has no endpoint to listen on", str(caught.exception))


class DiscoveryTests(TestCase):
    """What a client endpoint makes of what is registered, and of what goes wrong."""

    timeout = 15

    async def setUp(self) -> None:  # type: ignore[override]
        """A ZooKeeper, a client that registers, and an echo server."""
        self.server = EmbeddedZooKeeper()
        await self.server.start()
        self.addCleanup(self.server.stop)
        self.client = ZooKeeperClient(self.server.connection_string)
        self.addCleanup(self.client.close)
        await self.client.connect(5.0)
        self.address = await self.listen(Echo)

    async def listen(self, protocol: type[Protocol]) -> str:
        """The address of a server on a port that the system picks."""
        plain = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port: Any = await plain.listen(Factory.forProtocol(protocol))
        self.addCleanup(port.stopListening)
        return f"127.0.0.1:{port.getHost().port}"

    async def connect(self, path: str = "/svc", options: str = "") -> None:
        """Connect through a description, and hear an echo."""
        servers = quoteStringArgument(self.server.connection_string)
        endpoint = clientFromString(reactor, f"zk:{path}:servers={servers}{options}")
        said = await endpoint.connect(Factory.forProtocol(Said))
        said.transport.write(b"hello")
        self.assertEqual(await said.heard, b"hello")
        said.transport.abortConnection()

    async def refused(self, path: str = "/svc", options: str = "") -> str:
        """What is said where nobody is found."""
        with self.assertRaises(NobodyRegisteredError) as caught:
            await self.connect(path, options)
        return str(caught.exception)

    async def put(self, name: str, data: bytes = b"") -> None:
        """A child of the service."""
        await self.client.ensure_path("/svc")
        await self.client.create(f"/svc/{name}", data)

    async def test_every_format(self) -> None:
        """A service is found in whatever format it is registered."""
        for name in FORMATS:
            registration = register(self.client, "/svc", self.address, format=name)
            await registration.when_registered()
            await self.connect()
            await self.connect(options=f":format={name}")
            await registration.unregister()

    async def test_one_format_only(self) -> None:
        """A description can say which format counts."""
        await self.put(self.address)
        self.assertIn("(serverset)", await self.refused(options=":format=serverset"))

    async def test_symbolic_links(self) -> None:
        """The path may lead through links; one that leads in a circle is an error."""
        await self.put(self.address)
        await self.client.create("/real", b'{"alias ->": "/svc", "round ->": "/real/round/on"}')
        await self.connect("/real/alias")
        with self.assertRaises(LinkLoopError):
            await self.connect("/real/round")

    async def test_members_that_are_unavailable(self) -> None:
        """A member that is about to stop is left out, and the error says so."""
        one = Announcement("/svc", self.address, {}, 0, available=False)
        await self.put("member_1", FORMATS["serverset"].data(one))
        self.assertIn("none of the 1 registered here is available", await self.refused())

    async def test_children_that_are_no_members(self) -> None:
        """Other children do no harm; where there is nothing else, the error shows one."""
        await self.put("leader", b"10.0.0.1")
        await self.put("member_7", b'{"serviceEndpoint":{"host":"h","port":"x"}}')
        said = await self.refused()
        self.assertIn("'leader': it is not a service instance", said)
        self.assertIn("1 more", said)
        await self.put(self.address)
        await self.connect()

    async def test_members_that_may_not_be_read(self) -> None:
        """Where only the names may be read, addresses among them count."""
        await self.client.ensure_path("/svc")
        acl = [ACL(int(Permission.DELETE), ANYONE)]
        await self.client.create(f"/svc/{self.address}", b"", acl)
        await self.connect()

    async def test_connection_cut_during_the_look_up(self) -> None:
        """Wherever the look-up's connection breaks once, it finds the service."""
        await self.put(self.address)
        for requests in range(4):
            self.cut_once(requests)
            await self.connect()

    def cut_once(self, requests: int) -> None:
        """Break the connection of another session when it has sent so many requests."""
        keeper, seen = self.server.server, 0
        received = keeper.received
        ours = (self.client.client_id or (0, b""))[0]

        def count(connection: Any, frames: Any) -> bool:
            nonlocal seen
            session = connection.session
            if session is not None and session.id != ours:
                if seen == requests:
                    keeper.received = received  # type: ignore[method-assign]
                    keeper.drop(session.id)
                    return True
                seen += 1
            return received(connection, frames)

        keeper.received = count  # type: ignore[method-assign]

    def test_timeout(self) -> None:
        """A time-out is a number of seconds over 0."""
        for wrong in ("0", "-1", "soon", "nan", "inf", ""):
            with self.assertRaises(ValueError) as caught:
                clientFromString(reactor, f"zk:/svc:servers=h:timeout={wrong}")
            self.assertIn("seconds", str(caught.exception))
        with self.assertRaises(ValueError) as caught:
            clientFromString(reactor, "zk:/svc:servers=h:format=finagle")
        self.assertIn("serverset", str(caught.exception))
