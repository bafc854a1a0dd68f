"""A Python prompt over telnet: for this machine only, with a token, and not for HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any, Final

from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.telnet import (
    ECHO,
    LINEMODE,
    NAWS,
    SGA,
    TelnetBootstrapProtocol,
    TelnetTransport,
)
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.monitor.connection_slots import ConnectionSlots, SlotPriority
from zkservice.monitor.detect_http import looks_like_http
from zkservice.monitor.prompt import LOGIN_TIMEOUT, MAX_CONNECTIONS, Prompt, banner_of

#: Bytes of the first line, and therefore of a token.
MAX_LINE: Final = 4096

_log = Logger()


class TokenGate(Protocol):
    """Asks for the token, and then hands the connection to another protocol.

    Args:
        token: must be the first line.
        make: makes the protocol that gets the connection after the token.
        logged_in: called when the token was right, before that protocol gets the connection.
    """

    def __init__(
        self, token: bytes, make: Callable[[], Any], logged_in: Callable[[], object]
    ) -> None:
        self._token = token
        self._make = make
        self._logged_in = logged_in
        self._line = b""
        self._size: tuple[int, int] | None = None  # columns and lines of the terminal
        #: Twisted reports the size of the user's terminal to this object.
        self.terminalProtocol = self

    def terminalSize(self, width: int, height: int) -> None:  # noqa: N802 - Twisted's name
        """Keep the size for the protocol that takes over."""
        self._size = width, height

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"Token: ")

    @override
    def dataReceived(self, data: bytes) -> None:
        self._line += data[:MAX_LINE]
        line, rest = _first_line(self._line)
        if rest is None and len(self._line) < MAX_LINE:
            return
        transport: Any = self.transport
        if not compare_digest(line.strip(), self._token):
            _log.warn("a manhole was refused to {peer}: wrong token", peer=transport.getPeer())
            transport.write(b"\nwrong token\n")
            transport.loseConnection()
            self._line = b""
            return
        self._logged_in()
        inner = self._make()
        transport.protocol = inner
        inner.makeConnection(transport)
        if self._size is not None:
            inner.terminalProtocol.terminalSize(*self._size)
        # The rest may begin with the LF or NUL of a line end CR LF or CR NUL (RFC 854).
        if rest and rest.strip(b"\r\n\0"):
            inner.dataReceived(rest.lstrip(b"\n\0"))


def _first_line(data: bytes) -> tuple[bytes, bytes | None]:
    """The first line, and the bytes after the CR or LF that ends it; None if it has no end yet."""
    ends = [at for at in (data.find(b"\r"), data.find(b"\n")) if at >= 0]
    return (data, None) if not ends else (data[: min(ends)], data[min(ends) + 1 :])


class _Negotiation(TelnetBootstrapProtocol):
    """Negotiates the options that a prompt needs.

    Twisted would log a traceback for each peer that disconnects during the negotiation.
    """

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.negotiationMap[NAWS] = self.telnet_NAWS
        transport.negotiationMap[LINEMODE] = self.telnet_LINEMODE
        for negotiation in (*map(transport.do, (LINEMODE, NAWS, SGA)), transport.will(ECHO)):
            negotiation.addErrback(lambda failure: None)
        self.protocol = self.protocolFactory()
        self.protocol.makeConnection(self)


class _Telnet(TelnetTransport, TimeoutMixin):
    """A telnet connection that refuses HTTP, and closes without a timely login."""

    transport: Any

    def __init__(self, factory: TelnetManholeFactory) -> None:
        super().__init__(_Negotiation, self._make)
        self._manhole = factory
        # The first line as far as it was received; None once it was checked.
        self._first: bytes | None = b""
        self.priority = SlotPriority.SESSION if factory.token is None else SlotPriority.SILENT

    def _make(self) -> Any:
        token = self._manhole.token
        if token is None:
            return self._manhole.prompt()
        return TokenGate(token, self._manhole.prompt, self._logged_in)

    def _logged_in(self) -> None:
        self.priority = SlotPriority.SESSION
        self.setTimeout(None)
        self._manhole.slots.occupy(self)

    def evict(self) -> None:
        """Close the connection: another one needs its slot."""
        self.transport.abortConnection()

    @override
    def callLater(self, period: float, func: Callable[[], None]) -> Any:
        if self._manhole.clock is None:
            return super().callLater(period, func)
        return self._manhole.clock.callLater(period, func)

    @override
    def connectionMade(self) -> None:
        self._manhole.slots.occupy(self)
        if self.priority is SlotPriority.SILENT:
            self.setTimeout(LOGIN_TIMEOUT)
        super().connectionMade()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._manhole.slots.release(self)
        self.setTimeout(None)
        super().connectionLost(reason)

    @override
    def timeoutConnection(self) -> None:
        self.transport.abortConnection()

    @override
    def dataReceived(self, data: bytes) -> None:
        if self.disconnecting or self.transport.disconnecting:
            return
        if self._first is not None and self._is_http(data):
            _log.warn("a manhole was refused to {peer}: it speaks HTTP", peer=self.getPeer())
            self.transport.write(b"\nerror: this is a manhole, which does not speak HTTP\n")
            self.transport.loseConnection()
            return
        try:
            super().dataReceived(data)
        except ValueError:  # a command that Twisted does not know
            self.transport.abortConnection()

    def _is_http(self, data: bytes) -> bool:
        """Whether the first line is HTTP, or too long for a user; later lines are not checked.

        Nothing runs before the end of the line, so it may come in pieces.
        """
        assert self._first is not None
        line, rest = _first_line(self._first + data)
        self._first = line if rest is None else None
        return len(line) > MAX_LINE or looks_like_http(line)


class TelnetManholeFactory(Factory):
    """Python prompts for peers on this machine.

    Each connection has its own copy of the namespace.

    Args:
        namespace: the names in the prompt.
        token: the first line that a user must send; None: no token, for Unix sockets only.
        clock: for the time-out of the login; the global reactor if it is None.
    """

    noisy = False

    def __init__(
        self,
        namespace: Mapping[str, Any],
        token: bytes | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        self._namespace = dict(namespace)
        self.token = token
        self.clock = clock
        self.slots: ConnectionSlots[Any] = ConnectionSlots(MAX_CONNECTIONS)

    @override
    def buildProtocol(self, addr: IAddress | None) -> TelnetTransport | None:
        if not is_local(addr):
            _log.warn("no manhole for {peer}: it is not on this machine", peer=addr)
            return None
        self.slots.make_room()  # a manhole's connection is never busy
        return _Telnet(self)

    def prompt(self) -> ServerProtocol:
        """A terminal with a prompt."""
        return ServerProtocol(Prompt, self._namespace, banner_of(self._namespace))


def is_local(address: object) -> bool:
    """Whether a peer is on this machine: a loopback address or a UNIX socket."""
    if isinstance(address, UNIXAddress):
        return True
    try:
        peer = ip_address(getattr(address, "host", ""))
    except ValueError:
        return False
    mapped = getattr(peer, "ipv4_mapped", None)
    return (mapped or peer).is_loopback
