"""Tests of `zkservice.discovery.agent`, with HTTP servers on loopback ports."""

from __future__ import annotations

import socket
from collections import Counter
from io import BytesIO
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    serverFromString,
)
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectTimedOutError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import (
    URI,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    ResponseNeverReceived,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from typing_extensions import override
from zope.interface.verify import verifyObject

from tests.certificates import Authority
from tests.connected import ConnectedTestCase
from tests.response_body import read_body
from zkservice.discovery import (
    BalancingAgent,
    HealthRules,
    LeastConnections,
    Resolver,
    Retry,
    agent,
)
from zkservice.discovery.agent import Budget, ProviderEndpoints
from zkservice.errors import ConnectTimeoutError, NoProviderError
from zkservice.testing.apache import ReservedPort


class Page(Resource):
    """Responds with a description of the request; never responds to ``/hang``."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[bytes, bytes, str]] = []
        self.peers: set[int] = set()
        self.hangs = False

    @override
    def render(self, request: Any) -> Any:
        self.requests.append((request.method, request.uri, request.getHeader("host")))
        self.peers.add(request.getClientAddress().port)
        if self.hangs or request.uri == b"/hang":
            return NOT_DONE_YET
        return request.content.read() or b"hello"


#: On a busy machine five seconds may be over before a test has looked.
EJECTED_FOR_GOOD = HealthRules(pause=300.0)


class HangUp(Protocol):
    """Takes a request, and closes the connection without a response."""

    count = 0

    @override
    def dataReceived(self, data: bytes) -> None:
        HangUp.count += 1
        assert self.transport is not None
        self.transport.loseConnection()


class Fickle(Protocol):
    """Responds to the first request of a connection, and hangs up on the second."""

    responded = False

    @override
    def dataReceived(self, data: bytes) -> None:
        HangUp.count += 1
        assert self.transport is not None
        if self.responded:
            self.transport.loseConnection()
        else:
            self.responded = True
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


class AgentTests(ConnectedTestCase):
    """Requests to a service."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.client.ensure_path("/svc")
        HangUp.count = 0

    async def listen(self, factory: Any) -> str:
        """Listen and register; returns the address."""
        port = await self.open_port(factory)
        return await self.put(f"127.0.0.1:{port.getHost().port}")

    async def put(self, address: str, data: bytes = b"") -> str:
        """Register an address."""
        await self.client.create(f"/svc/{address}", data)
        return address

    async def refusing(self) -> str:
        """Register an address at which no server listens."""
        port = ReservedPort()
        self.addCleanup(port.close)
        return await self.put(f"127.0.0.1:{port.number}")

    async def pages(self, count: int) -> list[Page]:
        """Register web servers."""
        pages = [Page() for _ in range(count)]
        for page in pages:
            await self.listen(Site(page))
        return pages

    async def agent(self, strategy: Any = None, **options: Any) -> BalancingAgent:
        """An agent of a started resolver."""
        resolver = Resolver(
            self.client, "/svc", strategy=strategy, reactor=reactor, health=EJECTED_FOR_GOOD
        )
        self.addCleanup(resolver.close)
        made = agent(reactor, await resolver.start(), **options)
        self.addCleanup(made.close)
        return made

    async def get(self, to: BalancingAgent, path: bytes = b"/", method: bytes = b"GET") -> bytes:
        """Send a request, and read the response."""
        response = await to.request(method, b"http://web" + path)
        return await read_body(response)

    async def test_each_request_is_balanced(self) -> None:
        """Sixty requests over three providers are twenty each, over one connection each."""
        pages = await self.pages(3)
        to = await self.agent()
        verifyObject(IAgent, to)
        for _ in range(60):
            self.assertEqual(await self.get(to), b"hello")
        self.assertEqual([len(page.requests) for page in pages], [20, 20, 20])
        self.assertEqual([len(page.peers) for page in pages], [1, 1, 1])

    async def test_provider_sees_the_service_as_host(self) -> None:
        """Method, path and query arrive as they were, and Host is the service."""
        (page,) = await self.pages(1)
        to = await self.agent()
        await self.get(to, b"/a%20b?c=d&e")
        await self.get(to, b"", b"DELETE")
        self.assertEqual(
            page.requests, [(b"GET", b"/a%20b?c=d&e", "web"), (b"DELETE", b"/", "web")]
        )

    async def test_body_is_sent(self) -> None:
        """A request with a body is one like any other while nothing fails."""
        await self.pages(1)
        to = await self.agent()
        body = FileBodyProducer(BytesIO(b"x" * 1000))
        response = await to.request(b"POST", b"http://web/", None, body)
        self.assertEqual(await read_body(response), b"x" * 1000)

    async def test_refused_connection_is_tried_elsewhere(self) -> None:
        """A request of any method goes to the next provider, because none has received it."""
        for _ in range(3):
            await self.refusing()
        await self.pages(1)
        to = await self.agent(retry=Retry(attempts=1, share=0, reserve=0))
        for _ in range(4):
            body = FileBodyProducer(BytesIO(b"data"))
            response = await to.request(b"POST", b"http://web/", None, body)
            self.assertEqual(await read_body(response), b"data")

    async def test_hosts_that_cannot_be_one_are_passed_over(self) -> None:
        """A registered host that no URI can name does not affect the others."""
        await self.put("x" * 70 + ".example:80")
        await self.put("\u2024:80")
        await self.pages(1)
        to = await self.agent()
        for _ in range(6):
            self.assertEqual(await self.get(to), b"hello")

    async def test_it_fails_with_the_last_error_when_all_refuse(self) -> None:
        """It fails with the last one's error."""
        await self.refusing()
        await self.refusing()
        with self.assertRaises(ConnectionRefusedError):
            await self.get(await self.agent())

    async def test_idempotent_request_without_response_is_sent_elsewhere(self) -> None:
        """A GET is repeated if a provider disconnects without a response."""
        for _ in range(2):
            await self.listen(Factory.forProtocol(HangUp))
        await self.pages(1)
        to = await self.agent()
        for _ in range(6):
            self.assertEqual(await self.get(to), b"hello")
        self.assertGreater(HangUp.count, 0)

    async def test_other_requests_are_sent_once(self) -> None:
        """A POST that a provider may have carried out fails."""
        await self.listen(Factory.forProtocol(HangUp))
        await self.listen(Factory.forProtocol(HangUp))
        with self.assertRaises(ResponseNeverReceived):
            await self.get(await self.agent(), method=b"POST")
        self.assertEqual(HangUp.count, 1)

    async def test_attempts_are_bounded(self) -> None:
        """A request is sent to a limited number of providers."""
        for _ in range(5):
            await self.listen(Factory.forProtocol(HangUp))
        with self.assertRaises(ResponseNeverReceived):
            await self.get(await self.agent())
        self.assertEqual(HangUp.count, 3)

    async def test_budget_bounds_repetitions(self) -> None:
        """When all providers fail, the load is not multiplied."""
        for _ in range(3):
            await self.listen(Factory.forProtocol(HangUp))
        to = await self.agent(retry=Retry(reserve=2, share=0))
        for _ in range(10):
            with self.assertRaises(ResponseNeverReceived):
                await self.get(to)
        self.assertEqual(HangUp.count, 12)

    async def test_budget_bounds_repetitions_on_kept_connections(self) -> None:
        """Twisted's pool would send a request again by itself when a kept connection ends."""
        await self.listen(Factory.forProtocol(Fickle))
        to = await self.agent(retry=Retry(reserve=1, share=0))
        self.assertEqual([await self.get(to), await self.get(to)], [b"hello", b"hello"])
        self.assertEqual(HangUp.count, 3)  # the second one twice, and the same provider got it
        with self.assertRaises(ResponseNeverReceived):
            await self.get(to)
        self.assertEqual(HangUp.count, 4)

    async def test_cancelled_request_is_not_repeated(self) -> None:
        """The caller's time-out ends it, and does not count as the provider's failure."""
        pages = await self.pages(2)
        to = await self.agent()
        waiting: Deferred[Any] = to.request(b"GET", b"http://web/hang")
        while not any(page.requests for page in pages):
            await deferLater(reactor, 0.01)
        waiting.cancel()
        with self.assertRaises((CancelledError, ResponseNeverReceived)):
            await waiting
        await deferLater(reactor, 0.05)
        self.assertEqual(sum(len(page.requests) for page in pages), 1)

    async def test_least_connections_counts_requests(self) -> None:
        """A provider with a request gets the next one only when the others have one, too."""
        pages = await self.pages(2)
        to = await self.agent(LeastConnections(lambda: 0.0))
        hanging = to.request(b"GET", b"http://web/hang")
        await gatherResults([Deferred.fromCoroutine(self.get(to)) for _ in range(1)])
        for _ in range(5):
            await self.get(to)
        self.assertEqual(Counter(len(page.requests) for page in pages), Counter([1, 6]))
        hanging.addErrback(lambda _: None).cancel()

    async def test_request_waits_for_the_first_provider(self) -> None:
        """A request waits for the first provider to be registered."""
        to = await self.agent(timeout=30.0)
        waiting = Deferred.fromCoroutine(self.get(to))
        await deferLater(reactor, 0.05)
        self.assertNoResult(waiting)
        await self.pages(1)
        self.assertEqual(await waiting, b"hello")

    async def test_request_fails_when_no_provider_comes(self) -> None:
        """It waits no longer than for a connection, and can be cancelled."""
        to = await self.agent(timeout=0.05)
        began = reactor.seconds()
        with self.assertRaises(NoProviderError):
            await self.get(to)
        self.assertGreater(reactor.seconds() - began, 0.04)
        to = await self.agent(timeout=30.0)
        waiting = Deferred.fromCoroutine(self.get(to))
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting

    async def test_tls_providers_are_left_out(self) -> None:
        """``http`` chooses providers without TLS; the error tells that there are others."""
        data = b'{"name":"web","id":"i","address":"127.0.0.1","port":null,"sslPort":9,'
        await self.client.create("/svc/i", data + b'"payload":null,"serviceType":"DYNAMIC"}')
        to = await self.agent()
        self.assertTrue(to._resolver.providers[0].tls)
        with self.assertRaises(NoProviderError) as caught:
            await self.get(to)
        self.assertIn("none of the 1 providers speaks plain TCP", str(caught.exception))

    async def tls_provider(self, name: str, identity: str) -> Page:
        """Register a web server with a certificate, as one that speaks TLS."""
        page = Page()
        words = f"ssl:0:interface=127.0.0.1:privateKey={identity}:certKey={identity}"
        port: Any = await serverFromString(reactor, words).listen(Site(page))
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        await self.client.create(
            f"/svc/{name}",
            b'{"name":"web","id":"%b","address":"127.0.0.1","port":null,"sslPort":%d,'
            b'"payload":null,"serviceType":"DYNAMIC"}' % (name.encode(), number),
        )
        return page

    async def test_https_requests_are_balanced(self) -> None:
        """It is balanced as well; certificates must be for the service's name."""
        authority = Authority(self.mktemp())
        for name in ("a", "b"):
            await self.tls_provider(name, authority.issue("web.example"))
        await self.pages(1)  # which does not speak TLS
        with open(authority.ca, "rb") as file:
            trusted = trustRootFromCertificates([Certificate.loadPEM(file.read())])
        to = await self.agent(tls_policy=BrowserLikePolicyForHTTPS(trusted))
        for _ in range(4):
            response = await to.request(b"GET", b"https://web.example/")
            self.assertEqual(await read_body(response), b"hello")
        with self.assertRaises(ResponseNeverReceived) as caught:
            await to.request(b"GET", b"https://other.example/")
        self.assertIn("other.example", str(caught.exception))

    async def test_error_names_the_provider(self) -> None:
        """The error is readable, and has the number of providers that were tried."""
        addresses = [await self.refusing() for _ in range(2)]
        to = await self.agent()
        with self.assertRaises(ConnectionRefusedError) as caught:
            await self.get(to)
        message = str(caught.exception)
        self.assertTrue(any(f"{one}: Connection refused" in message for one in addresses), message)
        self.assertIn("the last of 2 providers that were tried", message)
        await self.client.delete(f"/svc/{addresses[0]}")
        await self.client.delete(f"/svc/{addresses[1]}")
        last = await self.listen(Factory.forProtocol(HangUp))
        while [one.address for one in to._resolver.providers] != [last]:
            await to._resolver.when_changed()
        with self.assertRaises(ResponseNeverReceived) as other:
            await self.get(to)
        self.assertEqual(
            str(other.exception), f"{last}: no response: Connection was closed cleanly"
        )

    async def test_provider_without_a_response_times_out(self) -> None:
        """After ``response_timeout`` a GET goes to another provider, and a POST fails."""
        hanging, page = Page(), Page()
        hanging.hangs = True
        await self.listen(Site(hanging))
        await self.listen(Site(page))
        to = await self.agent(response_timeout=1.0)
        for _ in range(6):
            self.assertEqual(await self.get(to), b"hello")
        self.assertEqual(len(hanging.requests), 2)  # two in a row eject it
        to = await self.agent(response_timeout=1.0)
        with self.assertRaises(ResponseNeverReceived) as caught:
            for _ in range(2):
                await self.get(to, method=b"POST")
        self.assertIn("no response within 1 s", str(caught.exception))

    async def test_connection_that_is_not_accepted_in_time(self) -> None:
        """If nothing was sent, any method goes to another provider."""
        silent = socket.socket()
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(4):  # more than wait there; others are not accepted any more
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        await self.put(f"127.0.0.1:{silent.getsockname()[1]}")
        await self.pages(1)
        to = await self.agent(response_timeout=1.0)
        for _ in range(3):
            self.assertEqual(await self.get(to, method=b"POST"), b"hello")

    async def test_dead_network_fails_after_five_timeouts(self) -> None:
        """Where no provider accepts, a request fails after five time-outs to connect."""
        for number in range(9):
            await self.put(f"127.0.0.1:{number + 1}")
        to = await self.agent(timeout=0.001)
        tried: list[bytes] = []

        class Dead:
            """Times out."""

            def connect(self, factory: Any) -> Deferred[Any]:
                """Fail late."""
                return deferLater(reactor, 0.001, self.fail)

            def fail(self) -> None:
                """Too late."""
                raise ConnectTimedOutError

        def endpoint(uri: URI) -> Dead:
            tried.append(uri.netloc)
            return Dead()

        self.patch(to._agent._endpointFactory, "endpointForURI", endpoint)
        with self.assertRaises(ConnectTimedOutError):
            await self.get(to)
        self.assertLessEqual(len(tried), 6)

    async def test_callers_that_give_up_eject_a_provider(self) -> None:
        """A suspended provider is ejected after the callers' time-outs."""
        hanging, page = Page(), Page()
        hanging.hangs = True
        await self.listen(Site(hanging))
        await self.listen(Site(page))
        to = await self.agent(timeout=0.5)
        given_up = 0
        for _ in range(8):
            waiting = Deferred.fromCoroutine(self.get(to)).addTimeout(1.0, reactor)
            try:
                await waiting
            except (TimeoutError, CancelledError, ResponseNeverReceived):
                given_up += 1
        self.assertEqual(given_up, 2)

    async def test_credentials_in_a_uri_stay_here(self) -> None:
        """Credentials in the URI are not part of the Host header."""
        (page,) = await self.pages(1)
        to = await self.agent()
        await read_body(await to.request(b"GET", b"http://user:secret@web:8000/"))
        self.assertEqual(page.requests, [(b"GET", b"/", "web:8000")])

    async def test_other_schemes_are_refused(self) -> None:
        """An invalid URI fails at once, with what is expected."""
        to = await self.agent()
        with self.assertRaises(SchemeNotSupported) as caught:
            await to.request(b"GET", b"ftp://web/")
        self.assertIn("expected http://SERVICE/", str(caught.exception))
        with self.assertRaises(SchemeNotSupported):
            await to.request(b"GET", b"http:///page")

    async def test_resolver_is_started_by_the_first_request(self) -> None:
        """A resolver that has not been started may be stopped."""
        await self.pages(1)
        resolver = Resolver(self.client, "/svc", reactor=reactor)
        self.addCleanup(resolver.close)
        to = agent(reactor, resolver)
        self.addCleanup(to.close)
        self.assertEqual(await self.get(to), b"hello")


class EndpointTests(SynchronousTestCase):
    """The endpoint of a provider."""

    def test_only_names_are_looked_up(self) -> None:
        """An IP address is connected to without a look-up, and a refusal fails at once."""
        endpoints = ProviderEndpoints(MemoryReactorClock(), 2.0, BrowserLikePolicyForHTTPS())
        for host, kind in (
            (b"10.0.0.1", TCP4ClientEndpoint),
            (b"[2001:db8::1]", TCP6ClientEndpoint),
            (b"web.example", HostnameEndpoint),
        ):
            uri = URI.fromBytes(b"http://%b:80/" % host)
            self.assertIs(type(endpoints.endpointForURI(uri)), kind)


class RulesTests(SynchronousTestCase):
    """The budget and the rules, by themselves."""

    def test_budget_is_a_share_of_the_requests(self) -> None:
        """After the reserve is used up, one request in five may be repeated."""
        budget = Budget(Retry(share=0.25, reserve=2))
        self.assertEqual([budget.spend() for _ in range(3)], [True, True, False])
        for _ in range(4):
            budget.earn()
        self.assertEqual([budget.spend() for _ in range(2)], [True, False])
        for _ in range(100):
            budget.earn()
        self.assertEqual([budget.spend() for _ in range(3)], [True, True, False])

    def test_invalid_rules_are_refused(self) -> None:
        """Invalid rules raise `ValueError`."""
        for wrong in ({"attempts": 0}, {"share": -1}, {"reserve": -1}):
            with self.assertRaises(ValueError):
                Retry(**wrong)

    def test_zookeeper_that_does_not_answer(self) -> None:
        """A request fails after ten seconds when nothing is known yet."""
        clock: Any = Clock()

        class Silent:
            """A resolver that knows nothing."""

            known = False
            path = "/svc"

            def start(self) -> Deferred[Any]:
                """Never fires."""
                return Deferred()

        silent: Any = Silent()
        waiting = agent(clock, silent).request(b"GET", b"http://web/")
        clock.advance(9.9)
        self.assertNoResult(waiting)
        clock.advance(0.2)
        self.failureResultOf(waiting, ConnectTimeoutError)
