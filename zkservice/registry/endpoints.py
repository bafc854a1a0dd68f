r"""Endpoint strings for servers that register; `zkservice.discovery` has those for clients.

A description wraps another one, whose colons are escaped::

    zk:/svc/providers:servers=h1\:2181,h2\:2181[:property=a=1,b=2][:format=NAME][:advertise=HOST]:tcp\:0

``servers`` is optional if ``ZC_ZK_CONNECTION_STRING`` is set in the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    quoteStringArgument,
    serverFromString,
)
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from zkservice.client import ZooKeeperClient
from zkservice.client.for_endpoints import (
    PREFIX,
    Connect,
    new_client,
    servers_from,
    unescaped_colon,
)
from zkservice.errors import AddressError, ZooKeeperError
from zkservice.formats import FORMATS
from zkservice.formats.addresses import format_address, parse_address
from zkservice.properties import checked_properties, read_property
from zkservice.registry.addresses import advertised_addresses, is_dual_stack
from zkservice.registry.register_api import register
from zkservice.registry.registration import Registration
from zkservice.znodes import validate

#: Seconds without a registration after which a warning is logged.
STILL_WAITING: Final = 3.0


@dataclass(frozen=True)
class EndpointSettings:
    """What to register for a port.

    Attributes:
        properties: stored with the address.
        format: a name in `zkservice.formats.FORMATS`.
        advertise: the host and port to register instead of the listening address.  Port 0
            stands for the listening port.  None registers the listening address.
        tls: clients must speak TLS.
    """

    properties: Mapping[str, Any] = field(default_factory=dict)
    format: str = "properties"
    advertise: tuple[str, int] | None = None
    tls: bool = False

    def addresses(self, port: IListeningPort) -> tuple[str, ...]:
        """The addresses to register for an open port.

        Raises:
            AddressError: the port has no address that others can connect to.
        """
        listening = port.getHost()
        host, number = self.advertise or ("", 0)
        if host and number:
            return (format_address(host, number),)
        if not isinstance(listening, (IPv4Address, IPv6Address)):
            raise AddressError(
                f"{listening} is not an address that others can connect to; "
                "set advertise=HOST\\:PORT to the address to register"
            )
        if host:
            return (format_address(host, listening.port),)
        return advertised_addresses(listening.host, listening.port, dual_stack=is_dual_stack(port))


_DEFAULT: Final = EndpointSettings()


@implementer(IStreamServerEndpoint)
class RegisteringEndpoint:
    """Listens with another endpoint, and registers the address.

    Args:
        reactor: connects, and tells the time.
        path: the znode under which to register.
        servers: ZooKeeper's connection string.
        wrapped: the endpoint that listens.
        connect: makes the client.
        settings: what to register.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        path: str,
        servers: str,
        wrapped: Any,
        connect: Connect = new_client,
        settings: EndpointSettings = _DEFAULT,
    ) -> None:
        self._reactor = reactor
        self._path = path
        self._servers = servers
        self._wrapped = wrapped
        self._connect = connect
        self._settings = settings

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803
        """Listen.  Fires with the port when it is open; it is registered as soon as possible.

        ``port.registration`` is the `Registration`.  Stopping the port deregisters first.

        Fails with:
            AddressError: the port has no address that can be registered.
            Exception: the error of the wrapped endpoint.
        """
        return Deferred.fromCoroutine(self._listen(protocolFactory))

    async def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        port: IListeningPort = await self._wrapped.listen(factory)
        client = self._connect(self._reactor, self._servers)
        try:
            registration = self._register(client, port)
        except BaseException:
            await _stop_listening(port)
            await client.close()
            raise
        client.connect().addErrback(self._cannot_connect)
        registered: IListeningPort = RegisteredPort(port, registration, client, self._reactor)
        return registered

    def _register(self, client: ZooKeeperClient, port: IListeningPort) -> Registration:
        settings = self._settings
        addresses = settings.addresses(port)
        return register(
            client,
            self._path,
            addresses,
            settings.properties,
            format=settings.format,
            tls=addresses if settings.tls else (),
            # An advertised address may be shared with another process: leave its znode alone.
            replace=settings.advertise is None,
            clock=self._reactor,
        )

    def _cannot_connect(self, failure: Failure) -> None:
        # The registration logs what ZooKeeper refuses.
        if failure.check(ZooKeeperError, CancelledError) is None:
            self._log.failure("connecting to ZooKeeper failed", failure)


@implementer(IListeningPort)
class RegisteredPort:
    """A port whose address is registered for as long as it listens.

    Attributes:
        registration: the registration of the address.
    """

    _log = Logger()

    def __init__(
        self,
        port: IListeningPort,
        registration: Registration,
        client: ZooKeeperClient,
        reactor: Any,
    ) -> None:
        self._port = port
        self._client = client
        self.registration = registration
        self._reminder: IDelayedCall | None = reactor.callLater(STILL_WAITING, self._remind)
        # The registration logs a failure, and retries.
        registration.when_registered().addBoth(self._cancel_reminder)

    def startListening(self) -> None:  # noqa: N802 - IListeningPort's name
        """Listen again after `stopListening`, without being registered."""
        self._port.startListening()

    def stopListening(self) -> Deferred[None]:  # noqa: N802
        """Deregister, close the session, and stop listening.

        The time is bounded even if ZooKeeper cannot be reached.
        """
        return Deferred.fromCoroutine(self._stop())

    def getHost(self) -> Any:  # noqa: N802
        """The address on which the port listens."""
        return self._port.getHost()

    async def _stop(self) -> None:
        self._cancel_reminder()
        # Closing the session deletes its ephemeral znodes, in bounded time.  Unregister first:
        # otherwise the registration would report the end of the session as a loss.
        self.registration.unregister().addErrback(lambda _: None)
        await self._client.close()
        await _stop_listening(self._port)

    def _remind(self) -> None:
        self._reminder = None
        reason = self.registration.reason
        self._log.warn(
            "Listening on {addresses}, but not registered below {path}: {state}{reason}; "
            "it registers as soon as that is possible",
            addresses=", ".join(self.registration.addresses),
            path=self.registration.parent,
            state=self.registration.state.value,
            reason=f" ({reason})" if reason else "",
        )

    def _cancel_reminder(self, result: object = None) -> None:
        reminder, self._reminder = self._reminder, None
        if reminder is not None:
            reminder.cancel()


async def _stop_listening(port: IListeningPort) -> None:
    stopping: Any = port.stopListening()
    if stopping is not None:
        await stopping


@implementer(IPlugin, IStreamServerEndpointStringParser)
class ServerEndpointParser:
    """Makes endpoints from their string descriptions."""

    prefix = PREFIX

    def parseStreamServer(  # noqa: N802 - Twisted's name
        self, reactor: Any, *words: Any, **named: Any
    ) -> RegisteringEndpoint:
        """``zk:PATH:servers=HOSTS:property=NAME=VALUE:format=NAME:advertise=HOST:DESCRIPTION``."""
        path, wrapped = words[0], words[1:]
        if wrapped and wrapped[0][:1].isdigit():  # no endpoint's name, so the port of a server
            raise unescaped_colon(path, wrapped[0])
        servers = servers_from(named.pop("servers", None))
        properties = _properties(named.pop("property", ""))
        format = named.pop("format", _DEFAULT.format)
        if format not in FORMATS:
            raise ValueError(f"format={format}: expected one of {', '.join(FORMATS)}")
        advertise = _advertised(named.pop("advertise", None))
        if not wrapped and not named:
            raise ValueError(f"zk:{path} has no endpoint to listen on; add one like tcp\\:0")
        description = _description(wrapped, named)
        tls = description.removeprefix("haproxy:").startswith(("ssl:", "mtls:"))
        return RegisteringEndpoint(
            *(reactor, validate(path), servers, serverFromString(reactor, description)),
            settings=EndpointSettings(properties, format, advertise, tls),
        )


def _properties(text: str) -> dict[str, Any]:
    """``NAME=VALUE,NAME:=JSON``.  A comma is a separator only before a name and ``=``."""
    pairs = re.split(r",(?=[^,=]+=)", text) if text else []
    return checked_properties(dict(map(read_property, pairs)))


def _advertised(text: str | None) -> tuple[str, int] | None:
    """Parse ``HOST`` or ``HOST:PORT``; the port is 0 if the text has none."""
    if text is None:
        return None
    host_only = ":" not in text or text.endswith("]")
    host, port = parse_address(f"{text}:0" if host_only else text)
    if not host or not (host_only or port):
        raise AddressError(f"advertise={text}: expected HOST, or HOST:PORT with a port above 0")
    return host, port


def _description(words: Sequence[str], named: Mapping[str, str]) -> str:
    """Restore the wrapped description, which Twisted has split at colons and equals signs.

    A correctly escaped description is a single word, colons included, except for its last
    ``name=value``.  If its colons were not escaped, Twisted has split it into its words, and has
    unescaped each of them.
    """
    escaped = any(":" in word for word in (*words, *named))
    pairs = [f"{name}={value}" for name, value in named.items()]
    if escaped:
        return ":".join([*words, *pairs])
    return ":".join([*(quoteStringArgument(word) for word in words), *pairs])


__all__: Sequence[str] = [
    "EndpointSettings",
    "RegisteredPort",
    "RegisteringEndpoint",
    "ServerEndpointParser",
]
