r"""Tests for `zkservice.registry.endpoints`, through Twisted's own parsers."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs
from twisted.protocols.wire import Echo
from typing_extensions import override

from tests.client.base import ClientTestCase
from tests.connected import ConnectedTestCase
from zkservice.errors import (
    AddressError,
    InvalidHostsError,
    InvalidPathError,
    TreeValueError,
)
from zkservice.formats import read_member
from zkservice.registry import RegistrationState
from zkservice.registry.endpoints import EndpointSettings, RegisteringEndpoint
from zkservice.wire.acl import READ_ACL_UNSAFE


class EchoClient(Protocol):
    """Sends "hello", and records the echo."""

    def __init__(self) -> None:
        self.received: Deferred[bytes] = Deferred()

    @override
    def dataReceived(self, data: bytes) -> None:
        """The echo."""
        self.received.callback(data)


class EndpointTests(ConnectedTestCase):
    """Endpoint strings, as users write them."""

    async def test_listen_connect_stop(self) -> None:
        """A port is registered while it listens."""
        await self.check(quoteStringArgument("tcp:0:interface=127.0.0.1"))

    async def test_an_unescaped_description_is_understood(self) -> None:
        """A description whose colons are not escaped is accepted if it is unambiguous."""
        await self.check("tcp:0:interface=127.0.0.1")

    async def listen(self, description: str) -> Any:
        """A port that is registered."""
        endpoint = serverFromString(reactor, description)
        port: Any = await endpoint.listen(Factory.forProtocol(Echo))
        await port.registration.when_registered()
        return port

    async def check(self, inner: str) -> None:
        """Listen, connect, stop."""
        port = await self.listen(f"zk:/svc:servers={self.servers}:{inner}")
        self.assertEqual(
            await self.client.get_children("/svc"), [f"127.0.0.1:{port.getHost().port}"]
        )
        connecting: Any = clientFromString(reactor, f"zk:/svc:servers={self.servers}")
        self.addCleanup(connecting.close)
        echo_client = await connecting.connect(Factory.forProtocol(EchoClient))
        echo_client.transport.write(b"hello")
        self.assertEqual(await echo_client.received, b"hello")
        echo_client.transport.abortConnection()
        await port.stopListening()
        self.assertEqual(await self.client.get_children("/svc"), [])

    async def test_the_same_port_twice(self) -> None:
        """A second server on one port is refused, and the first stays registered."""
        first = f"zk:/svc:servers={self.servers}:tcp:0:interface=127.0.0.1"
        port = await self.listen(first)
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
        port = await self.listen(listening)
        self.assertEqual(len(await self.client.get_children("/real")), 1)
        self.assertEqual(await self.client.get_children("/links"), [])
        await port.stopListening()
        self.assertEqual(await self.client.get_children("/real"), [])

    async def test_a_stopped_port_is_no_lost_session(self) -> None:
        """Stopping a port logs a withdrawal, and no lost session."""
        description = f"zk:/svc:servers={self.servers}:tcp:0:interface=127.0.0.1"
        port = await self.listen(description)
        states: list[RegistrationState] = []
        port.registration.subscribe(lambda change: states.append(change.state))
        await port.stopListening()
        self.assertEqual(states, [RegistrationState.WITHDRAWN])

    async def test_a_port_without_an_address_is_closed(self) -> None:
        """A port without an address is not registered, and is closed."""
        inner = quoteStringArgument(f"unix:{self.mktemp()[-40:]}".replace("/", ""))
        with self.assertRaisesRegex(AddressError, "advertise="):
            await self.listen(f"zk:/svc:{inner}:servers={self.servers}")

    async def test_what_is_registered(self) -> None:
        """The description sets properties, a format and the address to register."""
        options = r"property=zone=a,note=x\,y,weight\:=3:format=nerve:advertise=h.example\:80"
        inner = quoteStringArgument("tcp:0:interface=127.0.0.1")
        port = await self.listen(f"zk:/svc:servers={self.servers}:{options}:{inner}")
        data, _ = await self.client.get("/svc/h.example:80_0")
        member = read_member("h.example:80_0", data)
        self.assertEqual((member.address, member.weight), ("h.example:80", 3.0))
        self.assertEqual(member.properties["zone"], "a")
        self.assertEqual(member.properties["note"], "x,y")
        await port.stopListening()
        self.assertEqual(await self.client.get_children("/svc"), [])

    async def test_advertised_host_has_the_port_that_is_listened_on(self) -> None:
        """With ``advertise=HOST``, the listening port is registered with that host."""
        inner = quoteStringArgument("tcp:0:interface=127.0.0.1")
        port = await self.listen(f"zk:/svc:servers={self.servers}:advertise=h:{inner}")
        self.assertEqual(port.registration.addresses, (f"h:{port.getHost().port}",))
        await port.stopListening()

    async def test_a_unix_socket_with_an_advertised_address(self) -> None:
        """With ``advertise=HOST:PORT``, a Unix socket can be registered."""
        inner = quoteStringArgument(f"unix:{self.mktemp()[-40:]}".replace("/", ""))
        port = await self.listen(f"zk:/svc:servers={self.servers}:advertise=h\\:80:{inner}")
        self.assertEqual(await self.client.get_children("/svc"), ["h:80"])
        await port.stopListening()

    def test_the_connection_string_may_be_the_environments(self) -> None:
        """The connection string may be in the environment; without any it is an error."""
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
        for options, reason in (
            ("2181", r"zk:/svc: '2181' is no option; escape each colon within a value"),
            ("format=xml", "format=xml: expected one of properties"),
            ("property=zone", "'zone': write NAME=VALUE"),
            ("property=a\\:=[", "invalid JSON"),
            ("advertise=h\\:0", "expected HOST, or HOST:PORT"),
            ("advertise=\\:80", "expected HOST, or HOST:PORT"),
            ("advertise=a\\:b\\:1", "brackets"),
            ("advertise=", "expected HOST, or HOST:PORT"),
        ):
            with self.assertRaisesRegex(ValueError, reason):
                serverFromString(reactor, f"zk:/svc:servers=h:{options}:tcp\\:0")


class WithoutZooKeeperTests(ClientTestCase):
    """A port that is open before ZooKeeper can be reached, on a network without sockets."""

    def listen(self, **options: Any) -> Any:
        """A port."""
        self.wrapped = Port()
        endpoint = RegisteringEndpoint(
            *(self.network, "/svc", "", self.wrapped),
            connect=lambda reactor, servers: self.client(),
            settings=EndpointSettings(**options),
        )
        return self.successResultOf(endpoint.listen(Factory.forProtocol(Echo)))

    def test_it_registers_when_zookeeper_is_there(self) -> None:
        """It listens at once, logs after a while that it is not registered, and registers."""
        self.server.refuse = True
        with capturedLogs() as events:
            port = self.listen()
            self.network.advance(60)
        self.assertTrue(self.wrapped.listening)
        self.assertIs(port.registration.state, RegistrationState.WAITING)
        (warning,) = [event for event in events if "but not registered" in event["log_format"]]
        self.assertEqual((warning["addresses"], warning["path"]), ("10.0.0.9:8080", "/svc"))
        self.server.refuse = False
        self.network.advance(60)
        self.assertIs(port.registration.state, RegistrationState.REGISTERED)
        self.result(port.stopListening())
        self.assertFalse(self.wrapped.listening)

    def test_it_stops_without_ever_being_registered(self) -> None:
        """Stopping leaves no connection and no timer."""
        self.server.refuse = True
        port = self.listen()
        stopped = port.stopListening()
        self.network.advance(10)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertFalse(self.wrapped.listening)

    def test_what_zookeeper_refuses_is_tried_again(self) -> None:
        """The port stays open while the registration is refused."""
        admin = self.connected()
        self.result(admin.create("/svc", acl=READ_ACL_UNSAFE))
        port = self.listen()
        self.network.advance(5)
        self.assertIs(port.registration.state, RegistrationState.FAILING)
        self.assertTrue(self.wrapped.listening)
        self.result(port.stopListening())

    def test_what_can_never_be_registered_closes_the_port(self) -> None:
        """A property that JSON cannot hold fails at once."""
        self.wrapped = Port()
        endpoint = RegisteringEndpoint(
            *(self.network, "/svc", "", self.wrapped),
            connect=lambda reactor, servers: self.client(),
            settings=EndpointSettings({"a": object()}),
        )
        self.failure(endpoint.listen(Factory.forProtocol(Echo)), TreeValueError)
        self.assertFalse(self.wrapped.listening)

    def test_formats_that_say_so_say_tls(self) -> None:
        """The settings of a TLS endpoint reach the znode."""
        port = self.listen(format="curator", tls=True)
        self.network.advance(1)
        data, _ = self.result(self.connected().get(port.registration.path))
        self.assertTrue(read_member("i", data).tls)
        self.result(port.stopListening())


class Port:
    """An endpoint, and the port that it opens."""

    listening = False

    def listen(self, factory: object) -> Any:
        """Open the port."""
        self.listening = True
        return succeed(self)

    def getHost(self) -> IPv4Address:  # noqa: N802 - Twisted's name
        """The address."""
        return IPv4Address("TCP", "10.0.0.9", 8080)

    def stopListening(self) -> None:  # noqa: N802
        """Close the port."""
        self.listening = False
