r"""Endpoint strings that listen and are registered; `zkservice.discovery` has those that connect.

A description wraps another one, whose colons are escaped::

    zk:/svc/providers:servers=h1\:2181,h2\:2181:tcp\:0

``servers`` may be left out where the environment has ``ZC_ZK_CONNECTION_STRING``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    quoteStringArgument,
    serverFromString,
)
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from zkservice.client import ZooKeeperClient
from zkservice.client.for_endpoints import PREFIX, TIMEOUT, Connect, new_client, servers_from
from zkservice.errors import (
    AddressError,
)
from zkservice.registry.addresses import advertised_addresses, is_dual_stack
from zkservice.registry.register_api import register
from zkservice.registry.registration import Registration
from zkservice.znodes import validate


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


async def _stop_listening(port: IListeningPort) -> None:
    stopping: Any = port.stopListening()
    if stopping is not None:
        await stopping


@implementer(IPlugin, IStreamServerEndpointStringParser)
class ServerEndpointParser:
    """Makes the endpoints of their descriptions."""

    prefix = PREFIX

    def parseStreamServer(  # noqa: N802 - Twisted's name
        self, reactor: Any, *words: Any, **named: Any
    ) -> RegisteringEndpoint:
        """``zk:PATH:servers=HOSTS:DESCRIPTION``."""
        path, wrapped = words[0], words[1:]
        servers = servers_from(named.pop("servers", None))
        if not wrapped and not named:
            raise ValueError(f"zk:{path} has no endpoint to listen on; add one like tcp\\:0")
        inner = serverFromString(reactor, _description(wrapped, named))
        return RegisteringEndpoint(reactor, validate(path), servers, inner)


def _description(words: Sequence[str], named: Mapping[str, str]) -> str:
    """The wrapped description, which Twisted has cut at its colons and equals signs.

    Escaped as it should be it is one word, but for its last ``name=value``.
    """
    whole = [word for word in (*words, *named) if ":" in word]
    pairs = [f"{name}={value}" for name, value in named.items()]
    if whole:
        return ":".join([*words, *pairs])
    return ":".join([*(quoteStringArgument(word) for word in words), *pairs])


__all__: Sequence[str] = [
    "RegisteredPort",
    "RegisteringEndpoint",
    "ServerEndpointParser",
]
