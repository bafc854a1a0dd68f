"""The factory that endpoints listen with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IProtocolNegotiationFactory
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from zkservice.http11 import BodyStorage, HeadReader, Limits, RequestParser
from zkservice.web.accesslog import AccessSink
from zkservice.web.channel import HTTPChannel
from zkservice.web.proxies import TrustedProxies
from zkservice.web.server import FrontEndStatistics, HTTPServer
from zkservice.web.status import status_views as status_views_of
from zkservice.web.tally import ResponseTally
from zkservice.web.tracelog import TraceLog
from zkservice.web.views import View
from zkservice.web.workers import Workers
from zkservice.web.wsgi import Application

__all__ = ["ALPN", "HTTPFactory"]

#: The protocols over TLS, best first (RFC 7301).  Without this list, Twisted 26.10 ends the
#: handshake of clients that offer protocols, as all browsers do.
ALPN: Final = (b"http/1.1", b"http/1.0")

#: Chunks of a body that are parsed before other connections get a turn: about 0.2 ms.
_CHUNKS_PER_TURN: Final = 128


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
class HTTPFactory:
    """Serves a WSGI application over HTTP/1.1, from any Twisted server endpoint.

    Args:
        application: runs in the threads of ``workers``.
        workers: may serve several factories; their owner starts and stops them.
        reactor: runs the connections.
        limits: the limits for clients.
        views: WSGI callables that run in the reactor, by the raw path.
        status_views: whether to add ``/-/health`` and ``/-/threads`` to the views.
        proxies: the proxies whose fields about the client are trusted; none by default.
        access_log: receives a record of each response.
        trace_log: receives the records of each request to the application.
        tally: counts each response, for metrics.
        request_ids: whether to give each request an id, for the response and the logs; an access
            log implies it.
    """

    noisy = False

    def __init__(
        self,
        application: Application,
        workers: Workers,
        *,
        reactor: Any,
        limits: Limits | None = None,
        views: Mapping[str, View] | None = None,
        status_views: bool = False,
        proxies: TrustedProxies | None = None,
        access_log: AccessSink | None = None,
        trace_log: TraceLog | None = None,
        tally: ResponseTally | None = None,
        request_ids: bool = False,
    ) -> None:
        limits = limits or Limits()
        self.server = HTTPServer(
            application,
            workers,
            reactor=reactor,
            limits=limits,
            proxies=proxies or TrustedProxies(),
            access_log=access_log,
            trace_log=trace_log,
            tally=tally,
            request_ids=request_ids,
        )
        if status_views:
            self.server.add_views(status_views_of(self.server))
        self.server.add_views(views or {})
        self._heads = HeadReader(limits)
        self._bodies = BodyStorage(limits.body_memory, limits.body_disk)

    # Called by ports

    def doStart(self) -> None:  # noqa: N802 - IProtocolFactory's name
        """Do nothing: the owner of the workers starts them."""

    def doStop(self) -> None:  # noqa: N802
        """Do nothing: the owner of the workers stops them."""

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # noqa: N802
        """Return a channel for a connection."""
        parser = RequestParser(self.server.limits, self._heads, self._bodies, _CHUNKS_PER_TURN)
        return HTTPChannel(self.server, parser)

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802 - as TLS asks
        """The protocols to offer in the TLS handshake (ALPN)."""
        return list(ALPN)

    # Called by the service

    def drain(self, timeout: float) -> Deferred[int]:
        """Finish running requests, and close every connection.

        Stop listening first.  Idle clients may send one more request within
        ``Limits.drain_linger`` seconds, so that no client is refused.

        Args:
            timeout: seconds; requests that are not finished by then are cut off.

        Returns:
            Fires with the number of requests that were cut off.
        """
        return self.server.drain(timeout)

    def statistics(self) -> FrontEndStatistics:
        """The counters and gauges of the front end."""
        return self.server.statistics()
