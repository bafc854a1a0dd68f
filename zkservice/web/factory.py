"""The front end in one object: connections in, an application behind, counters, draining."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.logger import Logger, LoggingFile, LogLevel
from zope.interface import implementer

from zkservice.http11 import HeadReader, HeadWriter, Limits, RequestParser
from zkservice.web.channel import HTTPChannel
from zkservice.web.deadlines import Deadlines
from zkservice.web.environ import fill_environ, server_environ
from zkservice.web.exchange import Exchange
from zkservice.web.workers import Worker, Workers
from zkservice.web.wsgi import Application, Response, run_application

__all__ = ["FrontEndStatistics", "HTTPFactory", "Site"]

SOFTWARE = "zkservice"


@dataclass(frozen=True)
class FrontEndStatistics:
    """What the front end has done and is doing."""

    connections: int  #: open now
    accepted: int  #: connections since the start
    requests: int  #: requests since the start
    responded: int  #: responses that were handed to the transport, whole
    refused: int  #: clients that were answered with an error before the application
    in_service: int  #: requests that wait for the application or run in it
    draining: bool


class Site:
    """What all exchanges of a front end share; workers read it."""

    def __init__(self, application: Application, multithread: bool, limits: Limits) -> None:
        self.draining = False
        self.limits = limits
        self._application = application
        self._environ = server_environ(SOFTWARE, multithread)

    def run(self, exchange: Exchange, worker: Worker) -> None:
        """Run the application for an exchange (worker thread)."""
        request = exchange.request
        try:
            memory = worker.memory[self]
        except KeyError:
            memory = worker.memory[self] = _WorkerMemory()
        environ = self._environ.copy()
        environ["wsgi.errors"] = memory.errors
        fill_environ(environ, request, exchange.ends, exchange.client_disconnected)
        keep_alive = request.keep_alive and not self.draining
        response = Response(exchange, request, memory.heads, keep_alive)
        run_application(self._application, environ, response)


class _WorkerMemory:
    """What one worker keeps for one site, so that no two threads share it."""

    def __init__(self) -> None:
        self.heads = HeadWriter(SOFTWARE, time)
        self.errors = LoggingFile(Logger("wsgi.errors"), LogLevel.error)


@implementer(IProtocolFactory)
class HTTPFactory:
    """Serves a WSGI application over HTTP/1.1, from any Twisted server endpoint.

    Args:
        application: runs in the threads of ``workers``.
        workers: may serve several factories; whoever made them starts and stops them.
        reactor: where the connections live.
        limits: what a client may ask for.
        views: raw path to a WSGI callable that answers in the reactor.
    """

    noisy = False

    def __init__(
        self,
        application: Application,
        workers: Workers,
        *,
        reactor: Any,
        limits: Limits | None = None,
        views: Mapping[str, Callable[..., Iterable[bytes]]] | None = None,
    ) -> None:
        self.reactor = reactor
        self.workers = workers
        self.limits = limits or Limits()
        self.site = Site(application, workers.threads > 1, self.limits)
        self.heads = HeadWriter(SOFTWARE, time)
        self.deadlines = Deadlines(reactor)
        self.requests = self.responded = self.refused = 0
        self._views = dict(views or {})
        self._accepted = 0
        self._reader = HeadReader(self.limits)
        self._channels: set[HTTPChannel] = set()
        self._drained: list[Deferred[int]] = []

    # What a port calls

    def doStart(self) -> None:  # noqa: N802 - IProtocolFactory's name
        """A port listens."""

    def doStop(self) -> None:  # noqa: N802
        """A port has stopped listening."""

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # noqa: N802
        """A channel for a connection."""
        return HTTPChannel(self, RequestParser(self.limits, self._reader))

    # What a channel calls

    def connected(self, channel: HTTPChannel) -> None:
        """A connection is there."""
        self._accepted += 1
        self._channels.add(channel)

    def disconnected(self, channel: HTTPChannel) -> None:
        """A connection has gone."""
        self._channels.discard(channel)
        self.deadlines.forget(channel)
        self.maybe_drained()

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
        self.maybe_drained()
        return drained

    def maybe_drained(self) -> None:
        """Say so if nothing is left to drain."""
        if self._drained and not self._channels:
            self._report_drained(0)

    def statistics(self) -> FrontEndStatistics:
        """What the front end has done and is doing."""
        return FrontEndStatistics(
            connections=len(self._channels),
            accepted=self._accepted,
            requests=self.requests,
            responded=self.responded,
            refused=self.refused,
            in_service=sum(channel.serving for channel in self._channels),
            draining=self.draining,
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
