"""The front ends of a service: their interface, and the one that runs the application here."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed

from zkservice.service.application import Application
from zkservice.service.application_server import ApplicationServer
from zkservice.service.built_in_views import LocalViews
from zkservice.service.config import Config
from zkservice.service.discover_views import DiscoverViews
from zkservice.service.figures import Figures
from zkservice.service.inheritance import InheritedSockets
from zkservice.service.inspection import Inspector
from zkservice.service.listeners import Listeners
from zkservice.service.listening import LateBoundFactory, close_port
from zkservice.service.process_report import ProcessReport
from zkservice.service.readiness import reason_not_serving
from zkservice.service.status_page import StatusPage
from zkservice.supervisor import Permission, SelfRecycling, resident_bytes
from zkservice.web import (
    FrontEndStatistics,
    ResponseTotals,
    View,
    Workers,
    WorkersStatistics,
)

__all__ = ["Front", "InProcessFront"]


class Front(Protocol):
    """The part of a service that accepts connections and runs the application."""

    listeners: Listeners
    #: called with the value of `unavailable` when it may have changed
    availability_changed: Callable[[str], object]

    @property
    def unavailable(self) -> str:
        """Why no request can be served at the moment; "" if requests can."""
        ...

    def listen(self) -> None:
        """Open the ports; connections wait in the kernel until `start`."""
        ...

    def start(
        self,
        figures: Callable[[], Figures],
        why_not_ready: Callable[[], str],
        page: StatusPage,
        discover: DiscoverViews,
    ) -> None:
        """Load the application, and serve it.

        Args:
            figures: returns the state of the whole service.
            why_not_ready: returns why the service should receive no requests; "" if it should.
            page: the status page.
            discover: the views of other services.
        """
        ...

    def status(self) -> dict[str, Any]:
        """The state of the front end, as plain values."""
        ...

    def statistics(self) -> tuple[WorkersStatistics, FrontEndStatistics]:
        """The counters of the threads and of the front end; call it after `start`."""
        ...

    def totals(self) -> ResponseTotals:
        """The counters of the responses since the start."""
        ...

    def cpu_seconds(self) -> float:
        """The processor time of worker processes, in seconds."""
        ...

    def why_not_ready(self) -> str:
        """Why the front end should receive no requests; "" if it should."""
        ...

    def hang_up(self) -> None:
        """Open the log files and read the certificates again, at SIGHUP."""
        ...

    def configure(self, config: Config) -> None:
        """Apply those parts of another configuration that can change at run time.

        Raises:
            ConfigurationError: the configuration is invalid; nothing has changed.
        """
        ...

    def reload(self) -> None:
        """Load the current code and settings, if there are worker processes."""
        ...

    def recycle_with(self, permission: Permission) -> None:
        """Ask for permission before anything is recycled."""
        ...

    def views(self) -> dict[str, View]:
        """The built-in views of the whole service, by path, once it has started."""
        ...

    def processes(self) -> list[dict[str, Any]]:
        """The processes that run the application, as plain values."""
        ...

    def inspect(
        self, what: str, *arguments: Any, timeout: float = 1.0
    ) -> Deferred[list[ProcessReport]]:
        """Send a request to every process that serves.

        Args:
            what: a method of `Inspector`.
            arguments: the method's arguments.
            timeout: seconds; the report of a process that has not replied by then has an error.
        """
        ...

    @property
    def size(self) -> int:
        """The wanted number of worker processes; 0 for a front end without any."""
        ...

    def resize(self, size: int) -> None:
        """Change the number of worker processes."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the wanted number of worker processes is serving."""
        ...

    def pause(self) -> None:
        """Stop accepting until `resume`; connections wait in the kernel."""
        ...

    def resume(self) -> None:
        """Accept connections."""
        ...

    def serve_inside(self, end: socket.socket) -> None:
        """Serve a connection from this process, in plain HTTP; the socket is taken over."""
        ...

    def close_ports(self) -> Deferred[Any]:
        """Stop accepting connections for good; go on serving the accepted ones."""
        ...

    def drain(self, timeout: float) -> Deferred[Any]:
        """Finish running requests, within ``timeout`` seconds."""
        ...

    def stop(self) -> Deferred[Any]:
        """Stop all threads and processes."""
        ...


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
        self._door = LateBoundFactory()
        self._server: ApplicationServer | None = None
        self._inspector: Inspector | None = None
        self._views: LocalViews | None = None
        self._since = reactor.seconds()
        self._recycling = SelfRecycling(
            config.processes.recycling, reactor, random.random, self._recycling_figures, end
        )

    def listen(self) -> None:
        """Open the ports; connections wait in the kernel until there is an application."""
        self.listeners.open(self._door)

    def start(
        self,
        figures: Callable[[], Figures],
        why_not_ready: Callable[[], str],
        page: StatusPage,
        discover: DiscoverViews,
    ) -> None:
        """Load the application, and serve it."""
        self._views = LocalViews(
            self._config.front_end, figures, why_not_ready, page, discover, self._reactor
        )
        self._server = ApplicationServer(
            self._config, self._reactor, self._load, self._views.built_in()
        )
        self._inspector = Inspector(self._server, self._reactor)
        self._door.target = self._server.factory
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

    def hang_up(self) -> None:
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
        asked = maybeDeferred(self._inspector.answer, what, list(arguments))
        return asked.addCallback(lambda value: [ProcessReport("", os.getpid(), value)])

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
                "age": round(self._reactor.seconds() - self._since, 1),
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
            self._reactor.adoptStreamConnection(end.fileno(), end.family, self._door)

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
