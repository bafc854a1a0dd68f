"""Connections from this process to its own front end, without a port."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from zkservice.supervisor.channel import adopt_socket

__all__ = ["InsideEndpoint"]


@implementer(IStreamClientEndpoint)
class InsideEndpoint:
    """Connects through a pair of sockets.

    The new program of an upgrade checks its own health through this endpoint.  A connection to the
    port could reach the old program, which still accepts there.

    Args:
        reactor: runs the client's end.
        serve: takes the other end over, and serves it.
    """

    def __init__(self, reactor: Any, serve: Callable[[socket.socket], object]) -> None:
        self._reactor = reactor
        self._serve = serve

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        """Connect at once."""
        protocol = protocolFactory.buildProtocol(UNIXAddress(None))
        if protocol is None:
            return fail(ConnectError(string="the factory has no protocol"))
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        adopt_socket(self._reactor, ours, protocol)
        self._serve(theirs)
        return succeed(protocol)
