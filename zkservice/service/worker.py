"""A worker process of ``twistd zkserve --processes``: the application, and nothing else.

It has no port, no session and no registration.  Connections come from its parent; log entries and
counters go there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from types import FrameType
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger, globalLogBeginner

from zkservice.service.application.http_factory import BuiltIn
from zkservice.service.application.inspection import Inspector
from zkservice.service.application.load import Application, load_application
from zkservice.service.application.loaded_code import LoadedCode
from zkservice.service.application.server import ApplicationServer
from zkservice.service.config import Config
from zkservice.service.options.worker_settings import config_from
from zkservice.service.ports.binding import wrapped_factory
from zkservice.service.process.exit import force_exit
from zkservice.service.process.json_log import with_request
from zkservice.service.process.loggers import configure_loggers
from zkservice.service.state.figures import totals_to_json
from zkservice.service.views.built_in import view_paths, views_at_ports, views_from_parent
from zkservice.supervisor import WorkerSide

__all__ = ["WorkerServer", "main"]

#: Seconds to wait for a view that the parent makes from the figures of all processes.
_VIEW_TIMEOUT = 3.0
#: Seconds to finish requests after the parent has died.
_ORPHAN_DRAIN = 5.0


class WorkerServer:
    """What a worker serves, for its `WorkerSide`.

    Args:
        reactor: runs the connections.
        name: the worker's name.
        settings: what the parent sends; see `zkservice.service.options.worker_settings`.
        side: the channel to the parent.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, name: str, settings: Mapping[str, Any], side: WorkerSide
    ) -> None:
        config = config_from(settings)
        configure_loggers(config.loggers, as_events=True)

        def ask(path: str, environ: dict[str, str]) -> Deferred[Any]:
            reply: Deferred[Any] = side.ask("view", path, environ, timeout=_VIEW_TIMEOUT)
            return reply

        front_end = config.front_end
        views = views_at_ports(front_end, views_from_parent(view_paths(front_end), ask, reactor))
        built_in = BuiltIn(lambda server: views)
        self._tally = built_in.tally
        self._name = name
        self._drain_timeout = config.drain_timeout
        self._loaded_code = LoadedCode(config.application)

        def serve(config: Config, load: Callable[[], Application]) -> ApplicationServer:
            return ApplicationServer(config, reactor, load, built_in)

        if config.processes.reload:
            self._server = self._loaded_code.serve(config, serve, settings.get("problem", ""))
        else:
            self._server = serve(config, partial(load_application, config.application))
        self._inspector = Inspector(self._server, reactor)
        self.factories: Sequence[IProtocolFactory] = [
            wrapped_factory(reactor, listen.endpoint, self._server.factory)
            for listen in config.listen
        ]
        self._server.start()

    def figures(self) -> tuple[int, int, dict[str, Any]]:
        """Requests since the start, requests in service now, and all counters."""
        http = self._server.factory.statistics()
        figures = {
            "http": asdict(http),
            "workers": asdict(self._server.workers.statistics()),
            "cpu": time.process_time(),
            "totals": totals_to_json(self._tally.totals),
        }
        return http.requests, http.in_service, figures

    def answer(self, what: str, arguments: list[Any]) -> Any:
        """Return the reply to a request of the parent, or a Deferred for it."""
        if what == "figures":
            return self.figures()[2]
        if what == "threads":
            return self._server.threads()
        if what == "overloaded":
            return self._server.factory.server.queue.reached
        if what == "files":
            return self._loaded_code.files(*arguments)
        if what == "finish":
            self._server.drain(self._drain_timeout)
            return None
        if self._inspector.knows(what):
            return self._inspector.answer(what, arguments)
        raise LookupError(f"unknown request {what}")

    def reopen(self) -> None:
        """Open the log files again."""
        self._server.reopen()

    def drain(self, timeout: float) -> Deferred[Any]:
        """Finish running requests, then stop the threads."""
        drained: Deferred[Any] = self._server.drain(timeout)
        return drained.addBoth(lambda _: self._server.stop())


def main() -> None:
    """Run as a worker process."""
    from twisted.internet import reactor  # noqa: TID251 - this is the process's main function

    any_reactor: Any = reactor
    exit_codes: list[int] = []

    def stop(exit_code: int) -> None:
        exit_codes.append(exit_code)
        any_reactor.callLater(0, any_reactor.stop)

    make: Callable[..., WorkerServer] = partial(WorkerServer, any_reactor)
    side = WorkerSide(any_reactor, make, stop)

    def observe(event: Any) -> None:
        side.observe(with_request(event))  # here, in the thread that logs and has the request

    # What the application prints goes to the service's log, too: a daemon's standard output and
    # error are /dev/null.
    globalLogBeginner.beginLoggingTo([cast(Any, observe)])
    side.attach()
    any_reactor.callWhenRunning(_take_signals, any_reactor, side)
    any_reactor.run()
    exit_code = exit_codes[-1] if exit_codes else 0
    force_exit(exit_code, 0.0)  # threads that the application has left behind
    sys.exit(exit_code)


def _take_signals(reactor: Any, side: WorkerSide) -> None:
    """Ignore the signals that the parent gets, too.

    Ctrl-C reaches the whole process group, and systemd may send SIGTERM to all of it; a worker
    that ended before its parent has deregistered would refuse clients.  The kernel sends SIGTERM
    when the parent has died: then it drains.
    """
    parent = os.getppid()

    def terminated(number: int, frame: FrameType | None) -> None:
        if os.getppid() != parent:
            reactor.callFromThread(side.drain, _ORPHAN_DRAIN)

    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminated)


if __name__ == "__main__":
    main()
