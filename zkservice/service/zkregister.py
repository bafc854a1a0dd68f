"""The service of ``twistd zkregister``: a command, and its registration."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, TimeoutError
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
from zkservice.service.commands.operated import NoFront
from zkservice.service.options.register_config import RegisterConfig
from zkservice.service.options.register_options import Options
from zkservice.service.process.command_process import CommandProcess
from zkservice.service.process.exit import ExitCode
from zkservice.service.process.loggers import escape_log_texts, reopen_log_files
from zkservice.service.process.shutdown import Shutdown
from zkservice.service.process.signals import take_signals_when_running
from zkservice.service.process.systemd import Notifier
from zkservice.service.registration.announcement import Announcer

__all__ = ["Options", "RegisterService", "makeService"]

#: Signals that are passed on at once; SIGTERM and SIGINT are passed on after deregistering.
PASSED_ON: Final = (
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT),
    *(signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU),
)
#: Seconds to wait for a killed process to end.
KILL_TIMEOUT: Final = 2.0


class RegisterService(Service):
    """Registers addresses, while a command runs if there is one.

    Args:
        config: what to register, and what to run.
        reactor: the process's reactor.
        exit: sets the exit code of the process.
    """

    log = Logger()

    def __init__(self, config: RegisterConfig, reactor: Any, exit: ExitCode) -> None:
        self.announcement: Announcer | None = None
        self._config = config
        self._reactor = reactor
        self._exit = exit
        self._command = CommandProcess(config.command, reactor) if config.command else None
        self._notifier = Notifier(os.environ, reactor)
        self._shutdown = Shutdown(reactor)
        self._stop_signal = config.stop_signal or signal.SIGTERM

    # -- start --

    @override
    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        escape_log_texts(globalLogPublisher)

    @override
    def startService(self) -> None:
        """Register the addresses, and start the command."""
        super().startService()
        handlers: dict[signal.Signals, Callable[[], object]] = {
            number: partial(self._pass_on, number) for number in PASSED_ON
        }
        take_signals_when_running(
            self._reactor, self._stop_at_once, handlers, self._remember_signal
        )
        try:
            self._announce()
        except (ConfigurationError, AddressError, InvalidPathError, TreeValueError) as error:
            raise StartError(f"zkregister: {error}") from None

    def _announce(self) -> None:
        config = self._config
        announcement = self.announcement = Announcer(
            config.registration, config.known, self._reactor, self.fail
        )
        announcement.registrar.subscribe(self._notifier.ready)
        if self._command is not None:
            announcement.front_changed("the command has not started")
            self._reactor.callWhenRunning(self._launch, self._command, announcement)
        announcement.start(self.status, {}, NoFront())

    def _launch(self, command: CommandProcess, announcement: Announcer) -> None:
        try:
            command.start()
        except OSError as error:
            self.fail(f"cannot start the command: {error.strerror}")
            return
        announcement.front_changed("")
        command.when_ended().addCallback(self._command_ended)

    # -- while it runs --

    def status(self) -> dict[str, Any]:
        """The state of everything, as plain values."""
        found: dict[str, Any] = {"pid": os.getpid()}
        if self._command is not None:
            found["command"] = list(self._command.arguments)
            found["command_pid"] = self._command.pid
        if self.announcement is not None:
            found.update(self.announcement.status())
        return found

    def fail(self, reason: str) -> None:
        """Stop gracefully, with exit code 1."""
        if not self.running or self._exit.code:
            return
        sys.stderr.write(f"zkregister: {reason}\n")
        self._exit.code = 1
        self._stop_reactor()

    def _pass_on(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            reopen_log_files(globalLogPublisher)
        if self._command is not None:
            self._command.send(number)
        elif number is signal.SIGQUIT:
            self._stop_reactor()

    def _remember_signal(self, number: signal.Signals) -> None:
        """Remember the signal that stops this process, to stop the command with it."""
        self._stop_signal = self._config.stop_signal or number

    def _command_ended(self, code: int) -> None:
        """Deregister and exit with the command's exit code."""
        self._exit.code = self._exit.code or code
        self._shutdown.skip_pauses()
        if not self.running:
            return
        self.log.warn("the command has ended with exit code {code}; deregistering", code=code)
        if self.announcement is not None:
            self.announcement.front_changed("the command has ended")
        self._stop_reactor()

    def _stop_reactor(self) -> None:
        with contextlib.suppress(ReactorNotRunning):  # it is stopping already
            self._reactor.stop()

    # -- stop --

    @override
    def stopService(self) -> Deferred[None]:
        """Deregister, wait, stop the command; fires when all is done or the time is over."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        shutdown, announcement = self._shutdown, self.announcement
        shutdown.begin()
        self._notifier.stopping()
        if announcement is not None:
            await announcement.withdraw(shutdown)
        if self._command is not None and self._command.pid is not None:
            await self._stop_command(self._command)
        if announcement is not None:
            await announcement.close(shutdown)
        self._notifier.stop()
        self.log.info("Stopped")

    async def _stop_command(self, command: CommandProcess) -> None:
        shutdown, timeout = self._shutdown, self._config.stop_timeout
        self.log.info(
            "stopping the command with {signal} ({bound} s at most)",
            signal=self._stop_signal.name,
            bound=timeout,
        )
        command.send(self._stop_signal)
        await shutdown.step("stopping the command", command.when_ended(), timeout)
        if command.code is None:
            command.kill()
            # Not a step of the shutdown, which a second signal would cut short: the exit code is
            # needed.
            with contextlib.suppress(TimeoutError):
                await command.when_ended().addTimeout(KILL_TIMEOUT, self._reactor)

    def _stop_at_once(self) -> None:
        """A second signal: cut everything short."""
        self._shutdown.cut_short()


def makeService(options: Options) -> IService:
    """Assemble the service; nothing is started before it starts."""
    from twisted.internet import reactor  # noqa: TID251 - twistd has installed the one to use

    for warning in options.sources.warnings:
        RegisterService.log.warn("{warning}", warning=warning)
    service: IService = RegisterService(options.config, reactor, ExitCode())
    return service
