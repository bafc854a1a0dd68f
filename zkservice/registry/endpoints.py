r"""Endpoint strings: listen and be registered, or connect to whoever is.

A server description wraps another one, whose colons are escaped::

    zk:/svc/providers:servers=h1\:2181,h2\:2181:tcp\:0

A client description names the znode below which addresses are registered::

    zk:/svc/providers:servers=h1\:2181

``servers`` may be left out where the environment has ``ZC_ZK_CONNECTION_STRING``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    quoteStringArgument,
    serverFromString,
)
from twisted.internet.error import ConnectingCancelledError
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
from zkservice.errors import AddressError, NobodyRegisteredError, NoNodeError
from zkservice.formats.addresses import parse_address
from zkservice.registry.addresses import advertised_addresses
from zkservice.registry.registering import register
from zkservice.registry.registration import Registration
from zkservice.wire.hosts import parse_hosts
from zkservice.wire.paths import validate

PREFIX: Final = "zk"
#: Seconds within which ZooKeeper must have answered.
TIMEOUT: Final = 10.0

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
                raise AddressError(f"{where} is no address that others can connect to")
            await client.connect(TIMEOUT)
            registration = register(
                client,
                self._path,
                advertised_addresses(where.host, where.port),
                clock=self._reactor,
            )
            await registration.when_registered()
        except BaseException:
            await _stopped(port)
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
        # To close the session deletes its ephemeral znodes, and is bounded; only that the end
        # of the session is wanted has to be known before.
        self.registration.unregister().addErrback(lambda _: None)
        await self._client.close()
        await _stopped(self._port)


@implementer(IStreamClientEndpoint)
class DiscoveringEndpoint:
    """Connects to one of the addresses that are registered below a znode."""

    def __init__(
        self,
        reactor: Any,
        path: str,
        servers: str,
        connect: Connect = new_client,
        shuffle: Callable[[list[str]], object] | None = None,
    ) -> None:
        self._reactor = reactor
        self._path = path
        self._servers = servers
        self._connect = connect
        self._shuffle = shuffle or SystemRandom().shuffle

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        """Look the addresses up, and try them in random order until one lets us in.

        Fails with:
            NobodyRegisteredError: there is no address below the znode.
            ConnectTimeoutError: ZooKeeper cannot be reached.
            The last address's error, if none lets us in.
        """
        return Deferred.fromCoroutine(self._connect_to_one(protocolFactory))

    async def _connect_to_one(self, factory: IProtocolFactory) -> IProtocol:
        addresses = await self._addresses()
        self._shuffle(addresses)
        for address in addresses[:-1]:
            try:
                return await self._connect_to(address, factory)
            except (CancelledError, ConnectingCancelledError):
                raise
            except Exception:  # noqa: BLE001 - the next one may let us in
                continue
        return await self._connect_to(addresses[-1], factory)

    async def _connect_to(self, address: str, factory: IProtocolFactory) -> IProtocol:
        host, port = parse_address(address)
        protocol: IProtocol = await HostnameEndpoint(self._reactor, host, port).connect(factory)
        return protocol

    async def _addresses(self) -> list[str]:
        client = self._connect(self._reactor, self._servers)
        try:
            await client.connect(TIMEOUT)
            found = await client.get_children(self._path, timeout=TIMEOUT)
        except NoNodeError:
            found = []
        finally:
            await client.close()
        addresses = [name for name in found if _is_address(name)]
        if not addresses:
            raise NobodyRegisteredError(self._path)
        return addresses


def _is_address(name: str) -> bool:
    try:
        parse_address(name)
    except AddressError:
        return False
    return True


async def _stopped(port: IListeningPort) -> None:
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
            raise ValueError(f"zk:{path} says not what to listen on; add an endpoint like tcp\\:0")
        inner = serverFromString(reactor, _description(wrapped, named))
        return RegisteringEndpoint(reactor, validate(path), servers, inner)

    def parseStreamClient(  # noqa: N802
        self, reactor: Any, *words: Any, **named: Any
    ) -> DiscoveringEndpoint:
        """``zk:PATH:servers=HOSTS``."""
        (path,) = words
        servers = _servers(named.pop("servers", None))
        if named:
            raise ValueError(f"zk:{path} takes servers, not {', '.join(named)}")
        return DiscoveringEndpoint(reactor, validate(path), servers)


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
        raise ValueError("say which ZooKeeper: zk:/path:servers=host1\\:2181")
    parse_hosts(servers)
    return servers


__all__: Sequence[str] = [
    "DiscoveringEndpoint",
    "EndpointParser",
    "RegisteredPort",
    "RegisteringEndpoint",
]
