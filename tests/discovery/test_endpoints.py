r"""Tests of `zkservice.discovery.endpoints`: descriptions that connect, and what they share."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override
from zope.interface import implementer

from tests.client.base import HOST, PORT, ClientTestCase
from tests.connected import ConnectedTestCase
from tests.registry.test_endpoints import EchoClient
from zkservice.client import ZooKeeperClient
from zkservice.discovery.counted import CountingFactory
from zkservice.discovery.endpoints import ClientEndpointParser, DiscoveringEndpoint
from zkservice.discovery.shared import PAUSE, SharedSessions
from zkservice.errors import ConnectTimeoutError, LinkLoopError, NoProviderError
from zkservice.formats import FORMATS, Announcement
from zkservice.registry import register
from zkservice.wire.acl import ACL, ANYONE, Permission


class DescriptionTests(ConnectedTestCase):
    """Client endpoints with registrations and errors of all kinds."""

    async def setUp(self) -> None:  # type: ignore[override]
        """A ZooKeeper, a client that registers, and an echo server."""
        await super().setUp()
        self.address = await self.listen(Echo)

    async def listen(self, protocol: type[Protocol]) -> str:
        """The address of a server on a port that the system picks."""
        port = await self.open_port(Factory.forProtocol(protocol))
        return f"127.0.0.1:{port.getHost().port}"

    async def connect(self, path: str = "/svc", options: str = "") -> None:
        """Connect with an endpoint string, and wait for an echo."""
        endpoint: Any = clientFromString(reactor, f"zk:{path}:servers={self.servers}{options}")
        try:
            echo_client = await endpoint.connect(Factory.forProtocol(EchoClient))
            echo_client.transport.write(b"hello")
            self.assertEqual(await echo_client.received, b"hello")
            echo_client.transport.abortConnection()
        finally:
            await endpoint.close()

    async def refused(self, path: str = "/svc", options: str = "") -> str:
        """The error's message if no provider is found."""
        with self.assertRaises(NoProviderError) as caught:
            await self.connect(path, options)
        return str(caught.exception)

    async def put(self, name: str, data: bytes = b"") -> None:
        """A child of the service."""
        await self.client.ensure_path("/svc")
        await self.client.create(f"/svc/{name}", data)

    async def test_services_in_every_format_are_found(self) -> None:
        """A service is found in whatever format it is registered."""
        for name in FORMATS:
            registration = register(self.client, "/svc", self.address, format=name)
            await registration.when_registered()
            await self.connect()
            await self.connect(options=f":format={name}")
            await registration.unregister()

    async def test_one_format_only(self) -> None:
        """A description can select a format."""
        await self.put(self.address)
        self.assertIn("(serverset)", await self.refused(options=":format=serverset"))

    async def test_the_path_may_lead_through_links(self) -> None:
        """The path may lead through links; a loop is an error."""
        await self.put(self.address)
        await self.client.create("/real", b'{"alias ->": "/svc", "round ->": "/real/round/on"}')
        await self.connect("/real/alias")
        with self.assertRaises(LinkLoopError):
            await self.connect("/real/round")

    async def test_members_that_are_unavailable(self) -> None:
        """A member that is about to stop is left out; the error tells that."""
        one = Announcement("/svc", self.address, {}, 0, available=False)
        await self.put("member_1", FORMATS["serverset"].data(one))
        self.assertIn("none of the 1 registered here is available", await self.refused())

    async def test_children_that_are_no_members(self) -> None:
        """Other children are ignored; if there are only such, the error names one."""
        await self.put("leader", b"10.0.0.1")
        await self.put("member_7", b'{"serviceEndpoint":{"host":"h","port":"x"}}')
        message = await self.refused()
        self.assertIn("'leader': it is not a service instance", message)
        self.assertIn("1 more", message)
        await self.put(self.address)
        await self.connect()

    async def test_members_that_may_not_be_read(self) -> None:
        """If only names can be read, those that are addresses count."""
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
        """Break another session's connection after a number of requests."""
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

    async def test_dead_addresses_are_passed_over(self) -> None:
        """After an address that refuses the connection, the next one is tried."""
        dead = await self.open_port(Factory.forProtocol(Echo))
        address = f"127.0.0.1:{dead.getHost().port}"
        await dead.stopListening()
        for name in (address, self.address, "no-address"):
            await self.put(name)
        for _ in range(6):
            await self.connect()

    async def test_an_empty_and_a_missing_znode_are_the_same(self) -> None:
        """An empty znode and a missing one both mean that no provider is registered."""
        await self.client.create("/empty")
        for path in ("/empty", "/missing"):
            await self.refused(path)

    async def test_one_session_for_many_connections(self) -> None:
        """A hundred descriptions, parsed one by one, are one session and no further requests."""
        others = [await self.listen(Echo) for _ in range(3)]
        for name in (self.address, *others):
            await self.put(name)
        before = self.server.statistics()
        ports: Counter[int] = Counter()
        endpoint: Any = None
        for _ in range(100):
            endpoint = clientFromString(reactor, f"zk:/svc:servers={self.servers}")
            echo_client = await endpoint.connect(Factory.forProtocol(EchoClient))
            ports[echo_client.transport.getPeer().port] += 1
            echo_client.transport.abortConnection()
        self.addCleanup(endpoint.close)
        after = self.server.statistics()
        self.assertEqual(after.sessions - before.sessions, 1)
        self.assertLess(after.received - before.received, 15)
        self.assertEqual(set(ports.values()), {25})


class OptionTests(SynchronousTestCase):
    """The options of a description."""

    def refused(self, options: str) -> str:
        """The error of an invalid description."""
        with self.assertRaises(ValueError) as caught:
            clientFromString(reactor, f"zk:/svc:servers=h:{options}")
        return str(caught.exception)

    def test_invalid_options_are_refused(self) -> None:
        """The error names what is expected."""
        for wrong in ("0", "-1", "soon", "nan", "inf", ""):
            self.assertIn("seconds", self.refused(f"timeout={wrong}"))
        self.assertIn("serverset", self.refused("format=finagle"))
        self.assertIn("round-robin, random, least-connections", self.refused("balance=best"))
        self.assertIn("not color", self.refused("color=red"))
        self.assertIn("escape each colon", self.refused("2181"))
        with self.assertRaisesRegex(ValueError, "servers, balance, .*; not server$"):
            clientFromString(reactor, "zk:/svc:server=h")

    def test_sessions_are_shared_by_reactor(self) -> None:
        """Endpoints of one reactor share sessions, which are not kept for ever."""
        parser = ClientEndpointParser()

        class Reactor:
            """A reactor of which only the identity matters."""

        def parse(of: Reactor) -> DiscoveringEndpoint:
            return parser.parseStreamClient(of, "/svc", servers="h")

        one, other = Reactor(), Reactor()
        first, second, third = parse(one), parse(one), parse(other)
        self.assertIs(first._shared, second._shared)
        self.assertIsNot(first._shared, third._shared)
        self.assertEqual(len(parser._shared), 2)
        del one, other, first, second, third
        gc.collect()
        self.assertEqual(len(parser._shared), 0)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Protocol):
    """A protocol for half-closed connections, with an attribute."""

    name = "mine"

    def readConnectionLost(self) -> None:  # noqa: N802
        """The other side has finished."""

    def writeConnectionLost(self) -> None:  # noqa: N802
        """This side has."""


class CountedTests(SynchronousTestCase):
    """`CountedProtocol` and its factory."""

    def test_everything_is_passed_on(self) -> None:
        """Interfaces, attributes, and a factory that refuses."""
        factory = Factory.forProtocol(HalfCloseable)
        counted = CountingFactory(factory, lambda: None).buildProtocol(None)
        self.assertTrue(IHalfCloseableProtocol.providedBy(counted))
        self.assertEqual(counted.name, "mine")
        factory.buildProtocol = lambda addr: None  # type: ignore[method-assign]
        self.assertIsNone(CountingFactory(factory, lambda: None).buildProtocol(None))


class NetworkTests(ClientTestCase):
    """Endpoints on a network without sockets."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.shared = SharedSessions(self.network, self.connect_client)
        self.admin = self.connected()
        self.result(self.admin.ensure_path("/svc"))
        self.made = 0
        self.open: list[Any] = []
        self.endpoints: list[DiscoveringEndpoint] = []

    @override
    def tearDown(self) -> None:
        for protocol in self.open:
            protocol.transport.loseConnection()
        for endpoint in self.endpoints:
            endpoint.close()
        super().tearDown()

    def connect_client(self, reactor: Any, servers: str) -> ZooKeeperClient:
        """Count the sessions."""
        self.made += 1
        return self.client(servers)

    def endpoint(self, path: str = "/svc", **options: Any) -> DiscoveringEndpoint:
        """An endpoint that ends with the test."""
        made = DiscoveringEndpoint(self.network, path, f"{HOST}:{PORT}", self.shared, **options)
        self.endpoints.append(made)
        return made

    def put(self, *hosts: str, alive: bool = True) -> None:
        """Register hosts; only some accept connections."""
        for host in hosts:
            self.network.names[host] = [host]
            if alive:
                self.network.listen(host, 80, Factory.forProtocol(Echo))
            else:
                self.network.black_holes.add((host, 80))
            self.result(self.admin.create(f"/svc/{host}:80"))

    def connect(self, endpoint: DiscoveringEndpoint, seconds: float = 0.5) -> Deferred[Any]:
        """Begin to connect, and give it time."""
        connecting: Deferred[Any] = endpoint.connect(Factory.forProtocol(Protocol))
        connecting.addCallback(self.opened)
        self.network.advance(seconds)
        return connecting

    def opened(self, protocol: Any) -> Any:
        """A connection to close."""
        self.open.append(protocol)
        return protocol

    def connected_to(self, endpoint: DiscoveringEndpoint, seconds: float = 0.5) -> str:
        """The host that accepts."""
        protocol = self.successResultOf(self.connect(endpoint, seconds))
        return str(protocol.transport.getPeer().host)

    def tried(self) -> list[str]:
        """The hosts of the service that were tried."""
        return [host for host, port in self.network.attempts if port == 80]

    def test_cancelled_connect_tries_no_other(self) -> None:
        """Nor does it count as a failure."""
        self.put("10.0.9.1", "10.0.9.2", alive=False)
        connecting = self.connect(self.endpoint())
        connecting.cancel()
        self.network.advance(60)
        self.failureResultOf(connecting)
        self.assertEqual(len(self.tried()), 1)

    def test_dead_addresses_cost_two_seconds_each(self) -> None:
        """Then the next is tried; after the last one it fails with that one's error."""
        self.put("10.0.9.1", "10.0.9.2", alive=False)
        connecting = self.connect(self.endpoint())
        self.assertEqual(len(self.tried()), 1)
        self.network.advance(2)
        self.assertEqual(sorted(self.tried()), ["10.0.9.1", "10.0.9.2"])
        self.assertNoResult(connecting)
        self.network.advance(2)
        error = self.failureResultOf(connecting, TimeoutError)
        message = f"{self.tried()[1]}:80 did not accept the connection within 2.0 s"
        self.assertIn(message, str(error.value))

    def test_dead_network_fails_after_five_timeouts(self) -> None:
        """If no address accepts, it fails after five time-outs, not after all addresses."""
        self.put(*(f"10.0.9.{number}" for number in range(1, 10)), alive=False)
        connecting = self.connect(self.endpoint(), 9)
        self.assertNoResult(connecting)
        self.network.advance(1)
        self.failureResultOf(connecting, TimeoutError)
        self.assertEqual(len(self.tried()), 5)

    def test_timeout_of_the_caller(self) -> None:
        """The time-out is the caller's."""
        self.put("10.0.9.1", "10.0.9.2", alive=False)
        connecting = self.connect(self.endpoint(timeout=0.2), 1)
        self.failureResultOf(connecting, TimeoutError)
        self.assertEqual(len(self.tried()), 2)

    def test_dead_address_is_not_tried_again_and_again(self) -> None:
        """After two failures, of any endpoint, it is not tried for five seconds."""
        self.put("10.0.9.1", alive=False)
        self.put("10.0.9.2", "10.0.9.3")
        hosts = [self.connected_to(self.endpoint(), 2.5) for _ in range(6)]
        self.assertEqual(self.tried().count("10.0.9.1"), 2)
        self.assertNotIn("10.0.9.1", hosts)

    def test_address_of_either_family_and_host_name(self) -> None:
        """Only a name is looked up."""
        self.put("10.0.9.1")
        self.assertEqual(self.connected_to(self.endpoint()), "10.0.9.1")
        self.result(self.admin.delete("/svc/10.0.9.1:80"))
        self.network.listen("2001:db8::1", 80, Factory.forProtocol(Echo))
        self.result(self.admin.create("/svc/[2001:db8::1]:80"))
        self.assertEqual(self.connected_to(self.endpoint()), "2001:db8::1")
        looked_up = len(self.network.lookups)
        self.result(self.admin.delete("/svc/[2001:db8::1]:80"))
        self.network.names["host"] = ["10.0.9.1"]
        self.result(self.admin.create("/svc/host:80"))
        self.assertEqual(self.connected_to(self.endpoint()), "10.0.9.1")
        self.assertEqual(self.network.lookups[looked_up:], ["host"])

    def test_connections_are_spread(self) -> None:
        """Each strategy spreads connections; least connections counts those that are open."""
        self.put("10.0.9.1", "10.0.9.2")
        for balance in ("round-robin", "least-connections"):
            hosts = Counter(self.connected_to(self.endpoint(balance=balance)) for _ in range(8))
            self.assertEqual(set(hosts.values()), {4}, balance)

    def test_closed_connections_do_not_count(self) -> None:
        """A provider that has lost its connections gets the next ones."""
        self.put("10.0.9.1", "10.0.9.2")
        open_ones = []
        for _ in range(4):
            protocol = self.successResultOf(
                self.connect(self.endpoint(balance="least-connections"))
            )
            open_ones.append(protocol)
        gone = open_ones[0].transport.getPeer().host
        for protocol in open_ones:
            self.assertIsInstance(protocol, Protocol)
            if protocol.transport.getPeer().host == gone:
                protocol.transport.loseConnection()
        self.network.advance(1)
        for _ in range(2):
            self.assertEqual(self.connected_to(self.endpoint(balance="least-connections")), gone)

    def test_zone_is_preferred(self) -> None:
        """With ``zone``, providers of the zone are preferred while there are two."""
        self.put("10.0.9.1", "10.0.9.2", "10.0.9.3")
        for host in ("10.0.9.1", "10.0.9.2"):
            self.result(self.admin.set(f"/svc/{host}:80", b'{"zone": "x"}'))
        hosts = {self.connected_to(self.endpoint(zone="x")) for _ in range(9)}
        self.assertEqual(hosts, {"10.0.9.1", "10.0.9.2"})

    def test_one_session_and_one_set_of_watches(self) -> None:
        """Endpoints with different options share both."""
        self.put("10.0.9.1", "10.0.9.2")
        for options in ({}, {"balance": "random"}, {"timeout": 1.0}, {"zone": "x"}):
            self.connected_to(self.endpoint(**options))
        self.assertEqual(self.made, 1)
        self.assertEqual(self.clients[-1].statistics().watches, 3)

    def test_zookeeper_away_after_the_first_connection(self) -> None:
        """Without ZooKeeper, the last known providers are used, also by a new endpoint."""
        self.put("10.0.9.1")
        self.connected_to(self.endpoint())
        del self.network.listening[HOST, PORT]
        for cable in self.network.cables:
            cable.cut()
        self.network.advance(600)
        self.assertEqual(self.connected_to(self.endpoint()), "10.0.9.1")

    def test_zookeeper_away_from_the_start(self) -> None:
        """Connecting fails after ten seconds, and works as soon as ZooKeeper is there."""
        self.put("10.0.9.1")
        factory = self.network.listening.pop((HOST, PORT))
        endpoint = self.endpoint()
        connecting = self.connect(endpoint, 9.9)
        self.assertNoResult(connecting)
        self.network.advance(0.2)
        error = self.failureResultOf(connecting, ConnectTimeoutError).value
        self.assertIn(f"ZooKeeper at {HOST}:{PORT} did not reply within 10.0 s", str(error))
        self.network.listen(HOST, PORT, factory)
        self.assertEqual(self.connected_to(endpoint, 30), "10.0.9.1")

    def test_session_ends_after_its_last_user_and_a_pause(self) -> None:
        """An endpoint that is made before the end of the pause uses the same session."""
        self.put("10.0.9.1")
        self.connected_to(self.endpoint())
        client = self.clients[-1]
        self.forget()
        self.network.advance(PAUSE - 1)
        self.connected_to(self.endpoint())
        self.assertEqual(self.made, 1)
        self.network.advance(PAUSE * 2)
        self.assertEqual(client.statistics().watches, 2)
        self.forget()
        self.network.advance(PAUSE + 3)
        self.assertEqual(client.state.name, "CLOSED")
        self.assertEqual(self.shared._sessions, {})
        self.assertEqual(self.connected_to(self.endpoint()), "10.0.9.1")
        self.assertEqual(self.made, 2)

    def test_service_that_is_not_used_any_more_is_not_watched(self) -> None:
        """The resolver is closed after the pause, although another service keeps the session."""
        self.put("10.0.9.1")
        self.connected_to(self.endpoint())
        self.forget()
        self.result(self.admin.ensure_path("/other"))
        kept = self.endpoint("/other")
        self.failureResultOf(self.connect(kept), NoProviderError)
        self.assertEqual(self.clients[-1].statistics().watches, 3)
        self.network.advance(PAUSE + 1)
        self.assertEqual(self.clients[-1].statistics().watches, 1)

    def test_closing_ends_the_session_at_once(self) -> None:
        """When the last endpoint is closed; closing again is fine, and so is connecting."""
        self.put("10.0.9.1")
        one, other = self.endpoint(), self.endpoint()
        self.connected_to(one)
        self.connected_to(other)
        client = self.clients[-1]
        self.result(one.close())
        self.assertEqual(client.state.name, "CONNECTED")
        self.result(other.close())
        self.assertEqual(client.state.name, "CLOSED")
        self.result(other.close())
        self.assertEqual(self.connected_to(one), "10.0.9.1")

    def test_client_that_is_over_is_replaced(self) -> None:
        """A session that is over for good is replaced."""
        self.put("10.0.9.1")
        endpoint = self.endpoint()
        self.connected_to(endpoint)
        self.result(self.clients[-1].close())
        self.assertEqual(self.connected_to(endpoint), "10.0.9.1")
        self.assertEqual(self.made, 2)

    def test_stopping_reactor_closes_the_session(self) -> None:
        """When the reactor stops, sessions are closed, and no trigger is left."""
        triggers: list[Any] = []
        self.network.addSystemEventTrigger = (  # type: ignore[attr-defined]
            lambda phase, event, call: (triggers.append(call), call)[1]  # type: ignore[func-returns-value]
        )
        self.network.removeSystemEventTrigger = triggers.remove  # type: ignore[attr-defined]
        self.put("10.0.9.1")
        endpoint = self.endpoint()
        self.connected_to(endpoint)
        triggers.pop()()
        self.network.settle()
        self.assertEqual(self.clients[-1].state.name, "CLOSED")
        self.connected_to(endpoint)
        self.assertEqual(len(triggers), 1)
        self.result(endpoint.close())
        self.assertEqual(triggers, [])

    def forget(self) -> None:
        """No endpoint is referenced any more."""
        self.endpoints.clear()
        gc.collect()
