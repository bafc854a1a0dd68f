"""HTTP requests to a service: each goes to the provider that the resolver chooses.

Twisted's `HTTPConnectionPool` keeps the connections.  Its key is a URI, so the URIs that are
passed to it here name a provider's address and, with TLS, the name that its certificate must have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseNeverReceived,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import (
    IAgent,
    IAgentEndpointFactory,
    IBodyProducer,
    IPolicyForHTTPS,
    IResponse,
)
from zope.interface import implementer

from zkservice.deferreds import time_limit
from zkservice.discovery.health import ProviderUse
from zkservice.discovery.provider import Provider
from zkservice.discovery.resolver import Resolver
from zkservice.discovery.tcp import MAX_TIMEOUTS, tcp_endpoint
from zkservice.errors import ConnectTimeoutError, NoProviderError

__all__ = ["BalancingAgent", "Retry", "agent"]

#: Seconds to wait for ZooKeeper when nothing is known about the service yet.
RESOLVE_TIMEOUT: Final = 10.0

#: RFC 9110, section 9.2.2.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})

# Errors before any byte of the request is sent: repeating it is always safe.
_NOT_CONNECTED: Final = (
    ConnectError,
    DNSLookupError,
    TimeoutError,
    UnicodeError,
)
# Errors after which the provider may have carried the request out.
_NO_RESPONSE: Final = (ResponseNeverReceived, RequestTransmissionFailed)
_CANCELLED: Final = (CancelledError, ConnectingCancelledError)


@dataclass(frozen=True)
class Retry:
    """Limits on sending a request again after a provider may have received it.

    Such a request is sent again only if it is idempotent and has no body, and only while the
    budget allows it.  Without a budget, clients would multiply the load when all providers fail.
    A request that reached no provider is not limited: it goes to the next one until all were tried.

    Attributes:
        attempts: how often a request is sent, at most, where it may have been received.
        share: what each request adds to the budget; 0.2 allows one repetition in five requests.
        reserve: the budget at the start, and the most that it holds.

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
    """The number of requests that may be sent again: each new request adds a share."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._left = retry.reserve

    def earn(self) -> None:
        """Add the share of one new request."""
        self._left = min(self._left + self._retry.share, max(self._retry.reserve, 1.0))

    def spend(self) -> bool:
        """Take one repetition from the budget; return False if there is none."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class _TimeLimits:
    """How long a provider may take.

    Args:
        reactor: tells the time.
        connect: seconds to connect.  If the caller cancels a request later than that, the
            provider has failed.
        response: seconds for a response; None: no limit.
    """

    def __init__(self, reactor: Any, connect: float, response: float | None) -> None:
        self._reactor = reactor
        self._connect = connect
        self._response = response

    def limit(self, sending: Deferred[IResponse]) -> Deferred[IResponse]:
        """Fail a request with `ResponseNeverReceived` when the time for a response is over."""
        if self._response is not None:
            sending.addTimeout(self._response, self._reactor, _too_late)
        return sending

    def wait_for_provider(self, resolver: Resolver) -> Deferred[None]:
        """Fires when there is a provider, or after the time for connecting."""
        found: Deferred[Any] = resolver.wait_for(1).addTimeout(
            self._connect, self._reactor, onTimeoutCancel=lambda *_: None
        )
        return found.addCallback(lambda _: None)

    def is_over(self, began: float) -> bool:
        """Whether a request that began then has no time left for another attempt to connect."""
        return bool(self._reactor.seconds() - began >= MAX_TIMEOUTS * self._connect)

    def cancelled(self, use: ProviderUse, since: float) -> None:
        """Record a request that its caller has cancelled.

        The kernel of a suspended provider accepts connections, and nothing responds.  Only
        callers that give up notice it, so a late cancellation counts as a failure.
        """
        if self._reactor.seconds() - since > self._connect:
            use.failed()
        else:
            use.ended()


class _Target(NamedTuple):
    """What a request asks for, whichever provider it is sent to.

    Attributes:
        scheme: ``b"http"`` or ``b"https"``.
        name: the service's name, without a port.
        path: the path with the query.
    """

    scheme: bytes
    name: bytes
    path: bytes

    @property
    def tls(self) -> bool:
        """Whether the provider must speak TLS."""
        return self.scheme == b"https"

    def uri_for(self, provider: Provider) -> bytes:
        """The URI for a provider.

        Raises:
            UnicodeError: the provider's host is not a valid host name.
        """
        host = provider.host.encode("idna")
        name = self.name + b"@" if self.tls else b""
        netloc_host = b"[%b]" % host if b":" in host else host
        return b"%b://%b%b:%d%b" % (self.scheme, name, netloc_host, provider.port, self.path)


@implementer(IAgentEndpointFactory)
class ProviderEndpoints:
    """Connects to providers by the URIs of `_Target`."""

    def __init__(self, reactor: Any, timeout: float, policy: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._policy = policy

    def endpointForURI(self, uri: URI) -> Any:  # noqa: N802 - Twisted's name
        """The endpoint of a provider."""
        name, _, host = uri.host.rpartition(b"@")
        endpoint = tcp_endpoint(
            self._reactor, host.strip(b"[]").decode("ascii"), uri.port, self._timeout
        )
        if uri.scheme != b"https":
            return endpoint
        return wrapClientTLS(self._policy.creatorForNetloc(name, uri.port), endpoint)


@implementer(IStreamClientEndpoint)
class _TrackedEndpoint:
    """An endpoint that remembers whether it was used."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint
        self.used = False

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, and remember that."""
        self.used = True
        connecting: Deferred[IProtocol] = self._endpoint.connect(factory)
        return connecting


@implementer(IAgentEndpointFactory)
class _TrackedEndpoints:
    """Tells whether a request uses a kept connection, or a new one.

    A pool asks for an endpoint for each request, and connects only if it has kept no connection.
    """

    def __init__(self, endpoints: ProviderEndpoints) -> None:
        self._endpoints = endpoints
        self._latest: _TrackedEndpoint | None = None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 - Twisted's name
        """The endpoint of a provider."""
        self._latest = _TrackedEndpoint(self._endpoints.endpointForURI(uri))
        return self._latest

    def latest_reuses_connection(self) -> bool:
        """Whether the latest request uses a kept connection; ask once, just after it has begun."""
        latest, self._latest = self._latest, None
        return latest is not None and not latest.used


class _Sending(NamedTuple):
    """A request to one provider.

    Attributes:
        response: fires with the response's head.
        reused: whether its connection has served another request before.  The provider may have
            closed it at this moment because it was idle, which is not a failure.
    """

    response: Deferred[IResponse]
    reused: bool


@implementer(IAgent)
class BalancingAgent:
    """Sends each request to a provider; see `agent`."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        resolver: Resolver,
        retry: Retry,
        pool: HTTPConnectionPool,
        endpoints: ProviderEndpoints,
        limits: _TimeLimits,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._retry = retry
        self._budget = Budget(retry)
        self._pool = pool
        self._limits = limits
        self._endpoints = _TrackedEndpoints(endpoints)
        self._agent = Agent.usingEndpointFactory(reactor, self._endpoints, pool)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,  # noqa: N803 - Twisted's name
    ) -> Deferred[IResponse]:
        """Send a request to one of the providers.

        While none is registered, it waits for one as long as a provider may take to accept a
        connection, so the restart of a service's only process costs time but no request.

        Args:
            method: ``b"GET"``.
            uri: ``b"http://SERVICE/path"``; the service's name is what providers get as ``Host``
                unless ``headers`` has one.  ``https`` chooses among the providers that are
                registered as speaking TLS; their certificates must be for ``SERVICE``.
            headers: more headers.
            bodyProducer: the body; a request with one is sent again only if it reached no
                provider.

        Fails with:
            NoProviderError: there is no provider that speaks plain HTTP, or TLS.
            ConnectTimeoutError: nothing is known yet, and ZooKeeper does not reply in time.
            SchemeNotSupported: the URI begins neither with ``http://`` nor with ``https://``.
            Exception: the error of the last attempt; the message names the provider.
        """
        return Deferred.fromCoroutine(self._request(method, uri, headers, bodyProducer))

    def close(self) -> Deferred[None]:
        """Close the connections that are idle."""
        closed: Deferred[None] = self._pool.closeCachedConnections().addCallback(lambda _: None)
        return closed

    async def _request(
        self, method: bytes, uri: bytes, headers: Headers | None, body: IBodyProducer | None
    ) -> IResponse:
        target, host = _parse(uri)
        headers = Headers() if headers is None else headers.copy()
        if not headers.hasHeader(b"host"):
            headers.setRawHeaders(b"host", [host])
        await self._wait_for_providers()
        self._budget.earn()
        may_repeat = method.upper() in IDEMPOTENT and body is None

        def send(provider: Provider) -> _Sending:
            sending = self._agent.request(method, target.uri_for(provider), headers, body)
            reused = self._endpoints.latest_reuses_connection()
            checked: Deferred[IResponse] = sending.addErrback(_invalid_host)
            return _Sending(self._limits.limit(checked), reused)

        return await self._send_to_one(send, target, self._retry.attempts if may_repeat else 1)

    async def _send_to_one(
        self, send: Callable[[Provider], _Sending], target: _Target, attempts: int
    ) -> IResponse:
        """Send a request until a provider responds.

        Args:
            send: sends it to a provider.
            target: what it asks for.
            attempts: how often it may be received.
        """
        tried: set[str] = set()
        problem: BaseException | None = None
        began = self._reactor.seconds()
        while True:
            use = self._use_next(tried, target, problem)
            tried.add(use.provider.address)
            since = self._reactor.seconds()
            reused = False
            try:
                sending, reused = send(use.provider)
                response = await sending
            except _NOT_CONNECTED as error:
                use.failed()
                problem = self._log_and_explain(error, use.provider, len(tried))
                if self._limits.is_over(began):
                    raise
            except _NO_RESPONSE as error:
                if any(reason.check(*_CANCELLED) for reason in error.reasons):
                    self._limits.cancelled(use, since)
                    raise
                problem, attempts = error, attempts - 1
                self._log_and_explain(error, use.provider, len(tried))
                if reused:  # the same provider may get it again
                    use.ended()
                    tried.discard(use.provider.address)
                else:
                    use.failed()
                if not attempts or not self._budget.spend():
                    raise
            except BaseException:
                use.ended()
                raise
            else:
                use.succeeded()
                use.ended()
                return response

    def _log_and_explain(self, error: Exception, provider: Provider, number: int) -> Exception:
        """Log an error, and name the provider in its message; returns the same error."""
        reason = ", ".join(
            failure.getErrorMessage().rstrip(".") for failure in getattr(error, "reasons", ())
        )
        what = f"no response: {reason}" if reason else str(error.args[0] if error.args else error)
        self._log.debug(
            "{path}: {address}: {what}",
            path=self._resolver.path,
            address=provider.address,
            what=what,
        )
        others = f", the last of {number} providers that were tried" if number > 1 else ""
        error.args = (f"{provider.address}: {what}{others}",)
        return error

    def _use_next(
        self, tried: set[str], target: _Target, problem: BaseException | None
    ) -> ProviderUse:
        """Choose another provider; if all were tried, raise the problem of the last one."""
        try:
            return self._resolver.use(tried, tls=target.tls)
        except NoProviderError as error:
            raise problem or error from None

    async def _wait_for_providers(self) -> None:
        if not self._resolver.known:
            await time_limit(self._resolver.start(), RESOLVE_TIMEOUT, self._reactor, self._no_reply)
        if not self._resolver.providers:
            await self._limits.wait_for_provider(self._resolver)

    def _no_reply(self, seconds: float) -> ConnectTimeoutError:
        return ConnectTimeoutError(
            self._resolver.path, f"ZooKeeper did not reply within {seconds:g} s"
        )


def _too_late(result: object, seconds: float) -> NoReturn:
    """Raise the error that says whether a provider may have received the cancelled request."""
    if isinstance(result, Failure) and result.check(ConnectingCancelledError):
        raise TimeoutError(f"did not accept the connection within {seconds:g} s")
    raise ResponseNeverReceived([Failure(TimeoutError(f"no response within {seconds:g} s"))])


def _parse(uri: bytes) -> tuple[_Target, bytes]:
    """What a URI asks for, and the ``Host`` header.

    Raises:
        SchemeNotSupported: the scheme is another one, or there is no name.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.lower()
    host = parts.netloc.rpartition(b"@")[2]
    if scheme not in (b"http", b"https") or not parts.hostname:
        raise SchemeNotSupported(f"expected http://SERVICE/... or https:, got {uri[:80]!r}")
    path = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
    return _Target(scheme, parts.hostname, path), host


def _invalid_host(failure: Failure) -> NoReturn:
    """Raise DNSLookupError for a host that is not a valid name, so that the next one is tried.

    Twisted reports such a host as a `ValueError`, and only on connecting.
    """
    failure.trap(ValueError)
    raise DNSLookupError(failure.getErrorMessage())


def agent(
    reactor: Any,
    resolver: Resolver,
    *,
    retry: Retry = DEFAULT_RETRY,
    pool: HTTPConnectionPool | None = None,
    timeout: float = 2.0,
    response_timeout: float | None = None,
    tls_policy: IPolicyForHTTPS | None = None,
) -> BalancingAgent:
    """An HTTP client for ``http://SERVICE/...`` that chooses a provider for each request.

    Connections are kept open and reused, separately for each provider.  Strategies that count
    requests count one until its response's head has arrived.  The result is an ``IAgent``: pass
    it to ``RedirectAgent`` or treq's ``HTTPClient``.

    Args:
        reactor: connects.
        resolver: knows the providers.  It is started if necessary; the caller closes it.
        retry: when a request is sent again.
        pool: keeps the connections; by default one that keeps 8 idle ones for each provider.
            Set ``retryAutomatically`` of your own pool to False.  Otherwise it sends requests
            again by itself, which ``retry`` does not limit.
        timeout: seconds for each provider to accept a connection, and for the first provider
            to be registered.
        response_timeout: seconds for each provider to connect and send a response's head; then
            the request counts as one without a response.  None: only the caller limits the time.
            A request that the caller cancels after more than ``timeout`` seconds counts as a
            failure of the provider.
        tls_policy: checks certificates, for ``https``; by default as browsers do.
    """
    if pool is None:
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = 8
        pool.retryAutomatically = False  # it would ignore the budget
    endpoints = ProviderEndpoints(reactor, timeout, tls_policy or BrowserLikePolicyForHTTPS())
    limits = _TimeLimits(reactor, timeout, response_timeout)
    return BalancingAgent(reactor, resolver, retry, pool, endpoints, limits)
