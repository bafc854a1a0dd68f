"""The agent under treq, and the client endpoint under ``ClientService``; real servers."""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.application.internet import ClientService
from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    clientFromString,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.web.client import ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.util import Redirect
from typing_extensions import override

from tests.connected import ConnectedTestCase
from zkservice.discovery import Resolver, agent


class Shop(Resource):
    """Pages with a form, a cookie, a redirect, a stream, and no response."""

    def __init__(self) -> None:
        super().__init__()
        self.hanging = 0
        self.putChild(b"moved", Redirect(b"/echo"))

    @override
    def getChild(self, path: bytes, request: Any) -> Resource:
        return self

    @override
    def render(self, request: Any) -> Any:
        page = request.path
        if page == b"/login":
            request.addCookie(b"user", b"me", path=b"/")
            return b"welcome"
        if page == b"/who":
            return request.getCookie(b"user") or b"a stranger"
        if page == b"/stream":
            for _ in range(100):
                request.write(b"x" * 1000)
            return b""
        if page == b"/hang":
            self.hanging += 1
            return NOT_DONE_YET
        return b"%b %b %b" % (request.method, request.uri, request.content.read())


class ServiceTestCase(ConnectedTestCase):
    """A service with providers on loopback ports."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.client.ensure_path("/svc")

    async def provide(self, factory: Any) -> Any:
        """Listen and register; returns the port."""
        port = await self.open_port(factory)
        await self.client.create(f"/svc/127.0.0.1:{port.getHost().port}")
        return port


class TreqTests(ServiceTestCase):
    """``HTTPClient(agent)``."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.shops = [Shop(), Shop()]
        for shop in self.shops:
            await self.provide(Site(shop))
        self.resolver = Resolver(self.client, "/svc", reactor=reactor)
        self.addCleanup(self.resolver.close)
        made = agent(reactor, await self.resolver.start())
        self.addCleanup(made.close)
        self.http = HTTPClient(made)

    async def test_get_and_post(self) -> None:
        """Queries, forms and JSON arrive at a provider as they were sent."""
        response = await self.http.get("http://web/a", params={"b": "c d"})
        self.assertEqual(await response.text(), "GET /a?b=c+d ")
        response = await self.http.post("http://web/form", data={"x": "1"})
        self.assertEqual(await response.text(), "POST /form x=1")
        response = await self.http.put("http://web/json", json={"x": 1})
        self.assertEqual(await response.text(), 'PUT /json {"x":1}')

    async def test_cookies_belong_to_the_service(self) -> None:
        """A cookie belongs to the service, whichever provider has set it."""
        await (await self.http.get("http://web/login")).text()
        for _ in self.shops:
            response = await self.http.get("http://web/who")
            self.assertEqual(await response.text(), "me")

    async def test_cookies_go_nowhere_else(self) -> None:
        """Another service at the same addresses does not get it."""
        await (await self.http.get("http://web/login")).text()
        for _ in self.shops:
            response = await self.http.get("http://other/who")
            self.assertEqual(await response.text(), "a stranger")

    async def test_redirects_without_a_host_stay_in_the_service(self) -> None:
        """A redirect without a host stays within the service."""
        response = await self.http.get("http://web/moved")
        self.assertEqual(await response.text(), "GET /echo ")
        response = await self.http.get("http://web/moved", allow_redirects=False)
        self.assertEqual((response.code, await response.content() != b""), (302, True))

    async def test_a_body_is_streamed(self) -> None:
        """A body is read in parts as it arrives."""
        parts: list[bytes] = []
        response = await self.http.get("http://web/stream", unbuffered=True)
        await response.collect(parts.append)
        self.assertEqual(len(b"".join(parts)), 100_000)

    async def test_a_timeout_is_not_retried(self) -> None:
        """treq's own time-out ends a request, and it is not sent again."""
        with self.assertRaises((CancelledError, ResponseNeverReceived)):
            await self.http.get("http://web/hang", timeout=1.5)
        self.assertEqual(sum(shop.hanging for shop in self.shops), 1)


class Greeter(Protocol):
    """Sends its port, and keeps the connection open."""

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.factory.open.append(self.transport)


class Heard(Protocol):
    """A client that records the port."""


class ClientServiceTests(ServiceTestCase):
    """``ClientService`` with a ``zk:`` endpoint."""

    def started_service(self) -> ClientService:
        """A `ClientService` that runs until the end of the test."""
        endpoint: Any = clientFromString(reactor, f"zk:/svc:servers={self.servers}")
        self.addCleanup(endpoint.close)
        service = ClientService(
            endpoint, Factory.forProtocol(Heard), retryPolicy=lambda failures: 0.05, clock=reactor
        )
        service.startService()
        self.addCleanup(service.stopService)
        return service

    async def greeter(self) -> Any:
        """A provider, and its open connections."""
        factory: Any = Factory.forProtocol(Greeter)
        factory.open = []
        port = await self.provide(factory)
        return port, factory.open

    async def test_reconnects_to_a_provider_that_is_left(self) -> None:
        """When its provider ends, it connects to another one."""
        greeters = [await self.greeter() for _ in range(2)]
        service = self.started_service()
        first: Any = await service.whenConnected()
        peer = first.transport.getPeer().port
        for port, connections in greeters:
            if port.getHost().port == peer:
                await port.stopListening()
                for one in connections:
                    one.loseConnection()
            else:
                other, left = port.getHost().port, connections
        while not left:
            await deferLater(reactor, 0.01)
        second: Any = await service.whenConnected()
        self.assertEqual(second.transport.getPeer().port, other)

    async def test_waits_for_a_first_provider(self) -> None:
        """It retries until there is a provider."""
        service = self.started_service()
        waiting: Deferred[Any] = service.whenConnected()
        await deferLater(reactor, 0.2)
        self.assertFalse(waiting.called)
        port, _ = await self.greeter()
        connected: Any = await waiting
        self.assertEqual(connected.transport.getPeer().port, port.getHost().port)
