r"""Endpoint strings: listen and be registered, or connect to a registered address.

A server description wraps another one, whose colons are escaped::

    zk:/svc/providers:servers=h1\:2181,h2\:2181:tcp\:0

A client description names the znode below which addresses are registered, in any format::

    zk:/svc/providers:servers=h1\:2181[:timeout=SECONDS][:format=NAME]

``servers`` may be left out where the environment has ``ZC_ZK_CONNECTION_STRING``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import SystemRandom
from typing import Any, Final, NoReturn

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    quoteStringArgument,
    serverFromString,
)
from twisted.internet.error import ConnectingCancelledError, TimeoutError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    AddressError,
    ConnectTimeoutError,
    NobodyRegisteredError,
    NoNodeError,
)
from zkservice.formats import FORMATS, Member
from zkservice.registry.addresses import advertised_addresses, is_dual_stack
from zkservice.registry.find import FoundMembers, find_members
from zkservice.registry.register_api import register
from zkservice.registry.registration import Registration
from zkservice.wire.hosts import parse_hosts
from zkservice.znodes import validate

PREFIX: Final = "zk"
#: Seconds within which ZooKeeper must answer.
TIMEOUT: Final = 10.0
#: Seconds within which an address must accept a connection.
CONNECT_TIMEOUT: Final = 2.0

#: Makes a client of a reactor and a connection string.
Connect = Callable[[Any, str], ZooKeeperClient]


def new_client(reactor: Any, servers: str) -> ZooKeeperClient:
    """A client that is not connected yet."""
    return ZooKeeperClient(servers, reactor=reactor)


@implementer(IStreamServerEndpoint)
class RegisteringEndpoint:
    """Listens as another endpoint does, and registers the address."""

    def __init__(
        self, reactor: Any, path: str, servers: str, wrapped: Any, connect: Connect = new_client
    ) -> None:
        self._reactor = reactor
        self._path = path
        self._servers = servers
        self._wrapped = wrapped
        self._connect = connect

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803
        """Listen.  Fires with the port when it is registered; stopping it deregisters first.

        Fails with:
            AddressError: what is listened on has no address that can be registered.
            ConnectTimeoutError: ZooKeeper cannot be reached.
            Whatever the wrapped endpoint and the registration fail with.
        """
        return Deferred.fromCoroutine(self._listen(protocolFactory))

    async def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        port: IListeningPort = await self._wrapped.listen(factory)
        client = self._connect(self._reactor, self._servers)
        try:
            where = port.getHost()
            if not isinstance(where, (IPv4Address, IPv6Address)):
                raise AddressError(f"{where} is not an address that others can connect to")
            await client.connect(TIMEOUT)
            registration = register(
                client,
                self._path,
                advertised_addresses(where.host, where.port, dual_stack=is_dual_stack(port)),
                clock=self._reactor,
            )
            await registration.when_registered()
        except BaseException:
            await _stop_listening(port)
            await client.close()
            raise
        registered: IListeningPort = RegisteredPort(port, registration, client)
        return registered


@implementer(IListeningPort)
class RegisteredPort:
    """A port whose address is registered for as long as it listens."""

    def __init__(
        self, port: IListeningPort, registration: Registration, client: ZooKeeperClient
    ) -> None:
        self._port = port
        self._client = client
        self.registration = registration

    def startListening(self) -> None:  # noqa: N802 - IListeningPort's name
        """Listen again after `stopListening`, without being registered."""
        self._port.startListening()

    def stopListening(self) -> Deferred[None]:  # noqa: N802
        """Deregister, stop listening, close the session; bounded if ZooKeeper is away."""
        return Deferred.fromCoroutine(self._stop())

    def getHost(self) -> Any:  # noqa: N802
        """The address that is listened on."""
        return self._port.getHost()

    async def _stop(self) -> None:
        # Closing the session deletes its ephemeral znodes, and is bounded.  The registration
        # must know before that the end of the session is wanted.
        self.registration.unregister().addErrback(lambda _: None)
        await self._client.close()
        await _stop_listening(self._port)


@implementer(IStreamClientEndpoint)
class DiscoveringEndpoint:
    """Connects to one of the addresses that are registered below a znode.

    Args:
        reactor: connects, and tells the time.
        path: the znode; may lead through symbolic links.
        servers: ZooKeeper's connection string.
        connect: makes the client for one look-up.
        shuffle: puts the members in the order in which they are tried.
        timeout: seconds for each address to accept the connection.
        formats: the names of the formats to expect.
    """

    def __init__(
        self,
        reactor: Any,
        path: str,
        servers: str,
        connect: Connect = new_client,
        shuffle: Callable[[list[Member]], object] | None = None,
        *,
        timeout: float = CONNECT_TIMEOUT,
        formats: Iterable[str] = FORMATS,
    ) -> None:
        self._reactor = reactor
        self._path = path
        self._servers = servers
        self._connect = connect
        self._shuffle = shuffle or SystemRandom().shuffle
        self._timeout = timeout
        self._formats = tuple(formats)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        """Look the addresses up, and try them in random order until one accepts.

        Fails with:
            NobodyRegisteredError: no member below the znode is available.
            LinkLoopError: the path leads in a circle.
            ConnectTimeoutError: ZooKeeper has not answered in time.
            The last address's error, if none accepts.
        """
        return Deferred.fromCoroutine(self._connect_to_one(protocolFactory))

    async def _connect_to_one(self, factory: IProtocolFactory) -> IProtocol:
        members = await self._members()
        self._shuffle(members)
        for member in members[:-1]:
            try:
                return await self._connect_to(member, factory)
            except (CancelledError, ConnectingCancelledError):
                raise
            except Exception:  # noqa: BLE001 - the next one may accept
                continue
        return await self._connect_to(members[-1], factory)

    def _connect_to(self, member: Member, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect within the time-out, the look-up of the host's name included."""

        def too_slow(result: object, seconds: float) -> NoReturn:
            raise TimeoutError(f"{member.address} did not accept the connection within {seconds} s")

        # Its own time-out begins after the look-up; the limit below is to be the first that ends.
        own = 2 * self._timeout
        endpoint = HostnameEndpoint(self._reactor, member.host, member.port, own)
        connecting: Deferred[IProtocol] = endpoint.connect(factory)
        return connecting.addTimeout(self._timeout, self._reactor, too_slow)

    async def _members(self) -> list[Member]:
        client = self._connect(self._reactor, self._servers)
        try:
            found = await Deferred.fromCoroutine(self._look_up(client)).addTimeout(
                TIMEOUT, self._reactor, self._lookup_timed_out
            )
        except NoNodeError:
            raise NobodyRegisteredError(self._path) from None
        finally:
            await client.close()
        available = [member for member in found.members if member.available]
        if not available:
            raise NobodyRegisteredError(self._path, _why_none_available(found))
        return available

    async def _look_up(self, client: ZooKeeperClient) -> FoundMembers:
        await client.connect(TIMEOUT)
        return await find_members(client, self._path, self._formats, reactor=self._reactor)

    def _lookup_timed_out(self, result: object, seconds: float) -> NoReturn:
        raise ConnectTimeoutError(
            self._path, f"ZooKeeper at {self._servers} did not answer within {seconds} s"
        )


def _why_none_available(found: FoundMembers) -> str | None:
    """Why no child is an address to connect to; None where there are no children."""
    if found.members:
        return f"none of the {len(found.members)} registered here is available"
    if found.problems:
        others = len(found.problems) - 1
        more = f", and {others} more like it" if others else ""
        return f"no service instance is registered here: {found.problems[0]}{more}"
    return None


async def _stop_listening(port: IListeningPort) -> None:
    stopping: Any = port.stopListening()
    if stopping is not None:
        await stopping


@implementer(
    IPlugin, IStreamServerEndpointStringParser, IStreamClientEndpointStringParserWithReactor
)
class EndpointParser:
    """Makes the endpoints of their descriptions."""

    prefix = PREFIX

    def parseStreamServer(  # noqa: N802 - Twisted's name
        self, reactor: Any, *words: Any, **named: Any
    ) -> RegisteringEndpoint:
        """``zk:PATH:servers=HOSTS:DESCRIPTION``."""
        path, wrapped = words[0], words[1:]
        servers = _servers(named.pop("servers", None))
        if not wrapped and not named:
            raise ValueError(f"zk:{path} has no endpoint to listen on; add one like tcp\\:0")
        inner = serverFromString(reactor, _description(wrapped, named))
        return RegisteringEndpoint(reactor, validate(path), servers, inner)

    def parseStreamClient(  # noqa: N802
        self, reactor: Any, *words: Any, **named: Any
    ) -> DiscoveringEndpoint:
        """``zk:PATH:servers=HOSTS:timeout=SECONDS:format=NAME``, all but the path optional."""
        (path,) = words
        servers = _servers(named.pop("servers", None))
        timeout = _seconds(named.pop("timeout", CONNECT_TIMEOUT))
        formats = _formats(named.pop("format", None))
        if named:
            raise ValueError(f"zk:{path} takes servers, timeout and format, not {', '.join(named)}")
        return DiscoveringEndpoint(
            reactor, validate(path), servers, timeout=timeout, formats=formats
        )


def _seconds(text: str | float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"timeout={text}: expected seconds, a number over 0")
    return seconds


def _formats(name: str | None) -> Iterable[str]:
    if name is None:
        return FORMATS
    if name not in FORMATS:
        raise ValueError(f"format={name}: expected one of {', '.join(FORMATS)}")
    return [name]


def _description(words: Sequence[str], named: Mapping[str, str]) -> str:
    """The wrapped description, which Twisted has cut at its colons and equals signs.

    Escaped as it should be it is one word, but for its last ``name=value``.
    """
    whole = [word for word in (*words, *named) if ":" in word]
    pairs = [f"{name}={value}" for name, value in named.items()]
    if whole:
        return ":".join([*words, *pairs])
    return ":".join([*(quoteStringArgument(word) for word in words), *pairs])


def _servers(given: str | None) -> str:
    servers = given or os.environ.get("ZC_ZK_CONNECTION_STRING", "")
    if not servers:
        raise ValueError("ZooKeeper's address is missing; expected zk:/path:servers=host1\\:2181")
    parse_hosts(servers)
    return servers


__all__: Sequence[str] = [
    "DiscoveringEndpoint",
    "EndpointParser",
    "RegisteredPort",
    "RegisteringEndpoint",
]
