"""The front end that runs the application in the threads of this process."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed

from zkservice.service.application.inspection import Inspector
from zkservice.service.application.load import Application
from zkservice.service.application.server import ApplicationServer
from zkservice.service.config import Config
from zkservice.service.ports.inheritance import InheritedSockets
from zkservice.service.ports.listeners import Listeners
from zkservice.service.ports.listening import LateBoundFactory, close_port
from zkservice.service.state.process_report import ProcessReport
from zkservice.service.views.built_in import LocalViews, ServiceViews
from zkservice.service.views.readiness import reason_not_serving
from zkservice.supervisor import Permission, SelfRecycling, resident_bytes
from zkservice.web import (
    FrontEndStatistics,
    ResponseTotals,
    View,
    Workers,
    WorkersStatistics,
)

__all__ = ["InProcessFront"]


class InProcessFront:
    """The application in the threads of this process.

    Args:
        config: what to serve, and where.
        reactor: runs the connections.
        load: returns the application.
        end: called with a reason when the process should end, for its supervisor to restart it.
        inherited: sockets that the previous program has passed on.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        load: Callable[[], Application],
        end: Callable[[str], object],
        inherited: InheritedSockets | None = None,
    ) -> None:
        self.listeners = Listeners(config, reactor, inherited)
        self.availability_changed: Callable[[str], object] = lambda reason: None
        self.unavailable = ""
        self.size = 0
        self.complete = True
        self._config = config
        self._reactor = reactor
        self._load = load
        self._late_bound = LateBoundFactory()
        self._server: ApplicationServer | None = None
        self._inspector: Inspector | None = None
        self._views: LocalViews | None = None
        self._started = reactor.seconds()
        self._recycling = SelfRecycling(
            config.processes.recycling, reactor, random.random, self._recycling_figures, end
        )

    def listen(self) -> None:
        """Open the ports; connections wait in the kernel until there is an application."""
        self.listeners.open(self._late_bound)

    def start(self, views: ServiceViews) -> None:
        """Load the application, and serve it."""
        self._views = LocalViews(self._config.front_end, views, self._reactor)
        self._server = ApplicationServer(
            self._config, self._reactor, self._load, self._views.built_in()
        )
        self._inspector = Inspector(self._server, self._reactor)
        self._late_bound.target = self._server.factory
        self._server.start()
        self._recycling.start()

    def recycle_with(self, permission: Permission) -> None:
        """Ask for permission before this process ends to be replaced."""
        self._recycling.permission = permission

    def _recycling_figures(self) -> tuple[int, int]:
        assert self._server is not None
        return self._server.factory.statistics().requests, resident_bytes()

    @property
    def workers(self) -> Workers | None:
        """The thread pool; None before `start`."""
        return None if self._server is None else self._server.workers

    def status(self) -> dict[str, Any]:
        """The counters of the threads and of the front end."""
        return {} if self._server is None else self._server.status()

    def statistics(self) -> tuple[WorkersStatistics, FrontEndStatistics]:
        """The counters of the threads and of the front end; call it after `start`."""
        assert self._server is not None
        return self._server.workers.statistics(), self._server.factory.statistics()

    def totals(self) -> ResponseTotals:
        """The counters of the responses."""
        return ResponseTotals() if self._views is None else self._views.tally.totals

    def cpu_seconds(self) -> float:
        """Return 0: there are no worker processes."""
        return 0.0

    def why_not_ready(self) -> str:
        """A reason if the front end is draining or overloaded."""
        return "starting" if self._server is None else reason_not_serving(self._server.factory)

    def reopen(self) -> None:
        """Open the log files and read the certificates again."""
        if self._server is not None:
            self._server.reopen()
        self.listeners.reload_certificates()

    def configure(self, config: Config) -> None:
        """Do nothing: the settings of this process need a restart."""

    def reload(self) -> None:
        """Do nothing: the code of this process needs a restart."""

    def inspect(
        self, what: str, *arguments: Any, timeout: float = 1.0
    ) -> Deferred[list[ProcessReport]]:
        """Send a request to this process."""
        if self._inspector is None:
            return succeed([ProcessReport("", os.getpid(), error="it is starting")])
        reply = maybeDeferred(self._inspector.answer, what, list(arguments))
        return reply.addCallback(lambda value: [ProcessReport("", os.getpid(), value)])

    def views(self) -> dict[str, View]:
        """The built-in views; call it after `start`."""
        assert self._views is not None and self._server is not None
        return self._views.all(self._server.factory.server)

    def processes(self) -> list[dict[str, Any]]:
        """This process."""
        if self._server is None:
            return []
        http = self._server.factory.statistics()
        return [
            {
                "name": "process",
                "pid": os.getpid(),
                "state": "draining" if http.draining else "serving",
                "age": round(self._reactor.seconds() - self._started, 1),
                "connections": http.connections,
                "requests": http.requests,
                "in_service": http.in_service,
                "rss": resident_bytes(),
            }
        ]

    def resize(self, size: int) -> None:
        """Do nothing: there are no worker processes."""

    def pause(self) -> None:
        """Stop accepting connections."""
        self.listeners.opener.pause()

    def resume(self) -> None:
        """Accept connections."""
        self.listeners.opener.resume()

    def serve_inside(self, end: socket.socket) -> None:
        """Serve a connection from this process."""
        with contextlib.closing(end):  # the reactor duplicates the descriptor
            self._reactor.adoptStreamConnection(end.fileno(), end.family, self._late_bound)

    def close_ports(self) -> Deferred[Any]:
        """Stop accepting connections for good."""
        self._recycling.stop()
        if self.listeners.opener.handed_over:  # the other program accepts those that wait
            closing = [maybeDeferred(port.stopListening) for port in self.listeners.ports]
        else:
            closing = [close_port(self._reactor, port) for port in self.listeners.ports]
        return DeferredList(closing, consumeErrors=True)

    def drain(self, timeout: float) -> Deferred[Any]:
        """Finish running requests."""
        return succeed(0) if self._server is None else self._server.drain(timeout)

    def stop(self) -> Deferred[Any]:
        """Stop the threads."""
        return succeed(0) if self._server is None else self._server.stop()
