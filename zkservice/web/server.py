"""The state that all connections of a front end share: limits, counters, the request handler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zkservice.http11 import HeadWriter, Limits
from zkservice.web.accesslog import AccessSink
from zkservice.web.connections import Connections, descriptor_limit
from zkservice.web.deadlines import Deadlines
from zkservice.web.exchange import Exchange
from zkservice.web.overload import QueueLimit, StorageWarning
from zkservice.web.proxies import TrustedProxies
from zkservice.web.request_handler import SOFTWARE, RequestHandler
from zkservice.web.tally import ResponseTally
from zkservice.web.tracelog import TraceLog
from zkservice.web.turns import Turns
from zkservice.web.views import View
from zkservice.web.workers import Workers
from zkservice.web.wsgi import Application

__all__ = ["FrontEndStatistics", "HTTPServer", "RequestCounters"]


@dataclass
class RequestCounters:
    """Counters of the front end since its start."""

    accepted: int = 0  #: connections
    requests: int = 0  #: requests that were complete and valid
    responded: int = 0  #: responses that were completely handed to the transport
    aborted: int = 0  #: responses that were cut off: the client left, or the application failed
    refused: int = 0  #: clients that broke a rule or a limit
    shed: int = 0  #: requests and connections that got 503 or 507 because there was no room
    overrun: int = 0  #: requests that ran too long
    viewed: int = 0  #: requests that a view handled


@dataclass(frozen=True)
class FrontEndStatistics:
    """The counters of the front end (see ``RequestCounters``), and its present state."""

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


class HTTPServer:
    """The state that connections share, and the limits that hold for all of them together.

    Args:
        application: runs in the threads of ``workers``.
        workers: may run the jobs of several servers; their owner starts and stops them.
        reactor: runs the connections.
        limits: the limits for clients.
        proxies: the proxies whose fields about the client are trusted.
        access_log: receives a record of each response.
        trace_log: receives the records of each request to the application.
        tally: counts each response, for metrics.
        request_ids: whether to give each request an id.
    """

    _log = Logger()

    def __init__(
        self,
        application: Application,
        workers: Workers,
        *,
        reactor: Any,
        limits: Limits,
        proxies: TrustedProxies,
        access_log: AccessSink | None = None,
        trace_log: TraceLog | None = None,
        tally: ResponseTally | None = None,
        request_ids: bool = False,
    ) -> None:
        self.reactor = reactor
        self.workers = workers
        self.limits = limits
        self.handler = RequestHandler(
            application,
            workers.threads > 1,
            limits,
            workers.now,
            proxies,
            access_log,
            trace_log,
            tally,
            request_ids,
        )
        self.heads = HeadWriter(SOFTWARE, time)
        self.deadlines = Deadlines(reactor)
        self.counters = RequestCounters()
        #: The views by the raw path, as clients send it.
        self.views: dict[bytes, View] = {}
        #: Handles all other paths instead of the application; if None, the application does.
        self.fallback: View | None = None
        self.queue = QueueLimit(workers, limits.queue or max(256, 64 * workers.threads))
        self.connections = Connections(
            reactor, min(limits.connections or descriptor_limit(), descriptor_limit())
        )
        self.storage_warning = StorageWarning(reactor, limits.body_memory)
        #: Connections with more input than can be parsed in one turn of the reactor.
        self.turns = Turns(reactor)

    def add_views(self, views: Mapping[str, View]) -> None:
        """Add views by their raw paths; they replace earlier ones of the same path."""
        self.views.update((path.encode("ascii"), view) for path, view in views.items())

    def retry_after(self) -> list[tuple[str, str]]:
        """The ``Retry-After`` field of a 503."""
        return [("Retry-After", str(ceil(self.limits.retry_after)))]

    def overrun(self, exchange: Exchange, seconds: float) -> None:
        """Log the stack of an exchange that has run too long, and replace its thread."""
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

    @property
    def draining(self) -> bool:
        """Whether each connection is closed after its next response."""
        return self.handler.draining

    def drain(self, timeout: float) -> Deferred[int]:
        """Finish running requests, and close every connection; see ``HTTPFactory.drain``."""
        self.handler.draining = True
        self.handler.streams.close()
        return self.connections.drain(self.limits.drain_linger, timeout)

    def statistics(self) -> FrontEndStatistics:
        """The counters and gauges of the front end."""
        return FrontEndStatistics(
            connections=len(self.connections),
            in_service=self.connections.serving,
            draining=self.draining,
            **asdict(self.counters),
        )
