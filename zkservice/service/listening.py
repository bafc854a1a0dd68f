"""Open ports, and what they are called from outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    ILoggingContext,
    IProtocol,
    IProtocolFactory,
    IReactorCore,
    IReactorTime,
    IReadDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from zkservice.errors import AddressError, ConfigurationError
from zkservice.registry import advertised_addresses, parse_address
from zkservice.registry.addresses import format_address
from zkservice.service.config import Listen

#: More connections than any kernel's queue holds (net.core.somaxconn).
_BACKLOG: Final = 65536


@implementer(IProtocolFactory, ILoggingContext)
class Door:
    """What ports are opened with before there is anything behind them.

    Low ports are opened while the process is still root, the application is loaded when
    it no longer is; connections that come in between wait in the kernel.
    """

    opens_to: IProtocolFactory | None = None

    def logPrefix(self) -> str:  # noqa: N802 - ILoggingContext's name
        """What twistd's log calls it."""
        return "zkserve"

    def doStart(self) -> None:  # noqa: N802 - IProtocolFactory's name
        """A port listens."""

    def doStop(self) -> None:  # noqa: N802
        """A port has stopped listening."""

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # noqa: N802
        """Hand the connection to what is behind."""
        return None if self.opens_to is None else self.opens_to.buildProtocol(addr)


def check_endpoint(text: str) -> str:
    """Answer the text, which is a Twisted server endpoint string.

    Raises:
        ConfigurationError: it is none, or a file that it names cannot be used.
    """
    try:
        # Parsing needs a reactor only as something to listen with later.
        serverFromString(IReactorCore, text)
    except Exception as error:  # noqa: BLE001 - endpoints are plugins, and raise what they like
        raise ConfigurationError(
            f"{text!r} is no Twisted server endpoint such as "
            f"'tcp:8080:interface=127.0.0.1': {str(error) or type(error).__name__}"
        ) from None
    return text


def open_port(reactor: Any, endpoint: str, factory: IProtocolFactory) -> IListeningPort:
    """Listen now.

    Raises:
        ConfigurationError: with the reason, and what to do about it.
    """
    outcome: list[Any] = []
    listening: Deferred[Any] = serverFromString(reactor, endpoint).listen(factory)
    listening.addBoth(outcome.append)
    if not outcome:
        listening.cancel()
        raise ConfigurationError(f"cannot listen at {endpoint}: it takes too long")
    if isinstance(outcome[0], Failure):
        raise ConfigurationError(f"cannot listen at {endpoint}: {_reason(outcome[0])}")
    port: IListeningPort = outcome[0]
    return port


def _reason(failure: Failure) -> str:
    error: Any = failure.value
    if isinstance(error, CannotListenError):
        error = error.socketError
    if isinstance(error, PermissionError):
        return f"{error.strerror}; ports below 1024 need root (and twistd's --uid)"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}; is it in use by another process?"
    return str(error)


def close_port(reactor: IReactorTime, port: IListeningPort) -> Deferred[Any]:
    """Stop listening, and let everybody in who has come so far.

    The kernel accepts connections before we do, and closing the port resets those.  The port
    closes in the next turn of the reactor, so that is when to look, just before it.
    """
    reactor.callLater(0, _accept_pending, port)
    return maybeDeferred(port.stopListening)


def _accept_pending(port: IListeningPort) -> None:
    socket_port: Any = port
    if IReadDescriptor.providedBy(port) and socket_port.connected:
        # A port that was quiet would accept only a few at once.
        socket_port.numberAccepts = _BACKLOG
        socket_port.doRead()


def addresses_of(listen: Listen, port: IListeningPort) -> tuple[str, ...]:
    """What to register for an open port; nothing for one that has no address outside."""
    where = port.getHost()
    if not isinstance(where, (IPv4Address, IPv6Address)):
        return ()
    host = where.host if listen.host is None else listen.host
    return advertised_addresses(host, where.port)


def listening_address(port: IListeningPort) -> str:
    """``host:port`` of an open TCP port, or the path of a socket."""
    where: Any = port.getHost()
    if isinstance(where, (IPv4Address, IPv6Address)):
        return format_address(where.host, where.port)
    name = where.name
    return name.decode() if isinstance(name, bytes) else str(name)


#: Server endpoints that speak plain HTTP from the first byte.
_PLAIN: Final = ("tcp:", "tcp6:", "unix:", "systemd:")


def client_endpoint_of(listening: Iterable[tuple[Listen, IListeningPort]]) -> str:
    """The endpoint string with which this process can reach itself.

    Raises:
        ConfigurationError: none of these speaks plain HTTP.
    """
    for listen, port in listening:
        where: Any = port.getHost()
        if not listen.endpoint.startswith(_PLAIN):
            continue
        if isinstance(where, UNIXAddress):
            return f"unix:{quoteStringArgument(listening_address(port))}"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where.host, where.host)
        return f"tcp:{quoteStringArgument(host)}:{where.port}"
    raise ConfigurationError(
        "the health check needs a port that speaks plain HTTP; "
        "add one, such as --listen unix:/run/app-health.sock"
    )


def endpoint_of(address: str) -> str:
    """The endpoint string for ``HOST:PORT`` or the path of a socket."""
    if "/" in address:
        return f"unix:{quoteStringArgument(address)}:mode=600"
    try:
        host, port = parse_address(address)
    except AddressError as error:
        raise ConfigurationError(str(error)) from None
    return Listen.tcp(host, port).endpoint
