"""The front end that runs the application in worker processes.

The parent opens the ports and passes connections on.  It loads no application code, so the ports,
the session and the registration survive a crash of the application.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final

from twisted.internet.defer import (
    Deferred,
    DeferredList,
    gatherResults,
    maybeDeferred,
    succeed,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.errors import MessageError, ViewError, WorkerSilentError
from zkservice.service.config import Config
from zkservice.service.front.development import Development
from zkservice.service.ports.inheritance import InheritedSockets
from zkservice.service.ports.listeners import Listeners
from zkservice.service.ports.listening import LateBoundFactory
from zkservice.service.state.figures import Figures, Sums, check_figures
from zkservice.service.state.process_report import ProcessReport
from zkservice.service.views.built_in import (
    HEALTH,
    METRICS,
    THREADS,
    ServiceViews,
    metrics_view,
    show,
    view_paths,
    views_from_parent,
)
from zkservice.supervisor import Acceptor, Permission, PoolSettings, ProcessPool, WorkerProcess
from zkservice.supervisor.pool import PoolOwner
from zkservice.supervisor.process import Command, WorkerPhase
from zkservice.web import (
    DeferredView,
    Durations,
    FrontEndStatistics,
    LagProbe,
    ResponseTotals,
    TextView,
    View,
    WorkersStatistics,
    printable,
)

__all__ = ["MultiProcessFront"]

#: Seconds to wait for the workers' replies, such as their figures or stacks.
_REPLY_TIMEOUT: Final = 1.0
#: Requests whose replies have the stacks of threads.
_OF_STACKS: Final = frozenset(("stacks", "threads"))


@dataclass
class _WantedState:
    """What the service or its operator has set; it applies to workers that start later, too."""

    paused: bool = False  #: no connections are accepted
    draining: bool = False  #: each response is the last of its connection


class MultiProcessFront(PoolOwner):
    """The application in worker processes.

    Args:
        config: what to serve, and where.
        reactor: spawns the workers.
        settings: returns the settings of a worker; called again for each reload.
        fail: called with a reason when no worker can start.
        inherited: sockets that the previous program has passed on.
    """

    _log = Logger()

    def __init__(
        self,
        config: Config,
        reactor: Any,
        settings: Callable[[], Mapping[str, Any]],
        fail: Callable[[str], object],
        inherited: InheritedSockets | None = None,
    ) -> None:
        self.listeners = Listeners(config, reactor, inherited)
        self._wanted = _WantedState()
        self.availability_changed: Callable[[str], object] = lambda reason: None
        self._config = config
        self._reactor = reactor
        self._settings = settings
        self._fail = fail
        self._acceptors: list[Acceptor] = []
        self._figures: Callable[[], Figures] | None = None
        self._sums = Sums()
        self._lag = Durations()  # of this process's reactor
        self._lag_probe = LagProbe(reactor, perf_counter, lambda: self._lag)
        self._views: dict[str, View] = {}
        self._development: Development | None = None
        if config.processes.reload:
            self._development = Development(
                config.processes.reload_extra, reactor, self._serving_workers, self._reload
            )
        self._pool: ProcessPool | None = None

    # -- the interface Front ---------------------------------------------------------

    def listen(self) -> None:
        """Open the ports; connections wait in the kernel until a worker serves."""
        if self._acceptors:
            return
        self.listeners.open(LateBoundFactory())
        for number, port in enumerate(self.listeners.ports):
            twisted_port: Any = port
            twisted_port.stopReading()  # the acceptor reads instead of the port
            listening = socket.socket(fileno=os.dup(twisted_port.fileno()))
            self._acceptors.append(
                Acceptor(self._reactor, number, listening, self._serving_workers)
            )

    def start(self, views: ServiceViews) -> None:
        """Start the workers."""
        self._figures = views.figures
        self._views = {
            HEALTH: TextView(self._health),
            METRICS: self._metrics_view(self._config),
            **views.by_path(),
        }
        self._pool = ProcessPool(
            self._pool_settings(),
            self._command,
            self._reactor,
            self,
            random.random,
        )
        self._pool.start()
        self._lag_probe.start()
        if self._development is not None:
            self._development.start()

    def status(self) -> dict[str, Any]:
        """The sums over all workers, and the state of each worker."""
        workers, http = self.statistics()
        return {
            "workers": workers,
            "http": http,
            "processes": self.processes(),
        }

    def statistics(self) -> tuple[WorkersStatistics, FrontEndStatistics]:
        """The sums of the workers' last figures."""
        figures = [worker.figures.figures for worker in self._all()]
        return self._sums.workers(figures), self._sums.http(figures)

    def totals(self) -> ResponseTotals:
        """The workers' counters of responses, with the lag of all reactors including this one."""
        totals = self._sums.totals([worker.figures.figures for worker in self._all()])
        totals.lag.merge(self._lag.cells, self._lag.total)
        return totals

    def cpu_seconds(self) -> float:
        """The processor time of all workers."""
        return self._sums.cpu_seconds(worker.figures.figures for worker in self._all())

    def why_not_ready(self) -> str:
        """A reason if no worker is serving."""
        return self.unavailable

    @property
    def unavailable(self) -> str:
        """A reason if no worker is serving."""
        return "" if self._serving_workers() else "no worker process is serving"

    def reopen(self) -> None:
        """Open the log files and read the certificates again."""
        self.listeners.reload_certificates()
        if self._pool is not None:
            self._pool.reopen()

    def configure(self, config: Config) -> None:
        """Replace the configuration; workers get it at the next reload."""
        if config.front_end.metrics != self._config.front_end.metrics:
            self._views[METRICS] = self._metrics_view(config)
        previous, self._config = self._config, config
        if self._pool is not None:
            self._pool.configure(self._pool_settings())
            if config.processes.count != previous.processes.count:
                self._pool.size = config.processes.count  # for the reload that follows

    def reload(self) -> None:
        """Start new workers with the current code and settings."""
        if self._development is not None:
            self._development.problem = ""  # it may be mended
        self._reload()

    def _reload(self) -> None:
        self._start_or_pause_accepting()
        if self._pool is not None:
            self._pool.reload()

    @property
    def complete(self) -> bool:
        """Whether every worker is serving."""
        return len(self._serving_workers()) >= self.size

    def pause(self) -> None:
        """Stop accepting connections."""
        self._wanted.paused = True
        self._start_or_pause_accepting()

    def resume(self) -> None:
        """Accept connections again while a worker is serving."""
        self._wanted.paused = False
        self._start_or_pause_accepting()

    def _start_or_pause_accepting(self) -> None:
        """Accept connections if a worker serves, and nothing wants them to wait in the kernel."""
        held = self._development is not None and self._development.holding
        accepting = bool(self._serving_workers()) and not (self._wanted.paused or held)
        for acceptor in self._acceptors:
            if accepting:
                acceptor.start()
            else:
                acceptor.pause()

    def serve_inside(self, end: socket.socket) -> None:
        """Have a worker serve a connection from this process; without one it is closed."""
        plain = [number for number, each in enumerate(self._config.listen) if not each.tls]
        with contextlib.closing(end):
            for worker in self._serving_workers()[:1]:
                worker.take(plain[0] if plain else 0, end)

    def close_ports(self) -> Deferred[Any]:
        """Accept the connections that wait now, then stop for good."""
        if self._development is not None:
            self._development.stop()
        for acceptor in self._acceptors:
            acceptor.finish()
        closing = [maybeDeferred(port.stopListening) for port in self.listeners.ports]
        return DeferredList(closing, consumeErrors=True)

    def drain(self, timeout: float) -> Deferred[Any]:
        """Have the workers finish running requests; a second call kills them."""
        if self._pool is None:
            return succeed(None)
        if self._pool.stopping:
            self._pool.kill()
        return self._pool.stop(timeout)

    def stop(self) -> Deferred[Any]:
        """Kill the remaining workers."""
        self._lag_probe.stop()
        if self._pool is None:
            return succeed(None)
        self._pool.kill()
        return self._pool.stop(0)

    def recycle_with(self, permission: Permission) -> None:
        """Ask for permission before a worker is recycled."""
        assert self._pool is not None
        self._pool.recycling.permission = permission

    def inspect(
        self, what: str, *arguments: Any, timeout: float = _REPLY_TIMEOUT
    ) -> Deferred[list[ProcessReport]]:
        """Send a request to every worker that serves.

        If a worker does not reply to a request for stacks, faulthandler writes its stacks.  A
        request to drain goes to workers that serve later as well.
        """
        if what == "drain connections":
            self._wanted.draining = arguments == (True,)

        def failed(failure: Failure, worker: WorkerProcess) -> Any:
            failed_report = ProcessReport(
                worker.name,
                worker.pid,
                error=str(failure.value),
                stuck=isinstance(failure.value, WorkerSilentError),
            )
            if not failed_report.stuck or what not in _OF_STACKS:
                return failed_report
            return worker.stacks().addCallback(
                lambda text: replace(failed_report, stack=_printable_lines(text))
            )

        def report(worker: WorkerProcess) -> Deferred[ProcessReport]:
            reply: Deferred[Any] = worker.ask(what, *arguments, timeout=timeout)
            reply.addCallback(lambda value: ProcessReport(worker.name, worker.pid, value))
            return reply.addErrback(failed, worker)

        return gatherResults([report(worker) for worker in self._serving_workers()])

    def views(self) -> dict[str, View]:
        """The built-in views; call it after `start`."""
        return views_from_parent(
            view_paths(self._config.front_end), self._view_of_service, self._reactor
        )

    def _view_of_service(self, path: str, environ: dict[str, str]) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._show(path, environ))

    def processes(self) -> list[dict[str, Any]]:
        """The workers; those that are draining come last."""
        return [self._describe(worker) for worker in self._all()]

    def resize(self, size: int) -> None:
        """Change the number of worker processes, at least one."""
        if self._pool is not None:
            self._pool.resize(size)

    @property
    def size(self) -> int:
        """The wanted number of worker processes."""
        return self._config.processes.count if self._pool is None else self._pool.size

    # -- events of the pool ----------------------------------------------------------

    @override
    def serving_workers_changed(self) -> None:
        if self._development is not None:
            self._development.ask()
        self._start_or_pause_accepting()
        if self._wanted.draining:
            self.inspect("drain connections", True)
        self.availability_changed(self.unavailable)

    @override
    def reloaded(self, error: str) -> None:
        if self._development is not None:
            self._development.reloaded(error)
            self._start_or_pause_accepting()

    @override
    def gave_up(self, reason: str) -> None:
        self._fail(reason)

    @override
    def check(self, figures: dict[str, Any]) -> None:
        check_figures(figures)

    @override
    def handle_request(self, what: str, arguments: list[Any]) -> Any:
        path, environ = _view_and_environ(what, arguments)
        if path != THREADS and path not in self._views:
            raise MessageError("an invalid request")
        return self._view_of_service(path, environ)

    @override
    def gone(self, worker: WorkerProcess) -> None:
        self._sums.keep(worker.figures.figures)

    # -- internals -------------------------------------------------------------------

    def _serving_workers(self) -> list[WorkerProcess]:
        return [] if self._pool is None else self._pool.serving_workers

    def _all(self) -> list[WorkerProcess]:
        return [] if self._pool is None else self._pool.workers

    def _command(self) -> Command:
        return Command(
            [sys.executable, "-m", "zkservice.service.worker"],
            dict(os.environ),
            {**self._settings(), **self._problem()},
        )

    def _problem(self) -> dict[str, str]:
        """The setting that makes a worker serve an error page instead of the application."""
        problem = "" if self._development is None else self._development.problem
        return {"problem": problem} if problem else {}

    def _pool_settings(self) -> PoolSettings:
        processes = self._config.processes
        return PoolSettings(
            processes.count,
            worker_timeout=processes.worker_timeout,
            drain_timeout=self._config.drain_timeout,
            recycling=processes.recycling,
        )

    def _describe(self, worker: WorkerProcess) -> dict[str, Any]:
        return {
            "name": worker.name,
            "pid": worker.pid,
            "state": worker.phase.value,
            "age": round(self._reactor.seconds() - worker.since, 1),
            "connections": worker.connections,
            "requests": worker.figures.requests,
            "in_service": worker.figures.in_service,
            "rss": worker.figures.rss,
        }

    # -- the views of the whole service ------------------------------------------------

    def _metrics_view(self, config: Config) -> View:
        assert self._figures is not None
        return metrics_view(config.front_end, self._figures, self.totals)

    async def _show(self, path: str, environ: Mapping[str, str]) -> Any:
        """The response of a view, with fresh figures of the workers."""
        if path == THREADS:
            text = await self._threads()
            return show(TextView(lambda _: text), environ)
        view = self._views[path]
        if isinstance(view, DeferredView):
            return show(await view.ask(dict(environ)), environ)
        await self._refresh()
        return show(view, environ)

    async def _refresh(self) -> None:
        """Ask all workers for their figures; keep the last ones of workers that do not reply."""

        def update(figures: Any, worker: WorkerProcess) -> None:
            check_figures(figures)
            worker.figures = worker.figures.with_figures(figures)

        await DeferredList(
            [
                worker.ask("figures", timeout=_REPLY_TIMEOUT).addCallback(update, worker)
                for worker in self._serving_workers()
            ],
            consumeErrors=True,
        )

    async def _threads(self) -> str:
        parts = []
        for report in await self.inspect("threads", timeout=_REPLY_TIMEOUT):
            text = f"{report.error}\n{report.stack}\n" if report.error else report.value
            parts.append(f"{report.name} (process {report.pid})\n\n{text}")
        return "\n".join(parts)

    def _health(self, environ: dict[str, Any]) -> str:
        """``ok`` or ``draining``, or 503 without a worker; then the sums and each worker."""
        workers, http = self.statistics()
        lines = [f"{name}: {value}" for name, value in vars(http).items()]
        lines += [f"workers.{name}: {value}" for name, value in vars(workers).items()]
        for one in self.processes():
            lines.append(f"{one.pop('name')}: {_on_a_line(one)}")
        text = "".join(f"{line}\n" for line in lines)
        reason = self.unavailable
        if reason and self._all_draining():
            return f"draining\n\n{text}"
        if reason:
            raise ViewError("503 Service Unavailable", f"{reason}\n\n{text}")
        return f"ok\n\n{text}"

    def _all_draining(self) -> bool:
        """Whether all workers are draining and none will follow, as at the end of the service."""
        return all(worker.phase is WorkerPhase.DRAINING for worker in self._all())


def _view_and_environ(what: str, arguments: list[Any]) -> tuple[str, dict[str, str]]:
    """The view's path and the environ in a worker's request.

    Raises:
        MessageError: the request is invalid.
    """
    match arguments:
        case [str() as path, dict() as environ] if what == "view" and all(
            isinstance(value, str) for value in environ.values()
        ):
            return path, environ
    raise MessageError("an invalid request")


def _printable_lines(text: str) -> str:
    """Stacks for a terminal: an application can write to the pipe as well."""
    return "\n".join(map(printable, text.splitlines()))


def _on_a_line(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
