"""What stands behind the ports: the application in this process."""

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
    """What accepts connections and serves them, as the service sees it."""

    listeners: Listeners
    #: called with `unavailable` when that may have changed
    availability_changed: Callable[[str], object]

    @property
    def unavailable(self) -> str:
        """Why nothing can be served at the moment; "" if it can."""
        ...

    def listen(self) -> None:
        """Open the ports; nothing is served yet."""
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
            figures: returns what the whole service is doing.
            why_not_ready: returns why no requests should come; "" if they should.
            page: shows the whole service to people.
        """
        ...

    def status(self) -> dict[str, Any]:
        """What it is doing, as plain values."""
        ...

    def statistics(self) -> tuple[WorkersStatistics, FrontEndStatistics]:
        """What the threads and the front end are doing, once it has started."""
        ...

    def totals(self) -> ResponseTotals:
        """What was counted of the responses since the start."""
        ...

    def cpu_seconds(self) -> float:
        """The processor time of worker processes."""
        ...

    def why_not_ready(self) -> str:
        """Why no requests should come, as far as it knows; "" if they should."""
        ...

    def hang_up(self) -> None:
        """SIGHUP: open log files, and read certificates again."""
        ...

    def configure(self, config: Config) -> None:
        """Go on with another configuration, as far as that can change.

        Raises:
            ConfigurationError: it cannot be used; nothing has changed.
        """
        ...

    def reload(self) -> None:
        """Serve with the code and the settings of now, if that can be done."""
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
        """Ask every process that serves; see `Inspector` for what.

        Args:
            timeout: seconds after which a process that has not replied gets an error.
        """
        ...

    @property
    def size(self) -> int:
        """How many worker processes are wanted; 0 if it has none."""
        ...

    def resize(self, size: int) -> None:
        """Have more worker processes, or fewer."""
        ...

    @property
    def complete(self) -> bool:
        """Whether all serve that are to: every worker process."""
        ...

    def pause(self) -> None:
        """Accept no connections until `resume`: they wait in the kernel."""
        ...

    def resume(self) -> None:
        """Accept connections."""
        ...

    def serve_inside(self, end: socket.socket) -> None:
        """Serve a connection from this process, in plain HTTP; the socket is taken over."""
        ...

    def close_ports(self) -> Deferred[Any]:
        """Accept no more connections, but serve those that have come."""
        ...

    def drain(self, timeout: float) -> Deferred[Any]:
        """Finish the requests that run, within so many seconds."""
        ...

    def stop(self) -> Deferred[Any]:
        """End all threads and processes."""
        ...


class InProcessFront:
    """The application in the threads of this process.

    Args:
        config: what to serve, and where.
        reactor: where the connections live.
        load: returns the application.
        end: called with a reason when the process is to end, for its supervisor to start another.
        inherited: sockets of the program before.
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
        """The threads; None before there is an application."""
        return None if self._server is None else self._server.workers

    def status(self) -> dict[str, Any]:
        """What the threads and the front end are doing."""
        return {} if self._server is None else self._server.status()

    def statistics(self) -> tuple[WorkersStatistics, FrontEndStatistics]:
        """What the threads and the front end are doing, once it has started."""
        assert self._server is not None
        return self._server.workers.statistics(), self._server.factory.statistics()

    def totals(self) -> ResponseTotals:
        """What was counted of the responses."""
        return ResponseTotals() if self._views is None else self._views.tally.totals

    def cpu_seconds(self) -> float:
        """There is nothing but this process."""
        return 0.0

    def why_not_ready(self) -> str:
        """Whether it drains, or has more requests than it can take."""
        return "starting" if self._server is None else reason_not_serving(self._server.factory)

    def hang_up(self) -> None:
        """Open log files, and read certificates again."""
        if self._server is not None:
            self._server.reopen()
        self.listeners.reload_certificates()

    def configure(self, config: Config) -> None:
        """Nothing of what is here can change while the process runs."""

    def reload(self) -> None:
        """The code of this process stays as it is."""

    def inspect(
        self, what: str, *arguments: Any, timeout: float = 1.0
    ) -> Deferred[list[ProcessReport]]:
        """Ask this process."""
        if self._inspector is None:
            return succeed([ProcessReport("", os.getpid(), error="it is starting")])
        asked = maybeDeferred(self._inspector.answer, what, list(arguments))
        return asked.addCallback(lambda value: [ProcessReport("", os.getpid(), value)])

    def views(self) -> dict[str, View]:
        """The built-in views, once it has started."""
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
        """There is nothing but this process."""

    def pause(self) -> None:
        """Accept no connections."""
        self.listeners.opener.pause()

    def resume(self) -> None:
        """Accept connections."""
        self.listeners.opener.resume()

    def serve_inside(self, end: socket.socket) -> None:
        """Serve a connection from this process."""
        with contextlib.closing(end):  # the reactor takes a descriptor of its own
            self._reactor.adoptStreamConnection(end.fileno(), end.family, self._door)

    def close_ports(self) -> Deferred[Any]:
        """Accept no more connections."""
        self._recycling.stop()
        if self.listeners.opener.handed_over:  # what waits in the kernel is the other program's
            closing = [maybeDeferred(port.stopListening) for port in self.listeners.ports]
        else:
            closing = [close_port(self._reactor, port) for port in self.listeners.ports]
        return DeferredList(closing, consumeErrors=True)

    def drain(self, timeout: float) -> Deferred[Any]:
        """Finish the requests that run."""
        return succeed(0) if self._server is None else self._server.drain(timeout)

    def stop(self) -> Deferred[Any]:
        """End the threads."""
        return succeed(0) if self._server is None else self._server.stop()
