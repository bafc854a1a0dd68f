"""HTTP requests to a service: each goes to the provider that suits it best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
    TimeoutError,
)
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseNeverReceived,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from zkservice.deferreds import time_limit
from zkservice.discovery.health import Use
from zkservice.discovery.provider import Provider
from zkservice.discovery.resolver import Resolver
from zkservice.discovery.tcp import tcp_endpoint
from zkservice.errors import ConnectTimeoutError, NobodyRegisteredError

__all__ = ["BalancingAgent", "Retry", "agent"]

#: Seconds to wait for ZooKeeper when nothing is known about the service yet.
RESOLVE_TIMEOUT: Final = 10.0

#: RFC 9110, section 9.2.2.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})

# No byte of the request has been sent.
_NOT_CONNECTED: Final = (ConnectError, DNSLookupError, TimeoutError, UnicodeError)
# It may have been carried out.
_NO_RESPONSE: Final = (ResponseNeverReceived, RequestTransmissionFailed)
_CANCELLED: Final = (CancelledError, ConnectingCancelledError)


@dataclass(frozen=True)
class Retry:
    """When a request is sent again, to another provider.

    A request that reached nobody goes to the next provider until all were tried.  What is
    limited here is how often a request is sent again that a provider may have received: only
    idempotent requests without a body are, and only as the budget allows.  When all providers
    fail, clients that retry everything would multiply the load.

    Attributes:
        attempts: how often a request is sent at most.
        share: what each request adds to the budget; 0.2 allows one repetition in five requests.
        reserve: repetitions that the budget allows at the start, and holds at most.

    Raises:
        ValueError: ``attempts`` is below 1, or the others are negative.
    """

    attempts: int = 3
    share: float = 0.2
    reserve: float = 10.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        if self.share < 0 or self.reserve < 0:
            raise ValueError("share and reserve must be at least 0")


DEFAULT_RETRY: Final = Retry()


class Budget:
    """How many requests may be sent again."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._left = retry.reserve

    def earn(self) -> None:
        """A request was made."""
        self._left = min(self._left + self._retry.share, max(self._retry.reserve, 1.0))

    def spend(self) -> bool:
        """Whether one more may be sent again; it counts as sent then."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


@implementer(IAgentEndpointFactory)
class ProviderEndpoints:
    """Connects to providers by the URIs that name their addresses."""

    def __init__(self, reactor: Any, timeout: float) -> None:
        self._reactor = reactor
        self._timeout = timeout

    def endpointForURI(self, uri: URI) -> Any:  # noqa: N802 - Twisted's name
        """The endpoint of a provider."""
        return tcp_endpoint(self._reactor, uri.host.decode("ascii"), uri.port, self._timeout)


@implementer(IAgent)
class BalancingAgent:
    """Sends each request to a provider; see `agent`."""

    def __init__(
        self,
        reactor: Any,
        resolver: Resolver,
        retry: Retry,
        pool: HTTPConnectionPool,
        timeout: float,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._retry = retry
        self._budget = Budget(retry)
        self._pool = pool
        self._agent = Agent.usingEndpointFactory(reactor, ProviderEndpoints(reactor, timeout), pool)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,  # noqa: N803 - Twisted's name
    ) -> Deferred[IResponse]:
        """Send a request to one of the providers.

        Args:
            method: ``b"GET"``.
            uri: ``b"http://SERVICE/path"``; the service's name is what providers get as ``Host``
                unless ``headers`` has one.
            headers: more headers.
            bodyProducer: the body; a request with one is sent again only if it reached nobody.

        Fails with:
            NobodyRegisteredError: there is no provider that speaks plain HTTP.
            ConnectTimeoutError: nothing is known yet, and ZooKeeper does not answer in time.
            SchemeNotSupported: the URI does not begin with ``http:``.
            Whatever the last attempt failed with.
        """
        return Deferred.fromCoroutine(self._request(method, uri, headers, bodyProducer))

    def close(self) -> Deferred[None]:
        """Close the connections that are idle."""
        closed: Deferred[None] = self._pool.closeCachedConnections().addCallback(lambda _: None)
        return closed

    async def _request(
        self, method: bytes, uri: bytes, headers: Headers | None, body: IBodyProducer | None
    ) -> IResponse:
        parts = urlsplit(uri)
        if parts.scheme.lower() != b"http":
            raise SchemeNotSupported(f"expected http://SERVICE/..., got {uri[:80]!r}")
        headers = Headers() if headers is None else headers.copy()
        if not headers.hasHeader(b"host"):
            headers.setRawHeaders(b"host", [parts.netloc])
        target = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
        await self._resolved()
        self._budget.earn()
        may_repeat = method.upper() in IDEMPOTENT and body is None

        def send(provider: Provider) -> Deferred[IResponse]:
            sending = self._agent.request(method, _uri(provider, target), headers, body)
            checked: Deferred[IResponse] = sending.addErrback(_invalid_host)
            return checked

        return await self._send_to_one(send, self._retry.attempts if may_repeat else 1)

    async def _send_to_one(
        self, send: Callable[[Provider], Deferred[IResponse]], attempts: int
    ) -> IResponse:
        """Send a request until a provider responds.

        Args:
            send: sends it to a provider.
            attempts: how many providers may receive it.
        """
        # The pool and its endpoints are for plain HTTP.
        tried = {one.address for one in self._resolver.providers if one.tls}
        problem: BaseException | None = None
        while True:
            use = self._next(tried, problem)
            tried.add(use.provider.address)
            try:
                response = await send(use.provider)
            except _NOT_CONNECTED as error:
                use.failed()
                problem = error
            except _NO_RESPONSE as error:
                if any(reason.check(*_CANCELLED) for reason in error.reasons):
                    use.ended()
                    raise
                use.failed()
                problem, attempts = error, attempts - 1
                if not attempts or not self._budget.spend():
                    raise
            except BaseException:
                use.ended()
                raise
            else:
                use.succeeded()
                use.ended()
                return response

    def _next(self, tried: set[str], problem: BaseException | None) -> Use:
        try:
            return self._resolver.use(tried)
        except NobodyRegisteredError as error:
            raise problem or error from None

    async def _resolved(self) -> None:
        if not self._resolver.known:
            await time_limit(
                self._resolver.start(), RESOLVE_TIMEOUT, self._reactor, self._no_answer
            )

    def _no_answer(self, seconds: float) -> ConnectTimeoutError:
        return ConnectTimeoutError(
            self._resolver.path, f"ZooKeeper did not answer within {seconds:g} s"
        )


def _uri(provider: Provider, target: bytes) -> bytes:
    """Where a provider has what is asked for.

    Raises:
        UnicodeError: its host cannot be a host's name.
    """
    host = provider.host.encode("idna")
    return b"http://%b:%d%b" % (b"[%b]" % host if b":" in host else host, provider.port, target)


def _invalid_host(failure: Failure) -> NoReturn:
    """Twisted reports a host that no name server can know so, but only when it connects."""
    failure.trap(ValueError)
    raise DNSLookupError(failure.getErrorMessage())


def agent(
    reactor: Any,
    resolver: Resolver,
    *,
    retry: Retry = DEFAULT_RETRY,
    pool: HTTPConnectionPool | None = None,
    timeout: float = 2.0,
) -> BalancingAgent:
    """An HTTP client for ``http://SERVICE/...`` that chooses a provider for each request.

    Connections are kept open and reused, apart for each provider.  A request counts as in use,
    for strategies that count, until its response's head has arrived.  Whatever takes an
    ``IAgent`` takes this, such as ``RedirectAgent`` and treq's ``HTTPClient``.

    Args:
        reactor: connects.
        resolver: knows the providers; is started if it was not, and stays the caller's.
        retry: when a request is sent again.
        pool: keeps the connections; by default one that keeps 8 idle ones for each provider.
        timeout: seconds for each provider to accept a connection.
    """
    if pool is None:
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = 8
    return BalancingAgent(reactor, resolver, retry, pool, timeout)
