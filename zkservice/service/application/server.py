"""An application with its threads, its logs and its HTTP factory: what one process serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zkservice.service.application.http_factory import BuiltIn, Logs, make_factory
from zkservice.service.application.load import Application
from zkservice.service.config import Config
from zkservice.service.process.gil import GilReport
from zkservice.web import BusyWatch, HTTPFactory, LagProbe, SlowRequests, Workers, describe_threads

__all__ = ["ApplicationServer"]

#: Seconds to wait at the end for threads that are stuck in the application.
_LAST_WAIT = 1.0


class ApplicationServer:
    """Serves an application on connections that it is given; opens no port itself.

    Args:
        config: what to serve, and how.
        reactor: runs the connections.
        load: returns the application.
        built_in: the built-in views.

    Raises:
        ConfigurationError: the application, a view or a log file cannot be used.
    """

    _log = Logger()

    def __init__(
        self,
        config: Config,
        reactor: Any,
        load: Callable[[], Application],
        built_in: BuiltIn,
    ) -> None:
        self._gil = GilReport()
        self.workers = Workers(reactor, threads=config.threads)
        self.logs = Logs(config.front_end)
        self.factory: HTTPFactory = make_factory(
            config.front_end,
            self._gil.watch(load),
            self.workers,
            self.logs,
            reactor,
            built_in,
        )
        self._busy = BusyWatch(self.workers, reactor)
        self._slow = SlowRequests(self.workers, reactor, config.front_end.slow_request)
        self._lag = LagProbe(reactor, self.workers.now, lambda: built_in.tally.totals.lag)

    def start(self) -> None:
        """Start the threads.  Call it after daemonizing: threads do not survive a fork."""
        if line := self._gil.line():
            self._log.info("{line}", line=line)
        self.workers.start()
        self._busy.start()
        self._slow.start()
        self._lag.start()

    def status(self) -> dict[str, Any]:
        """The counters of the threads and the front end, as plain values."""
        return {"workers": self.workers.statistics(), "http": self.factory.statistics()}

    def threads(self) -> str:
        """What every thread is doing, and where in its code it is."""
        return describe_threads(self.workers)

    def drain(self, timeout: float) -> Deferred[int]:
        """Finish running requests; fires with the number of requests that were cut off."""
        return self.factory.drain(timeout)

    def stop(self) -> Deferred[int]:
        """End the threads; fires with the number of stuck threads."""
        self._busy.stop()
        self._slow.stop()
        self._lag.stop()
        return self.workers.stop(_LAST_WAIT)

    def reopen(self) -> None:
        """Open the log files again."""
        self.logs.reopen()
