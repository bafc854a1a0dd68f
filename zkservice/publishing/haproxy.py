"""HAProxy's runtime socket: servers come and go without a reload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
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
STILL_USED: Final = 1.0

_EXPERIMENTAL: Final = "experimental-mode on; "
_DONE: Final = ("", "New server registered.", "Server deleted.")
_USED: Final = "still has connections"


class HAProxySocket:
    """Asks HAProxy's socket, one connection for each command.

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
        asked = Deferred.fromCoroutine(self._ask(command))
        return await time_limit(asked, TIMEOUT, self._reactor, self._too_late)

    async def _ask(self, command: str) -> str:
        exchange = _Exchange(command)
        try:
            await connectProtocol(self._endpoint(), exchange)
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
            self.reply.errback(PublishError(f"HAProxy's reply broke off: {reason.value}"))

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
    #: A missing path never empties a backend: there are always servers to keep.
    exists: Final = True
    #: HAProxy applies changes immediately, so no command has to run.
    owed: Final = False

    def __init__(self, backend: str, socket: HAProxySocket) -> None:
        self.name = f"{backend}@{socket.address}"
        self._backend = backend
        self._socket = socket
        self._used = False

    @property
    def recheck(self) -> float:
        """Seconds after which to compare again although nothing has changed."""
        return STILL_USED if self._used else RECHECK

    def settle(self) -> None:
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
        changed = self._used = False
        for command in await self._commands(listings):
            if await self._tell(command):
                changed = True
            else:
                self._used = True
        return changed

    async def _preview(self, listings: Sequence[Listing]) -> str:
        told = await self._commands(listings)
        return "".join(f"{self._socket.address}: {command}\n" for command in told)

    async def _commands(self, listings: Sequence[Listing]) -> list[str]:
        members = [member for listing in listings for member in listing.members]
        reply = await self._socket.ask(show_servers(self._backend))
        try:
            return list(commands(self._backend, members, parse_servers(reply)))
        except RenderError as error:
            raise PublishError(f"{self.name}: {error}") from None

    async def _tell(self, command: str) -> bool:
        """Send a command; return False if a server cannot be deleted yet."""
        reply = await self._socket.ask(command)
        if "experimental" in reply:  # before 2.6
            reply = await self._socket.ask(_EXPERIMENTAL + command)
        if _USED in reply:
            return False
        if reply not in _DONE:
            raise PublishError(f"{self.name}: HAProxy refuses {command!r}: {reply[:200]!r}")
        self._log.debug("{target}: {command}", target=self.name, command=command)
        return True
