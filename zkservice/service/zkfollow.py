"""The service of ``twistd zkfollow``: follow services, and write files."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterable
from typing import Any, Final

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.client import State, ZooKeeperClient
from zkservice.deferreds import time_limit
from zkservice.errors import AuthFailedError, ClientClosedError, PublishError, ZooKeeperError
from zkservice.formats.consumers import haproxy_runtime
from zkservice.publishing import (
    CommandRunner,
    FileTarget,
    HAProxySocket,
    HAProxyTarget,
    Publication,
    Publisher,
    PublishTarget,
    Source,
)
from zkservice.publishing.files import ReplacedFile
from zkservice.service.options.follow_config import FollowConfig, OutputSpec
from zkservice.service.options.follow_options import OPTIONS, Options
from zkservice.service.process.exit import ExitCode
from zkservice.service.process.loggers import escape_log_texts, reopen_log_files
from zkservice.service.process.signals import take_signals_when_running
from zkservice.service.process.systemd import Notifier

__all__ = ["OPTIONS", "FollowService", "Options", "makeService"]

#: Seconds for a running command to finish when the process stops.
_COMMAND_GRACE: Final = 5.0


class FollowService(Service):
    """Follows services, and publishes their providers.

    Args:
        config: the services and the outputs.
        reactor: the process's reactor.
        exit_code: sets the exit code of the process.
    """

    log = Logger()

    def __init__(self, config: FollowConfig, reactor: Any, exit_code: ExitCode) -> None:
        self._config = config
        self._reactor = reactor
        self._exit = exit_code
        self._notifier = Notifier(os.environ, reactor)
        security = config.security
        self.client = ZooKeeperClient(
            config.hosts,
            config.session_timeout,
            reactor=reactor,
            tls=security.tls,
            auth=security.identities,
            sasl=security.sasl,
        )
        self._runner = CommandRunner(reactor, config.run_timeout)
        self._sources = {
            one.name: Source(one.name, one.path, self.client, reactor, self._changed)
            for one in config.followed
        }
        self._publishers = [
            Publisher(
                [self._publication(output, bool(command)) for output in outputs],
                command,
                self._runner,
                lambda: self.client.state is State.CONNECTED,
                reactor,
                random.random,
                config.interval,
            )
            for command, outputs in config.groups
        ]

    def _publication(self, output: OutputSpec, has_command: bool) -> Publication:
        sources = tuple(self._sources[name] for name in output.services)
        return Publication(self._target(output, has_command), sources, self._config.keep_last)

    def _target(self, output: OutputSpec, has_command: bool) -> PublishTarget:
        if output.consumer is haproxy_runtime.CONSUMER:
            backend, _, address = output.target.partition("@")
            return HAProxyTarget(backend, HAProxySocket(address, self._reactor))
        return FileTarget(output.consumer, ReplacedFile(output.target, has_command))

    @override
    def startService(self) -> None:
        """Connect, and start to follow the services."""
        super().startService()
        escape_log_texts(globalLogPublisher)
        take_signals_when_running(
            self._reactor, self._stop_at_once, {signal.SIGHUP: self._reopen_and_check}
        )
        self.client.subscribe(self._session_changed)
        self.client.connect().addErrback(self._cannot_connect)
        if self._config.once or self._config.dry_run:
            Deferred.fromCoroutine(self._run_once()).addErrback(self._failed)
            return
        for source in self._sources.values():
            source.start_and_log_errors()

    @override
    def stopService(self) -> Deferred[None]:
        """Stop publishing; fires when no command runs any more."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._notifier.stopping()
        idle = gatherResults([publisher.stop() for publisher in self._publishers])
        self._runner.stop()
        idle.addTimeout(_COMMAND_GRACE, self._reactor).addErrback(lambda _: None)
        await idle
        for source in self._sources.values():
            source.stop()
        await self.client.close()
        self._notifier.stop()

    # -- until it is stopped ---------------------------------------------------------

    def _changed(self) -> None:
        self._notifier.ready(f"Following {len(self._sources)} services")
        if not (self._config.once or self._config.dry_run):
            for publisher in self._publishers:
                publisher.trigger()

    def _session_changed(self, state: State) -> None:
        if state is State.SUSPENDED and self.running:
            self.log.warn("the connection to ZooKeeper is lost; reconnecting, and changing nothing")
        elif state is State.CONNECTED:
            self._changed()

    def _reopen_and_check(self) -> None:
        """Open the log file again, and check all files, at SIGHUP."""
        reopen_log_files(globalLogPublisher)
        self._changed()

    def _stop_at_once(self) -> None:
        """A second signal: do not wait for the command."""
        self._runner.stop()

    def _cannot_connect(self, failure: Failure) -> None:
        if failure.check(AuthFailedError) is not None:
            problem = "correct --zookeeper-auth or --zookeeper-sasl"
            self._end([f"{failure.getErrorMessage()}; {problem}"])
        elif failure.check(ZooKeeperError) is None:
            self.log.failure("connecting to ZooKeeper failed", failure)

    # -- for scripts -----------------------------------------------------------------

    async def _run_once(self) -> None:
        started = gatherResults(
            [source.start() for source in self._sources.values()], consumeErrors=True
        )
        config = self._config
        await time_limit(started, config.timeout, self._reactor, self._too_late)
        if config.dry_run:
            for publisher in self._publishers:
                # twistd has put its log into the place of sys.stdout.
                print(await publisher.preview(), end="", file=sys.__stdout__)
            self._end([])
            return
        problems = [str(one.error) for one in self._sources.values() if one.error is not None]
        for publisher in self._publishers:
            problems += await publisher.publish_once()
        self._end(problems)

    def _too_late(self, seconds: float) -> Exception:
        return PublishError(f"ZooKeeper at {self._config.hosts} did not reply within {seconds:g} s")

    def _failed(self, failure: Failure) -> None:
        error: Any = failure.value
        if failure.check(ClientClosedError) is not None:
            return  # stopped by a signal or by refused credentials
        if not isinstance(error, (PublishError, ZooKeeperError)):
            error = getattr(error, "subFailure", failure).value
        if not isinstance(error, (PublishError, ZooKeeperError)):
            self.log.failure("publishing failed", failure)
        self._end([str(error)])

    def _end(self, problems: Iterable[str]) -> None:
        for problem in problems:
            self._exit.code = 1
            print(f"zkfollow: {problem}", file=sys.__stderr__)
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            self._reactor.callWhenRunning(self._reactor.stop)


def makeService(options: Options) -> IService:
    """Assemble the service; nothing is opened before it starts."""
    from twisted.internet import reactor  # noqa: TID251 - twistd has installed the one to use

    for warning in options.sources.warnings:
        FollowService.log.warn("{warning}", warning=warning)
    service: IService = FollowService(options.config, reactor, ExitCode())
    return service
