"""Opens ports from endpoint strings, and reloads the certificates of those that speak TLS.

Endpoints wrap connections in their own ways (``ssl:``, ``mtls:``, ``tls:``, ``haproxy:ssl:``,
others from plugins).  But in the end each passes the wrapped factory to a method of the reactor.
So this module gives endpoints an object in place of the reactor, and that object gets the factory.
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
from zkservice.privates import close_without_shutdown, refuse_invalid_proxy_headers
from zkservice.service.ports.unix_port import UNIXPort

#: The part of an endpoint string that needs a socket of systemd.
_SYSTEMD: Final = re.compile(r"systemd:.*$")
#: Listens with a factory at the address of an endpoint.
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
            endpoint: a Twisted server endpoint string.
            factory: serves the connections.
            inherited: the descriptor of a socket that listens there already; it is taken over.

        Raises:
            ConfigurationError: the endpoint does not listen at once.
            Exception: any error of the endpoint.
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
        """Read the files of all TLS ports again, for new connections.

        If a port's files are invalid, it keeps its certificate, and an error is logged.

        Args:
            explain: makes one line of an endpoint and its error.
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
        first: starts and stops with the port; later factories only build connections.
    """

    def __init__(self, first: IProtocolFactory) -> None:
        self._first = first
        self.latest = first

    def logPrefix(self) -> str:  # noqa: N802 - ILoggingContext's name
        """The name in twistd's log."""
        if ILoggingContext.providedBy(self._first):
            return ILoggingContext(self._first).logPrefix()
        return type(self._first).__name__

    def doStart(self) -> None:  # noqa: N802 - IProtocolFactory's name
        """Start the first factory."""
        self._first.doStart()

    def doStop(self) -> None:  # noqa: N802
        """Stop the first factory."""
        self._first.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # noqa: N802
        """Build a connection with the latest certificates."""
        return self.latest.buildProtocol(addr)


class _TLSPort:
    """A TLS port, and what is needed to wrap its factory again with new certificates."""

    def __init__(self, endpoint: str, factory: IProtocolFactory, latest: LatestFactory) -> None:
        self.endpoint = endpoint
        self._factory = factory
        self._latest = latest

    def reload(self, reactor: Any) -> None:
        """Have the endpoint read its files and wrap the factory again, without listening."""
        self._latest.latest = wrapped_factory(reactor, self.endpoint, self._factory)


class _TakenError(Exception):
    """Raised into an endpoint in place of listening: only its factory is wanted."""


class _Binding:
    """Takes the place of the reactor for an endpoint.

    Args:
        reactor: everything but listening is passed on to it.
        bind: called in place of listening, with the wrapped factory and a function that listens.
        inherited: the descriptor of a socket to listen on, instead of opening one.
    """

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
            factory, lambda latest: self._reactor.listenTCP(port, latest, *words, **named)
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
            contextFactory.getContext()  # raises now if the key does not match the certificate
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

        def listen(latest: IProtocolFactory) -> IListeningPort:
            if self._inherited is not None:
                return self._adopt(self._inherited, latest, wantPID)
            if address[:1] in ("\0", b"\0"):  # an abstract name (unix(7)): there is no file
                abstract: IListeningPort = self._reactor.listenUNIX(
                    address, latest, backlog, mode, wantPID
                )
                return abstract
            made: Any = UNIXPort(address, latest, backlog, mode, self._reactor, wantPID)
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
        return self._bind(factory, lambda latest: self._adopt(os.dup(fileDescriptor), latest))

    def _adopt(self, descriptor: int, factory: IProtocolFactory, lock: int = 0) -> IListeningPort:
        """Listen on a socket that another program has opened, and take its descriptor over.

        Args:
            lock: whether there is a lock file beside a Unix socket (Twisted's ``wantPID``).
        """
        with socket.socket(fileno=descriptor) as listening:
            # Another program may have made the open file blocking; accept would block the reactor.
            listening.setblocking(False)
            name = listening.getsockname() if listening.family == socket.AF_UNIX else ""
            if not name or name[:1] in ("\0", b"\0"):
                adopted: IListeningPort = self._reactor.adoptStreamPort(
                    descriptor, listening.family, factory
                )
                close_without_shutdown(adopted)
                return adopted
            made: Any = UNIXPort(os.fsencode(name), factory, reactor=self._reactor, wantPID=lock)
            made.adopt(listening.dup())
            port: IListeningPort = made
            return port


def without_systemd(endpoint: str) -> str:
    """An endpoint string that wraps connections in the same way without a socket of systemd."""
    return _SYSTEMD.sub("tcp:0", endpoint)


def wrapped_factory(reactor: Any, endpoint: str, factory: IProtocolFactory) -> IProtocolFactory:
    """The factory that an endpoint would listen with: wrapped in TLS or the like.

    No port is opened: this is for worker processes, which get connections from their parent.

    Raises:
        ConfigurationError: the endpoint does not listen at once.
        Exception: any error of the endpoint, as when a file cannot be read.
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
    """Listen at an endpoint that listens without waiting for anything."""
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
