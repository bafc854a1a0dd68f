r"""Endpoint strings that connect to a registered service.

A description names the znode below which addresses are registered, in any format::

    zk:/svc/providers:servers=h1\:2181,h2\:2181[:balance=NAME][:timeout=SECONDS][:format=NAME][:zone=NAME]

``servers`` may be left out where the environment has ``ZC_ZK_CONNECTION_STRING``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary, ref

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectingCancelledError, TimeoutError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from zkservice.client.for_endpoints import PREFIX, TIMEOUT, servers_from, unescaped_colon
from zkservice.deferreds import time_limit
from zkservice.discovery.counted import CountedProtocol, CountingFactory
from zkservice.discovery.health import ProviderUse
from zkservice.discovery.shared import Service, ServiceUse, SharedSessions
from zkservice.discovery.strategies import STRATEGIES
from zkservice.discovery.tcp import MAX_TIMEOUTS, tcp_endpoint
from zkservice.errors import ConnectTimeoutError, NoProviderError
from zkservice.formats import FORMATS
from zkservice.znodes import validate

__all__ = ["ClientEndpointParser", "DiscoveringEndpoint"]

#: Seconds within which an address must accept a connection.
CONNECT_TIMEOUT: Final = 2.0
BALANCE: Final = "round-robin"

#: The names of the options of an endpoint string.
_OPTIONS: Final = ("servers", "balance", "timeout", "format", "zone")

#: Strategies that look at how many connections are open.
_COUNTING: Final = ("least-connections", "two-choices")


@implementer(IStreamClientEndpoint)
class DiscoveringEndpoint:
    """Connects to one of the addresses that are registered below a znode.

    Endpoints with the same `SharedSessions` use one session of ZooKeeper, one set of watches
    for each path, and one memory of what has failed.  The session ends when no endpoint has
    been referenced for a while.

    Args:
        reactor: connects, and tells the time.
        path: the znode; may lead through symbolic links.
        servers: ZooKeeper's connection string.
        shared: what other endpoints of the reactor share; None: nothing.
        balance: the name of a strategy in ``zkservice.discovery.STRATEGIES``.
        timeout: seconds for each address to accept the connection.
        formats: the names of the formats to expect.
        zone: providers of this zone are preferred; empty: none are.
    """

    def __init__(
        self,
        reactor: Any,
        path: str,
        servers: str,
        shared: SharedSessions | None = None,
        *,
        balance: str = BALANCE,
        timeout: float = CONNECT_TIMEOUT,
        formats: Iterable[str] = FORMATS,
        zone: str = "",
    ) -> None:
        self._reactor = reactor
        self._servers = servers
        self._shared = shared or SharedSessions(reactor)
        self._service = Service(path, tuple(formats), balance, zone)
        self._timeout = timeout
        self._service_use: ServiceUse | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        """Connect to a provider; try the next one until one accepts.

        The attempts end after five times the time-out.

        Fails with:
            NoProviderError: no member below the znode is available.
            LinkLoopError: the links form a loop.
            ConnectTimeoutError: nothing is known about the service, and ZooKeeper did not
                reply in time.
            The last address's error, if none accepts in time.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    def close(self) -> Deferred[None]:
        """Release the session; when its last user releases it, it is closed.

        Another `connect` uses a new session.  Only tests need this, because unused sessions are
        closed after a while.
        """
        service_use, self._service_use = self._service_use, None
        return succeed(None) if service_use is None else service_use.end()

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        if self._service_use is None:
            self._service_use = self._shared.use(self, self._servers, self._service)
        resolver, strategy = self._service_use.resolver()
        await time_limit(resolver.start(), TIMEOUT, self._reactor, self._no_reply)
        tried: set[str] = set()
        problem: BaseException | None = None
        give_up = self._reactor.seconds() + MAX_TIMEOUTS * self._timeout
        while True:
            try:
                use = resolver.use(tried, strategy=strategy)
            except NoProviderError as error:
                raise problem or error from None
            tried.add(use.provider.address)
            try:
                return await self._use(use, factory)
            except (CancelledError, ConnectingCancelledError):
                use.ended()
                raise
            except Exception as error:
                use.failed()
                problem = error
                if self._reactor.seconds() >= give_up:
                    raise

    async def _use(self, use: ProviderUse, factory: IProtocolFactory) -> IProtocol:
        """Connect to the provider of a use.

        The use ends with the connection if the strategy counts connections, else at once.
        """
        counting = self._service.balance in _COUNTING
        protocol: Any = await self._connect_to(
            use, CountingFactory(factory, use.ended) if counting else factory
        )
        use.succeeded()
        if isinstance(protocol, CountedProtocol):
            wrapped: IProtocol = protocol.wrapped
            return wrapped
        use.ended()
        connected: IProtocol = protocol
        return connected

    def _connect_to(self, use: ProviderUse, factory: Any) -> Deferred[IProtocol]:
        """Connect within the time-out, the look-up of the host's name included."""
        provider = use.provider

        def too_slow(result: object, seconds: float) -> NoReturn:
            raise TimeoutError(
                f"{provider.address} did not accept the connection within {seconds} s"
            )

        # The endpoint's own time-out begins after the look-up of the name, so it is set to twice
        # the limit below, which includes the look-up and so always ends first.
        endpoint = tcp_endpoint(self._reactor, provider.host, provider.port, 2 * self._timeout)
        connecting: Deferred[IProtocol] = endpoint.connect(factory)
        return connecting.addTimeout(self._timeout, self._reactor, too_slow)

    def _no_reply(self, seconds: float) -> ConnectTimeoutError:
        return ConnectTimeoutError(
            self._service.path,
            f"ZooKeeper at {self._servers} did not reply within {seconds} s",
        )


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class ClientEndpointParser:
    """Makes endpoints from their descriptions; those of one reactor share their sessions."""

    prefix = PREFIX

    def __init__(self) -> None:
        # The sessions reference their reactor: a strong reference from here would keep both alive.
        self._shared: WeakKeyDictionary[Any, ref[SharedSessions]] = WeakKeyDictionary()

    def parseStreamClient(  # noqa: N802 - Twisted's name
        self, reactor: Any, *words: Any, **named: Any
    ) -> DiscoveringEndpoint:
        """``zk:PATH:servers=HOSTS:balance=NAME:timeout=SECONDS``; only the path is required."""
        path, *rest = words
        if rest:
            raise unescaped_colon(path, rest[0])
        unknown = named.keys() - _OPTIONS
        if unknown:
            raise ValueError(
                f"zk:{path} takes {', '.join(_OPTIONS)}; not {', '.join(sorted(unknown))}"
            )
        servers = servers_from(named.get("servers"))
        balance = _one_of("balance", named.get("balance", BALANCE), STRATEGIES)
        timeout = _seconds(named.get("timeout", CONNECT_TIMEOUT))
        formats = FORMATS if "format" not in named else [named["format"]]
        for name in formats:
            _one_of("format", name, FORMATS)
        return DiscoveringEndpoint(
            reactor,
            validate(path),
            servers,
            self._sessions(reactor),
            balance=balance,
            timeout=timeout,
            formats=formats,
            zone=named.get("zone", ""),
        )

    def _sessions(self, reactor: Any) -> SharedSessions:
        known = self._shared.get(reactor)
        sessions = None if known is None else known()
        if sessions is None:
            sessions = SharedSessions(reactor)
            self._shared[reactor] = ref(sessions)
        return sessions


def _seconds(text: str | float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"timeout={text}: expected seconds, a number over 0")
    return seconds


def _one_of(option: str, name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise ValueError(f"{option}={name}: expected one of {', '.join(known)}")
    return name
