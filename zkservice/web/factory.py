"""The front end in one object: connections in, an application behind, counters, draining."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf
from time import time
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IProtocolNegotiationFactory
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from zope.interface import implementer

from zkservice.errors import BodyStorageError
from zkservice.http11 import BodyStorage, HeadReader, HeadWriter, Limits, RequestParser
from zkservice.web.accesslog import VisitLog
from zkservice.web.channel import HTTPChannel
from zkservice.web.deadlines import Deadlines
from zkservice.web.exchange import Exchange
from zkservice.web.proxies import TrustedProxies
from zkservice.web.site import SOFTWARE, Site
from zkservice.web.tally import ResponseTally
from zkservice.web.tracelog import TraceLog
from zkservice.web.turns import Turns
from zkservice.web.views import View
from zkservice.web.views import status_views as status_views_of
from zkservice.web.workers import Workers
from zkservice.web.wsgi import Application

__all__ = ["ALPN", "Counters", "FrontEndStatistics", "HTTPFactory"]

#: What is spoken over TLS, best first (RFC 7301).  It has to be said: Twisted 26.10 hangs up on
#: clients that offer protocols, as all browsers do, where nothing is acceptable.
ALPN: Final = (b"http/1.1", b"http/1.0")

#: Connections over the limit that may be told so at the same time.
_REFUSED_AT_A_TIME: Final = 32

#: Chunks of a body that are parsed before others get their turn: some 0.2 ms.
_CHUNKS_A_TURN: Final = 128
#: Seconds between two log lines that say that bodies cannot be stored.
_STORAGE_WARNING: Final = 60.0


@dataclass
class Counters:
    """What the front end has done since its start."""

    accepted: int = 0  #: connections
    requests: int = 0  #: requests that were complete and valid
    responded: int = 0  #: responses that were handed to the transport, whole
    aborted: int = 0  #: responses that were cut off: the client left, or the application failed
    refused: int = 0  #: clients that broke a rule or a limit
    shed: int = 0  #: requests and connections that got 503 or 507, as there was no room for them
    overrun: int = 0  #: requests that ran too long
    viewed: int = 0  #: requests that a view answered


@dataclass(frozen=True)
class FrontEndStatistics:
    """What the front end has done (see ``Counters``) and is doing."""

    connections: int  #: open now
    in_service: int  #: requests that wait for the application or run in it
    draining: bool
    accepted: int
    requests: int
    responded: int
    aborted: int
    refused: int
    shed: int
    overrun: int
    viewed: int


def descriptor_limit() -> int:
    """As many connections as the process may open files, with some left for the application."""
    return max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64)


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
class HTTPFactory:
    """Serves a WSGI application over HTTP/1.1, from any Twisted server endpoint.

    Args:
        application: runs in the threads of ``workers``.
        workers: may serve several factories; whoever made them starts and stops them.
        reactor: where the connections live.
        limits: what a client may ask for.
        views: raw path to a WSGI callable that answers in the reactor.
        status_views: whether ``/-/health`` and ``/-/threads`` are among the views.
        proxies: whose word on the client counts; nobody's if not said.
        access_log: hears of each response.
        trace_log: gets the records of each request to the application.
        tally: counts each response, for metrics.
    """

    noisy = False
    _log = Logger()

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
        access_log: VisitLog | None = None,
        trace_log: TraceLog | None = None,
        tally: ResponseTally | None = None,
    ) -> None:
        self.reactor = reactor
        self.workers = workers
        self.limits = limits or Limits()
        self.site = Site(
            application,
            workers.threads > 1,
            self.limits,
            workers.now,
            proxies or TrustedProxies(),
            access_log,
            trace_log,
            tally,
        )
        self.heads = HeadWriter(SOFTWARE, time)
        self.deadlines = Deadlines(reactor)
        self.counters = Counters()
        named = dict(status_views_of(self, workers) if status_views else {})
        named.update(views or {})
        #: By the raw path, as it is sent.
        self.views = {path.encode("ascii"): view for path, view in named.items()}
        self._most_queued = self.limits.queue or max(256, 64 * workers.threads)
        self._most_connections = self.limits.connections or descriptor_limit()
        self._shedding = False
        self._reader = HeadReader(self.limits)
        self._bodies = BodyStorage(self.limits.body_memory, self.limits.body_disk)
        self._storage_warned = -inf
        #: For connections that have more to parse than fits into one turn of the reactor.
        self.turns = Turns(reactor)
        self._channels: set[HTTPChannel] = set()
        self._drained: list[Deferred[int]] = []

    # What a port calls

    def doStart(self) -> None:  # noqa: N802 - IProtocolFactory's name
        """A port listens."""

    def doStop(self) -> None:  # noqa: N802
        """A port has stopped listening."""

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # noqa: N802
        """A channel for a connection."""
        parser = RequestParser(self.limits, self._reader, self._bodies, _CHUNKS_A_TURN)
        return HTTPChannel(self, parser)

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802 - as TLS asks
        """What a client can choose from."""
        return list(ALPN)

    # What a channel calls

    def connected(self, channel: HTTPChannel) -> bool:
        """A connection is there; False if it is one too many."""
        self.counters.accepted += 1
        self._channels.add(channel)
        return len(self._channels) <= self._most_connections

    @property
    def crowded(self) -> bool:
        """Whether there are so many connections that even refusing them takes too many files."""
        return len(self._channels) > self._most_connections + _REFUSED_AT_A_TIME

    def disconnected(self, channel: HTTPChannel) -> None:
        """A connection has gone."""
        self._channels.discard(channel)
        self.deadlines.forget(channel)
        if self._drained and not self._channels:
            self._report_drained(0)

    @property
    def overloaded(self) -> bool:
        """Whether as many requests wait for a thread as may; said once in the log."""
        queued = self.workers.queued
        if queued < self._most_queued:
            if self._shedding and queued <= self._most_queued // 2:
                self._shedding = False
                self._log.info("the queue is short again; requests are taken as before")
            return False
        if not self._shedding:
            self._shedding = True
            self._log.warn(
                "{queued} requests wait for a thread; further ones get 503", queued=queued
            )
        return True

    def retry_after(self) -> list[tuple[str, str]]:
        """The header of a 503."""
        return [("Retry-After", str(ceil(self.limits.retry_after)))]

    def storage_failed(self, error: BodyStorageError) -> None:
        """A request body was refused for want of room: log why, but not for each."""
        now = self.reactor.seconds()
        if now - self._storage_warned >= _STORAGE_WARNING:
            self._storage_warned = now
            self._log.warn(
                "request bodies above {memory} bytes are refused with {status}: {detail}",
                memory=self.limits.body_memory,
                status=error.status,
                detail=error.detail,
            )

    def overrun(self, exchange: Exchange, seconds: float) -> None:
        """An exchange has run too long: say where it is, and replace its thread."""
        worker = exchange.worker
        assert worker is not None
        self.counters.overrun += 1
        self._log.warn(
            "{request} has run for {seconds:.1f} s in {thread} and is given up; "
            "the thread is at\n{stack}",
            request=str(exchange),
            seconds=seconds,
            thread=worker.name,
            stack=worker.stack(),
        )
        if worker.job is exchange and not self.workers.replace(worker):
            self._log.critical(
                "{stuck} threads are stuck in the application; no more are replaced",
                stuck=self.workers.statistics().stuck,
            )

    # What the service calls

    @property
    def draining(self) -> bool:
        """Whether each response is the last of its connection."""
        return self.site.draining

    def drain(self, timeout: float) -> Deferred[int]:
        """Finish what is under way, and close every connection.

        Stop listening first.  Requests that run are finished; an idle client may send one
        more for a moment (``Limits.drain_linger``), so that none meets a closed door.

        Args:
            timeout: seconds; whoever is not done by then is cut off.

        Returns:
            Fires with the number of requests that were cut off.
        """
        self.site.draining = True
        drained: Deferred[int] = Deferred()
        self._drained.append(drained)
        calls = [
            self.reactor.callLater(min(self.limits.drain_linger, timeout), self._close_idle),
            self.reactor.callLater(timeout, self._cut),
        ]

        def stop_waiting(result: int) -> int:
            for call in calls:
                if call.active():
                    call.cancel()
            return result

        drained.addBoth(stop_waiting)
        if not self._channels:
            self._report_drained(0)
        return drained

    def statistics(self) -> FrontEndStatistics:
        """What the front end has done and is doing."""
        counters = self.counters
        return FrontEndStatistics(
            connections=len(self._channels),
            in_service=sum(channel.serving for channel in self._channels),
            draining=self.draining,
            accepted=counters.accepted,
            requests=counters.requests,
            responded=counters.responded,
            aborted=counters.aborted,
            refused=counters.refused,
            shed=counters.shed,
            overrun=counters.overrun,
            viewed=counters.viewed,
        )

    def _close_idle(self) -> None:
        for channel in list(self._channels):
            channel.close_if_idle()

    def _cut(self) -> None:
        cut = 0
        for channel in list(self._channels):
            cut += channel.serving
            channel.abort()
        self._report_drained(cut)

    def _report_drained(self, cut: int) -> None:
        waiting, self._drained = self._drained, []
        for drained in waiting:
            drained.callback(cut)
