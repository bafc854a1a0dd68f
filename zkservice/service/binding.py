"""Opens ports from endpoint strings, and reads the files of those that speak TLS again.

An endpoint string says what to listen on, but how it wraps the connections is its own matter
(``ssl:``, ``mtls:``, ``tls:``, ``haproxy:ssl:``, others from plugins).  All of them hand a factory
to the reactor in the end, which is where this module takes part.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    ILoggingContext,
    IProtocol,
    IProtocolFactory,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from zkservice.errors import ConfigurationError
from zkservice.privates import forget_shutdown, refuse_invalid_proxy_headers
from zkservice.service.unix_port import UNIXPort

#: What remains of such an endpoint without systemd is what speaks on the connections.
_SYSTEMD: Final = re.compile(r"systemd:.*$")
#: Listens with a factory; where, has been said.
_Listen = Callable[[IProtocolFactory], IListeningPort]


class PortOpener:
    """Opens ports, and remembers those that speak TLS."""

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._tls: Final[list[_TLSPort]] = []

    def open(
        self, endpoint: str, factory: IProtocolFactory, inherited: int | None = None
    ) -> IListeningPort:
        """Listen now.

        Args:
            inherited: the descriptor of a socket that listens there already; it is taken over.

        Raises:
            ConfigurationError: the endpoint does not listen at once.
            Exception: what the endpoint fails with.
        """

        def bind(wrapped: IProtocolFactory, listen: _Listen) -> IListeningPort:
            if not _speaks_tls(wrapped):
                return listen(wrapped)
            latest = LatestFactory(wrapped)
            port = listen(latest)
            self._tls.append(_TLSPort(endpoint, factory, latest))
            return port

        if inherited is not None:
            endpoint = without_systemd(endpoint)
        return _listen(_Binding(self._reactor, bind, inherited), endpoint, factory)

    def reload_certificates(self, explain: Callable[[str, Exception], str]) -> None:
        """Read the files of all TLS ports again, for connections that come from now on.

        A port whose files cannot be used keeps what it has, and the log says why.

        Args:
            explain: says in a line what is wrong with an endpoint.
        """
        for port in self._tls:
            try:
                port.reload(self._reactor)
            except Exception as error:  # noqa: BLE001 - endpoints are plugins, and raise what they like
                self._log.error(
                    "{problem}; new connections still get the old certificate",
                    problem=explain(port.endpoint, error),
                )
            else:
                self._log.info(
                    "the certificates of {endpoint} were read again", endpoint=port.endpoint
                )


@implementer(IProtocolFactory, ILoggingContext)
class LatestFactory:
    """Builds connections with the factory that was set last.

    Args:
        first: it is what starts and stops with the port; later ones only build connections.
    """

    def __init__(self, first: IProtocolFactory) -> None:
        self._first = first
        self.latest = first

    def logPrefix(self) -> str:  # noqa: N802 - ILoggingContext's name
        """What twistd's log calls it."""
        if ILoggingContext.providedBy(self._first):
            return ILoggingContext(self._first).logPrefix()
        return type(self._first).__name__

    def doStart(self) -> None:  # noqa: N802 - IProtocolFactory's name
        """The port listens."""
        self._first.doStart()

    def doStop(self) -> None:  # noqa: N802
        """The port has stopped listening."""
        self._first.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # noqa: N802
        """Build a connection with the latest certificates."""
        return self.latest.buildProtocol(addr)


class _TLSPort:
    """A port, and what it takes to wrap its factory again."""

    def __init__(self, endpoint: str, factory: IProtocolFactory, latest: LatestFactory) -> None:
        self.endpoint = endpoint
        self._factory = factory
        self._latest = latest

    def reload(self, reactor: Any) -> None:
        """Take the factory from the endpoint, which reads its files, but do not listen."""
        self._latest.latest = wrapped_factory(reactor, self.endpoint, self._factory)


class _TakenError(Exception):
    """Keeps an endpoint from believing that it listens: it might close what it was given."""


class _Binding:
    """The reactor as endpoints see it, except that `bind` decides about what they listen with."""

    def __init__(
        self,
        reactor: Any,
        bind: Callable[[IProtocolFactory, _Listen], IListeningPort],
        inherited: int | None = None,
    ) -> None:
        def bind_strictly(wrapped: IProtocolFactory, listen: _Listen) -> IListeningPort:
            refuse_invalid_proxy_headers(wrapped)
            return bind(wrapped, listen)

        self._reactor = reactor
        self._bind = bind_strictly
        self._inherited = inherited
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(  # noqa: N802 - IReactorTCP's name
        self, port: int, factory: IProtocolFactory, *words: Any, **named: Any
    ) -> IListeningPort:
        """IReactorTCP."""
        if self._inherited is not None:
            return self._bind(factory, partial(self._adopt, self._inherited))
        return self._bind(
            factory, lambda each: self._reactor.listenTCP(port, each, *words, **named)
        )

    def listenSSL(  # noqa: N802 - IReactorSSL's name
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,  # noqa: N803
        *words: Any,
        **named: Any,
    ) -> IListeningPort:
        """IReactorSSL, as Twisted's reactors do it."""
        if hasattr(contextFactory, "getContext"):
            contextFactory.getContext()  # fails now if the key is not the certificate's
        return self.listenTCP(
            port, TLSMemoryBIOFactory(contextFactory, False, factory), *words, **named
        )

    def listenUNIX(  # noqa: N802 - IReactorUNIX's name
        self,
        address: Any,
        factory: IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: int = 0,  # noqa: N803
    ) -> IListeningPort:
        """IReactorUNIX, safe for root."""

        def listen(each: IProtocolFactory) -> IListeningPort:
            if self._inherited is not None:
                return self._adopt(self._inherited, each, wantPID)
            if address[:1] in ("\0", b"\0"):  # no file, but a name of Linux's own
                abstract: IListeningPort = self._reactor.listenUNIX(
                    address, each, backlog, mode, wantPID
                )
                return abstract
            made: Any = UNIXPort(address, each, backlog, mode, self._reactor, wantPID)
            made.startListening()
            port: IListeningPort = made
            return port

        return self._bind(factory, listen)

    def adoptStreamPort(  # noqa: N802 - IReactorSocket's name
        self,
        fileDescriptor: int,  # noqa: N803
        addressFamily: int,  # noqa: N803
        factory: IProtocolFactory,
    ) -> IListeningPort:
        """IReactorSocket; the caller keeps the descriptor."""
        return self._bind(factory, lambda each: self._adopt(os.dup(fileDescriptor), each))

    def _adopt(self, descriptor: int, factory: IProtocolFactory, lock: int = 0) -> IListeningPort:
        """Listen on a socket that another program has opened, and take its descriptor over."""
        with socket.socket(fileno=descriptor) as listening:
            # The flag is the open file's: accept would block, and with it the reactor.
            listening.setblocking(False)
            name = listening.getsockname() if listening.family == socket.AF_UNIX else ""
            if not name or name[:1] in ("\0", b"\0"):
                adopted: IListeningPort = self._reactor.adoptStreamPort(
                    descriptor, listening.family, factory
                )
                forget_shutdown(adopted)
                return adopted
            made: Any = UNIXPort(os.fsencode(name), factory, reactor=self._reactor, wantPID=lock)
            made.adopt(listening.dup())
            port: IListeningPort = made
            return port


def without_systemd(endpoint: str) -> str:
    """An endpoint string that wraps connections alike, but needs no socket of systemd's."""
    return _SYSTEMD.sub("tcp:0", endpoint)


def wrapped_factory(reactor: Any, endpoint: str, factory: IProtocolFactory) -> IProtocolFactory:
    """What an endpoint would listen with: the factory, wrapped in TLS or the like.

    Nothing is opened: this is for a process that gets its connections from another one.

    Raises:
        ConfigurationError: the endpoint does not listen at once.
        Exception: what the endpoint fails with, as when a file cannot be read.
    """
    taken: list[IProtocolFactory] = []

    def take(wrapped: IProtocolFactory, listen: _Listen) -> IListeningPort:
        taken.append(wrapped)
        raise _TakenError

    with contextlib.suppress(_TakenError):
        _listen(_Binding(reactor, take), endpoint, factory)
    return taken[0]


def _speaks_tls(factory: Any) -> bool:
    while factory is not None:
        if isinstance(factory, TLSMemoryBIOFactory):
            return True
        factory = getattr(factory, "wrappedFactory", None)
    return False


def _listen(binding: _Binding, endpoint: str, factory: IProtocolFactory) -> IListeningPort:
    """Listen at an endpoint that does so at once."""
    outcome: list[Any] = []
    listening = serverFromString(binding, endpoint).listen(factory)
    listening.addBoth(outcome.append)
    if not outcome:
        listening.cancel()
        raise ConfigurationError(f"cannot listen at {endpoint}: it takes too long")
    if isinstance(outcome[0], Failure):
        assert outcome[0].value is not None
        raise outcome[0].value
    port: IListeningPort = outcome[0]
    return port
