"""The interface of a front end: what accepts connections and runs the application."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from zkservice.service.config import Config
from zkservice.service.ports.listeners import Listeners
from zkservice.service.state.process_report import ProcessReport
from zkservice.service.views.built_in import ServiceViews
from zkservice.supervisor import Permission
from zkservice.web import (
    FrontEndStatistics,
    ResponseTotals,
    View,
    WorkersStatistics,
)

__all__ = ["Front"]


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

    def start(self, views: ServiceViews) -> None:
        """Load the application, and serve it.

        Args:
            views: what the built-in views show.
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

    def reopen(self) -> None:
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
            what: the name of a request that `Inspector` knows, such as ``stacks``.
            arguments: those of the method that replies to it.
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
