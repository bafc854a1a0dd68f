"""HAProxy's runtime socket: add and remove servers without a reload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.deferreds import time_limit
from zkservice.errors import PublishError, RenderError
from zkservice.formats.addresses import parse_address
from zkservice.formats.consumers import Listing
from zkservice.formats.consumers.haproxy_runtime import (
    CONSUMER,
    commands,
    parse_servers,
    show_servers,
)

__all__ = ["HAProxySocket", "HAProxyTarget"]

#: Seconds that one command may take.
TIMEOUT: Final = 5.0
#: Bytes of a reply; each server in it takes a few hundred.
MAX_REPLY: Final = 8 * 2**20
#: Seconds between comparisons while nothing changes: a HAProxy that was restarted has the servers
#: of its configuration file again.
RECHECK: Final = 10.0
#: Seconds after which to try again to delete a server that still has connections.
RETRY_DELETION: Final = 1.0

_EXPERIMENTAL: Final = "experimental-mode on; "
_SUCCESS_REPLIES: Final = ("", "New server registered.", "Server deleted.")
_HAS_CONNECTIONS: Final = "still has connections"


class HAProxySocket:
    """Sends commands to HAProxy's socket, each on a connection of its own.

    Args:
        address: a socket's path, or ``HOST:PORT``.
        reactor: makes the connections.
    """

    def __init__(self, address: str, reactor: Any) -> None:
        self.address = address
        self._reactor = reactor

    async def ask(self, command: str) -> str:
        """Send a command and return the reply, stripped.

        Raises:
            PublishError: HAProxy cannot be reached, or does not reply in time.
        """
        reply = Deferred.fromCoroutine(self._ask(command))
        return await time_limit(reply, TIMEOUT, self._reactor, self._too_late)

    async def _ask(self, command: str) -> str:
        exchange = _Exchange(command)
        try:
            factory = Factory.forProtocol(lambda: exchange)
            factory.noisy = False  # there is a connection for each command
            await self._endpoint().connect(factory)
        except (ConnectError, OSError) as error:
            raise PublishError(f"HAProxy at {self.address} cannot be reached: {error}") from None
        return await exchange.reply

    def _endpoint(self) -> IStreamClientEndpoint:
        if "/" in self.address:
            return UNIXClientEndpoint(self._reactor, self.address)
        return HostnameEndpoint(self._reactor, *parse_address(self.address))

    def _too_late(self, seconds: float) -> Exception:
        return PublishError(f"HAProxy at {self.address} did not reply within {seconds:g} s")


class _Exchange(Protocol):
    """A command and its reply; HAProxy closes the connection after the reply."""

    def __init__(self, command: str) -> None:
        self.reply: Deferred[str] = Deferred(lambda _: self._abort())
        self._command = command
        self._received = bytearray()

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(f"{self._command}\n".encode())

    @override
    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_REPLY:
            self._abort()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.reply.called:
            return
        if reason.check(ConnectionDone) is not None:
            self.reply.callback(self._received.decode("utf-8", "replace").strip())
        else:
            self.reply.errback(PublishError(f"HAProxy's reply was cut off: {reason.value}"))

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class HAProxyTarget:
    """The servers of a HAProxy backend.

    Args:
        backend: the backend's name.
        socket: HAProxy's runtime socket.
    """

    _log = Logger()
    consumer = CONSUMER
    #: The servers of a backend can be kept, so a path that cannot be resolved never empties it.
    exists: Final = True
    #: HAProxy applies changes immediately, so no command has to run.
    command_pending: Final = False

    def __init__(self, backend: str, socket: HAProxySocket) -> None:
        self.name = f"{backend}@{socket.address}"
        self._backend = backend
        self._socket = socket
        self._deletion_pending = False

    @property
    def recheck(self) -> float:
        """Seconds after which to compare again although nothing has changed."""
        return RETRY_DELETION if self._deletion_pending else RECHECK

    def command_succeeded(self) -> None:
        """Do nothing: there is no command."""

    def publish(self, listings: Sequence[Listing]) -> Deferred[bool]:
        """Add, drain and remove servers; fires with whether something has changed.

        Fails with:
            PublishError: HAProxy cannot be reached, or has refused a command.
        """
        return Deferred.fromCoroutine(self._publish(listings))

    def preview(self, listings: Sequence[Listing]) -> Deferred[str]:
        """The commands that `publish` would send."""
        return Deferred.fromCoroutine(self._preview(listings))

    async def _publish(self, listings: Sequence[Listing]) -> bool:
        changed = self._deletion_pending = False
        for command in await self._commands(listings):
            if await self._send(command):
                changed = True
            else:
                self._deletion_pending = True
        return changed

    async def _preview(self, listings: Sequence[Listing]) -> str:
        planned = await self._commands(listings)
        return "".join(f"{self._socket.address}: {command}\n" for command in planned)

    async def _commands(self, listings: Sequence[Listing]) -> list[str]:
        members = [member for listing in listings for member in listing.members]
        reply = await self._socket.ask(show_servers(self._backend))
        try:
            return list(commands(self._backend, members, parse_servers(reply)))
        except RenderError as error:
            raise PublishError(f"{self.name}: {error}") from None

    async def _send(self, command: str) -> bool:
        """Send a command; return False if a server cannot be deleted yet."""
        reply = await self._socket.ask(command)
        if "experimental" in reply:  # before HAProxy 2.6
            reply = await self._socket.ask(_EXPERIMENTAL + command)
        if _HAS_CONNECTIONS in reply:
            return False
        if reply not in _SUCCESS_REPLIES:
            raise PublishError(f"{self.name}: HAProxy refuses {command!r}: {reply[:200]!r}")
        self._log.debug("{target}: {command}", target=self.name, command=command)
        return True
