"""Wrap protocols to notice the end of each connection, so that open ones can be counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IFileDescriptorReceiver,
    IHalfCloseableProtocol,
    IHandshakeListener,
    ILoggingContext,
    IProtocol,
    IProtocolFactory,
    ITransport,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import alsoProvides, implementer

__all__ = ["CountedProtocol", "CountingFactory"]

_OPTIONAL = (IFileDescriptorReceiver, IHalfCloseableProtocol, IHandshakeListener, ILoggingContext)


@implementer(IProtocol)
class CountedProtocol:
    """Passes a transport's events on to a protocol, and reports the connection's end.

    Args:
        wrapped: gets all calls; its other attributes can be used through this object.
        ended: called when the connection is lost.
    """

    def __init__(self, wrapped: Any, ended: Callable[[], object]) -> None:
        self.wrapped = wrapped
        self._ended = ended
        alsoProvides(self, *(each for each in _OPTIONAL if each.providedBy(wrapped)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def makeConnection(self, transport: ITransport) -> None:  # noqa: N802 - Twisted's name
        """Connect the wrapped protocol to the transport."""
        self.wrapped.makeConnection(transport)

    def connectionMade(self) -> None:  # noqa: N802
        """Part of the interface; `makeConnection` calls that of the wrapped protocol."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Pass the bytes on."""
        self.wrapped.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Report the end, also if the wrapped protocol raises."""
        self._ended()
        self.wrapped.connectionLost(reason)


class CountingFactory(Factory):
    """Wraps each protocol of another factory in a `CountedProtocol`.

    Args:
        wrapped: makes the protocols.
        ended: called when a connection is lost.
    """

    noisy = False

    def __init__(self, wrapped: IProtocolFactory, ended: Callable[[], object]) -> None:
        self._wrapped = wrapped
        self._ended = ended

    @override
    def doStart(self) -> None:
        self._wrapped.doStart()

    @override
    def doStop(self) -> None:
        self._wrapped.doStop()

    @override
    def buildProtocol(self, addr: IAddress | None) -> Any:
        protocol = self._wrapped.buildProtocol(addr)  # type: ignore[arg-type]
        return None if protocol is None else CountedProtocol(protocol, self._ended)
