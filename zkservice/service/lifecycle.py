"""A served and registered application, from its start to its end.

Start: listen, load the application, open the session, register.  Stop: deregister, serve on until
clients have noticed, stop listening, finish running requests, close the session.  Each step of the
stop has a time limit, and a second signal cuts all steps short.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger, globalLogPublisher
from typing_extensions import override

from zkservice.errors import (
    AddressError,
    ConfigurationError,
    InvalidPathError,
    StartError,
    TreeValueError,
)
from zkservice.privates import append_to_log_files
from zkservice.service.config import Config
from zkservice.service.front.in_process import InProcessFront
from zkservice.service.front.interface import Front
from zkservice.service.options.live_config import LiveConfig, Reread
from zkservice.service.ports.inside import InsideEndpoint
from zkservice.service.process.exit import ExitCode, force_exit
from zkservice.service.process.loggers import configure_loggers, escape_log_texts, reopen_log_files
from zkservice.service.process.program import Program
from zkservice.service.process.shutdown import Shutdown
from zkservice.service.process.signals import take_signals_when_running
from zkservice.service.process.systemd import Notifier
from zkservice.service.registration.announcement import DEREGISTER, Announcer
from zkservice.service.registration.fleet import recycling_permission
from zkservice.service.service_state import StateTimes, figures_of
from zkservice.service.state.figures import Figures
from zkservice.service.state.history import History
from zkservice.service.upgrading.assets import Assets
from zkservice.service.upgrading.successor import GIVE_BACK, Successor
from zkservice.service.upgrading.upgrade import Upgrade
from zkservice.service.views.built_in import ServiceViews
from zkservice.service.views.discover import DiscoverViews
from zkservice.service.views.status_page import Observer, PageSource, StatusPage
from zkservice.supervisor import resident_bytes
from zkservice.web import Workers

#: Errors of a start that the user can correct: they are logged without a traceback.
_USER_ERRORS: Final = (ConfigurationError, AddressError, InvalidPathError, TreeValueError)


class ServeService(Service):
    """Serve an application as a `Config` says.

    Args:
        config: what to serve, and where to register it.
        reactor: the process's reactor.
        make_front: makes the front end for this service.
        live: reads the configuration file again; None if there is no file.
        program: how this program was started; None: it cannot be upgraded.
        successor: takes over from another program; None if there is none.
    """

    log = Logger()

    def __init__(
        self,
        config: Config,
        reactor: Any,
        make_front: Callable[[ServeService], Front],
        live: LiveConfig | None = None,
        program: Program | None = None,
        successor: Successor | None = None,
    ) -> None:
        self.config = config
        self.successor = successor
        self._live = live
        self._program = program or Program()
        self._upgrade: Upgrade | None = None
        self._reactor = reactor
        self.front = make_front(self)
        #: Requests, failures and durations of the last ten minutes.
        self.history = History(reactor, self.front.totals)
        self.announcement: Announcer | None = None
        self._notifier = Notifier(os.environ, reactor)
        self._notifier.enabled = successor is None
        self._shutdown = Shutdown(reactor)
        self._exit = ExitCode()
        self._started: float = reactor.seconds()
        self._times = StateTimes(reactor)
        self._observer = Observer(
            PageSource(
                self.status, self.figures, self._why_not_ready, self.history, self.front.inspect
            ),
            reactor,
        )

    # -- start -------------------------------------------------------------------

    @override
    def privilegedStartService(self) -> None:
        """Open the ports, while the process may still be root."""
        super().privilegedStartService()
        escape_log_texts(globalLogPublisher)
        self._or_exit(self.front.listen)

    @override
    def startService(self) -> None:
        """Load the application, serve it, and register it."""
        super().startService()
        handlers: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGHUP: self._reopen_and_reload,
            signal.SIGTTIN: partial(self._resize_by, 1),
            signal.SIGTTOU: partial(self._resize_by, -1),
            signal.SIGUSR2: self._start_upgrade,
        }
        take_signals_when_running(self._reactor, self._stop_at_once, handlers)
        self._reactor.addSystemEventTrigger("after", "shutdown", self._end)
        self._or_exit(self._start)

    def _or_exit(self, step: Callable[[], object]) -> None:
        """Call a step of the start; an error that the user can correct ends the process."""
        try:
            step()
        except _USER_ERRORS as error:
            if self.successor is not None:
                self.successor.failed(str(error))
            force_exit(1, 0.0)  # the application may have been loaded, and have started threads
            # To stderr, which twistd writes to the log as well.
            raise StartError(f"zkserve: {error}") from None

    def _start(self) -> None:
        self.front.listen()  # if privilegedStartService was not called
        configure_loggers(self.config.loggers, as_events=self.config.log_format != "logging")
        globalLogPublisher.addObserver(self._observer.errors)
        page = StatusPage(self._observer, self._reactor)
        discover = DiscoverViews(self.config.path, self.config.front_end.discover, self._reactor)
        self.front.start(ServiceViews(self.figures, self._why_not_ready, page, discover))
        self.history.start()
        announcement = self.announcement = self._make_announcement()
        announcement.registrar.subscribe(self._notifier.ready)
        self.front.availability_changed = announcement.front_changed
        announcement.front_changed(self.front.unavailable)
        together = self.config.processes.recycle_together
        if together:
            client = announcement.registrar.client
            self.front.recycle_with(
                recycling_permission(client, self.config.path, together, self._reactor)
            )
        announcement.start(self.status, {"service": self}, self.front)
        discover.follow(announcement.registrar.client)
        registrar, reasons = announcement.registrar, announcement.availability.reasons
        self._observer.follow(
            registrar.client, registrar.registrations, lambda: list(reasons.values())
        )
        announcement.open_views(self.front.views())
        self._times.follow(announcement)
        assets = Assets(self.front, announcement, self._notifier, self._program)
        self._upgrade = Upgrade(self.config, self._reactor, assets, self.end)
        if self.successor is not None:
            append_to_log_files(globalLogPublisher)
            self.successor.begin(assets, self.fail, self.end)

    def _make_announcement(self) -> Announcer:
        inherited, inside = None, None
        if self.successor is not None:
            inherited = self.successor.sockets
            inside = InsideEndpoint(self._reactor, self.front.serve_inside)
        return Announcer(
            self.config, self.front.listeners, self._reactor, self.fail, inherited, inside
        )

    def end(self, reason: str) -> None:
        """End the process in good order, with exit code 0."""
        self.log.info("Ending: {reason}", reason=reason)
        with contextlib.suppress(ReactorNotRunning):  # it is stopping already
            self._reactor.stop()

    def fail(self, reason: str) -> None:
        """End the process in good order, but with exit code 1."""
        if not self.running or self._exit.code:
            return
        sys.stderr.write(f"zkserve: {reason}\n")
        self._exit.code = 1
        if self.successor is not None:
            self.successor.failed(reason)
        with contextlib.suppress(ReactorNotRunning):  # it is stopping already
            self._reactor.stop()

    # -- state, and signals ------------------------------------------------------

    @property
    def workers(self) -> Workers | None:
        """The worker threads of this process, for the manhole; None with worker processes."""
        return self.front.workers if isinstance(self.front, InProcessFront) else None

    def status(self) -> dict[str, Any]:
        """The state of everything, as plain values."""
        found: dict[str, Any] = {
            "pid": os.getpid(),
            "version": version("zkservice"),
            "uptime": round(self._reactor.seconds() - self._started, 1),
            "rss": resident_bytes(),
            "last_minute": self.history.last(),
            **self.front.status(),
        }
        if self.announcement is not None:
            found.update(self.announcement.status())
        return found

    def figures(self) -> Figures:
        """What everything is doing, for metrics."""
        return figures_of(self.front, self.announcement, self._times)

    def _why_not_ready(self) -> str:
        if self.announcement is None:
            return "starting"
        if not self.running:
            return "stopping"
        return self.front.why_not_ready() or self.announcement.why_not_ready()

    def _resize_by(self, change: int) -> None:
        """SIGTTIN and SIGTTOU: one worker process more, or less."""
        self.front.resize(self.front.size + change)

    def _start_upgrade(self) -> None:
        """SIGUSR2: start a new program, and hand over to it."""
        if self.successor is not None and not self.successor.owns:
            self.log.warn("SIGUSR2 is ignored: this program is taking over from another one")
        elif self.running and self._upgrade is not None:
            append_to_log_files(globalLogPublisher)
            self._upgrade.start()

    def _reopen_and_reload(self) -> None:
        """SIGHUP: the log files were moved away, the certificates renewed, the file edited."""
        reopen_log_files(globalLogPublisher)
        self.front.reopen()
        if self.announcement is not None:
            self.announcement.admin_ports.opener.reload_certificates()
        self.log.info("The log files were opened again")
        if self._reread_config():
            self.front.reload()

    def _reread_config(self) -> bool:
        """Take what has changed in the configuration file; False if it is invalid."""
        if self._live is None:
            return True
        try:
            reread = self._live.read()
            self.front.configure(reread.config)
        except ConfigurationError as error:
            self.log.error(
                "the configuration is invalid: {reason}; keeping the old one, and loading no code",
                reason=str(error),
            )
            return False
        self._live.accept(reread)
        self.config = reread.config
        if self.announcement is not None:
            self.announcement.configure(reread.config)
        self._log_changes(reread)
        return True

    def _log_changes(self, reread: Reread) -> None:
        if reread.changed:
            self.log.info("configuration: changed {names}", names=", ".join(reread.changed))
        if reread.later:
            self.log.warn(
                "configuration: {names} changed too, which needs a restart",
                names=", ".join(reread.later),
            )

    # -- stop ----------------------------------------------------------------------------

    @override
    def stopService(self) -> Deferred[None]:
        """Deregister, drain, close; fires when all steps are done or their time is over."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        shutdown, front, announcement = self._shutdown, self.front, self.announcement
        shutdown.begin()
        self._notifier.stopping()
        if self.successor is not None:
            await shutdown.step("giving back", self.successor.give_back(), GIVE_BACK)
        new_program_ended = None if self._upgrade is None else self._upgrade.stop()
        if announcement is not None:
            await announcement.withdraw(shutdown)
        await shutdown.step("closing the ports", front.close_ports(), DEREGISTER)
        timeout = 0 if shutdown.at_once else self.config.drain_timeout
        self.log.info("Finishing the requests that run ({bound} s at most)", bound=timeout)
        await shutdown.step("draining", front.drain(timeout), timeout + 1)
        await shutdown.step("stopping the workers", front.stop(), 2.0)
        self.history.stop()
        self._observer.stop()
        if announcement is not None:
            await announcement.close(shutdown)
        if self._upgrade is not None and new_program_ended is not None:
            limit = self.config.drain_wait + self.config.drain_timeout
            await shutdown.step("ending the new program", new_program_ended, limit + GIVE_BACK)
            self._upgrade.kill()
        self._notifier.stop()
        self.log.info("Stopped")

    def _stop_at_once(self) -> None:
        """A second signal: cut everything short."""
        self.front.drain(0)
        if self._upgrade is not None:
            self._upgrade.kill()
        self._shutdown.cut_short()

    def _end(self) -> None:
        """End the process after the reactor, even if threads of the application still run."""
        remaining = self.config.drain_timeout - self._shutdown.lasted
        force_exit(self._exit.code, 0.0 if self._shutdown.at_once else max(0.0, remaining))
