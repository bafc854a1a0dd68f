"""The addresses of open ports, to register or connect to; and closing ports without loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    ILoggingContext,
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
)
from twisted.internet.unix import Port as UNIXPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zkservice.errors import AddressError, ConfigurationError
from zkservice.privates import accept_pending, close_socket_only
from zkservice.registry import advertised_addresses, is_dual_stack, parse_address
from zkservice.service.config import ListenAddress
from zkservice.service.ports.endpoint_strings import check_endpoint, listening_address, open_port
from zkservice.web import ALPN

__all__ = [
    "LateBoundFactory",
    "addresses_of",
    "check_endpoint",
    "client_endpoint_of",
    "close_port",
    "endpoint_of",
    "listening_address",
    "open_port",
]

#: Where the monitor and the manhole listen if no host is named.
LOOPBACK: Final = "127.0.0.1"

#: Why there is nothing to register.
NO_ADDRESS: Final = (
    "no port has an address that others can connect to; "
    "name the address to register with --advertise HOST:PORT"
)
#: Why there can be no health check over HTTP.
NO_PLAIN_PORT: Final = (
    "the health check needs a port that speaks plain HTTP; "
    "add one, such as --listen unix:/run/app-health.sock"
)

_log = Logger()
#: Server endpoints that speak plain HTTP from the first byte.
_PLAIN: Final = ("tcp:", "tcp6:", "unix:", "systemd:")


@implementer(IProtocolFactory, IProtocolNegotiationFactory, ILoggingContext)
class LateBoundFactory:
    """The factory of ports that are opened before the application is loaded.

    Low ports are opened while the process is still root; the application is loaded after it has
    given up root.  Connections that arrive in between wait in the kernel.
    """

    target: IProtocolFactory | None = None

    def logPrefix(self) -> str:  # noqa: N802 - ILoggingContext's name
        """The name for twistd's log."""
        return "zkserve"

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802 - IProtocolNegotiationFactory's
        """The protocols to offer in the TLS handshake (ALPN)."""
        return list(ALPN)

    def doStart(self) -> None:  # noqa: N802 - IProtocolFactory's name
        """Do nothing: the target starts with the service."""

    def doStop(self) -> None:  # noqa: N802
        """Do nothing: the target stops with the service."""

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # noqa: N802
        """Build the connection with the target, once there is one."""
        return None if self.target is None else self.target.buildProtocol(addr)


def close_port(reactor: IReactorTime, port: IListeningPort) -> Deferred[Any]:
    """Stop listening, and serve the connections that the kernel has accepted already.

    Closing a port resets the connections that wait in the kernel's queue.  The port closes in the
    next turn of the reactor, so they are accepted in that turn, just before.
    """
    reactor.callLater(0, accept_pending, port)
    closing: Deferred[Any] = maybeDeferred(port.stopListening)
    if isinstance(port, UNIXPort):
        closing.addErrback(_leave_file, port)
    return closing


def _leave_file(failure: Failure, port: UNIXPort) -> None:
    """Close the socket, and log that its file stays because this user may not remove it."""
    failure.trap(OSError)
    error: Any = failure.value
    _log.warn(
        "cannot remove the socket {path}: {reason}; the next start replaces it.  Put it in a "
        "directory owned by the --uid user to have it removed",
        path=listening_address(port),
        reason=error.strerror,
    )
    close_socket_only(port, failure)


def addresses_of(listen: ListenAddress, port: IListeningPort) -> tuple[str, ...]:
    """The addresses to register for an open port; none for a Unix socket."""
    where = port.getHost()
    if not isinstance(where, (IPv4Address, IPv6Address)):
        return ()
    host = where.host if listen.host is None else listen.host
    return advertised_addresses(host, where.port, dual_stack=is_dual_stack(port))


def speaks_plain(listen: ListenAddress) -> bool:
    """Whether a port speaks plain HTTP from the first byte."""
    return listen.endpoint.startswith(_PLAIN)


def client_endpoint_of(
    listening: Iterable[tuple[ListenAddress, IListeningPort]], *, plain: bool = True
) -> str:
    """The endpoint string with which this process can reach itself.

    Args:
        listening: the open ports, with their configuration.
        plain: whether the port must speak plain HTTP.

    Raises:
        ConfigurationError: no port speaks plain HTTP.
    """
    for listen, port in listening:
        where: Any = port.getHost()
        if plain and not speaks_plain(listen):
            continue
        if isinstance(where, UNIXAddress):
            return f"unix:{quoteStringArgument(listening_address(port))}"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where.host, where.host)
        return f"tcp:{quoteStringArgument(host)}:{where.port}"
    raise ConfigurationError(NO_PLAIN_PORT)


def endpoint_of(address: str) -> str:
    """The endpoint string for ``HOST:PORT`` or the path of a socket.

    A blank host is loopback: these ports are for operators, and only an explicit
    ``0.0.0.0:PORT`` opens one to other machines.
    """
    if "/" in address:
        return f"unix:{quoteStringArgument(address)}:mode=600"
    try:
        host, port = parse_address(address)
    except AddressError as error:
        raise ConfigurationError(str(error)) from None
    return ListenAddress.tcp(host or LOOPBACK, port).endpoint
