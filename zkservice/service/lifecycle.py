"""A served and registered application, from its start to its end.

Start: listen, load the application, make the session, register.  Stop: deregister, go
on serving until clients have heard of it, stop listening, finish what runs, close the
session.  Nothing of the end waits for ever: each step has its bound, and a second
signal cuts them all short.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger, globalLogPublisher
from typing_extensions import override

from zkservice.errors import (
    AddressError,
    ConfigurationError,
    InvalidPathError,
    StartError,
    TreeValueError,
)
from zkservice.monitor import Command
from zkservice.service.application import Application, load_application
from zkservice.service.availability import HEALTH, Availability
from zkservice.service.commands import commands, with_added
from zkservice.service.config import Config
from zkservice.service.ending import ExitCode, end_anyway
from zkservice.service.figures import Figures
from zkservice.service.front_end import Logs, make_factory
from zkservice.service.health import HealthCheck, ask_http, ask_tcp
from zkservice.service.listening import (
    Door,
    addresses_of,
    client_endpoint_of,
    close_port,
)
from zkservice.service.loggers import configure_loggers, escape_log_texts, reopen_log_files
from zkservice.service.own_zookeeper import OwnZooKeeper
from zkservice.service.ports import Ports, give_socket
from zkservice.service.presence import Presence
from zkservice.service.readiness import reason_not_ready
from zkservice.service.side_ports import SidePorts
from zkservice.service.signals import take_signals_when_running
from zkservice.service.systemd import Notifier
from zkservice.web import BusyWatch, HTTPFactory, Workers

#: Seconds to wait for ZooKeeper to hear that the address goes.
DEREGISTER: Final = 2.0


#: Errors of a start that are the user's to mend.
_MENDABLE: Final = (ConfigurationError, AddressError, InvalidPathError, TreeValueError)


class ServeService(Service):
    """Serve an application as a `Config` says."""

    log = Logger()

    def __init__(
        self, config: Config, reactor: Any, load: Callable[[], Application] | None = None
    ) -> None:
        self.config = config
        self._load = load or partial(load_application, config.application)
        self._reactor = reactor
        self.workers = Workers(reactor, threads=config.threads)
        self._busy = BusyWatch(self.workers, reactor)
        self.availability = Availability()
        self.health: HealthCheck | None = None
        self.notifier = Notifier(os.environ, reactor)
        self.factory: HTTPFactory | None = None
        self.logs: Logs | None = None
        self._door = Door()
        self._opener = Ports(reactor)
        self.ports: list[IListeningPort] = []
        self.embedded: OwnZooKeeper | None = None
        self.sides = SidePorts(reactor)
        self.presence: Presence | None = None
        self._step: Deferred[Any] | None = None  # of the way down
        self._stopping_since = 0.0
        self._hurried = False
        self._exit = ExitCode()
        self.addresses: tuple[str, ...] = ()  # what is registered

    # -- the way up --------------------------------------------------------------

    @override
    def privilegedStartService(self) -> None:
        """Listen: twistd gives up root only after this."""
        super().privilegedStartService()
        escape_log_texts(globalLogPublisher)
        self._or_exit(self._listen)

    @override
    def startService(self) -> None:
        """Load the application, and begin to serve and to register it."""
        super().startService()
        take_signals_when_running(self._reactor, self._hurry, self._reopen)
        self._reactor.addSystemEventTrigger("after", "shutdown", self._end)
        self._or_exit(self._start)

    def _or_exit(self, step: Any) -> None:
        """Carry a step out; what is the user's to mend ends the process with one line."""
        try:
            step()
        except _MENDABLE as error:
            end_anyway(1, 0.0)  # the application may have been loaded
            # To stderr, which twistd writes to the log as well.
            raise StartError(f"zkserve: {error}") from None

    def _listen(self) -> None:
        for listen in self.config.listen:
            port = self._opener.open(listen.endpoint, self._door)
            self.ports.append(port)
            if self.config.socket_owner is not None:
                give_socket(port, self.config.socket_owner)

    def _start(self) -> None:
        if not self.ports:
            self._listen()
        configure_loggers(self.config.loggers)
        self.addresses = self._addresses()
        front_end = self.config.front_end
        self.logs = Logs(front_end)
        self.factory = make_factory(
            front_end,
            self._load(),
            self.workers,
            self.logs,
            self._reactor,
            self.figures,
            self._why_not_ready,
        )
        self._door.opens_to = self.factory
        self.workers.start()
        self._busy.start()
        hosts = self.config.zookeeper.hosts
        if hosts is None:
            self.embedded = OwnZooKeeper(self.config.zookeeper, self._reactor)
            hosts = self.embedded.start()
        self.presence = Presence(
            self.config, self.addresses, hosts, self._reactor, self.fail, self._tls_addresses()
        )
        self.presence.subscribe(self.notifier.ready)
        known = with_added(
            commands(self.presence.registrations, self.status, self.availability, self._reactor),
            self.config.monitor_commands,
        )
        self.presence.start(self._properties(known))
        if self.config.manhole is not None:
            self.sides.open_manhole(self.config.manhole, self._namespace())
        self._start_health()
        self.availability.govern(self.presence.registration)

    def _addresses(self) -> tuple[str, ...]:
        found = self.config.advertise or tuple(
            dict.fromkeys(
                address
                for listen, port in zip(self.config.listen, self.ports, strict=True)
                for address in addresses_of(listen, port)
            )
        )
        if not found:
            raise ConfigurationError(
                "nothing that is listened on has an address that others can connect to; "
                "say with --advertise HOST:PORT what to register"
            )
        return found

    def _tls_addresses(self) -> frozenset[str]:
        """The registered addresses that speak TLS; advertised ones if all that listens does."""
        tls = [
            (one, port) for one, port in zip(self.config.listen, self.ports, strict=True) if one.tls
        ]
        if self.config.advertise:
            return frozenset(self.addresses if len(tls) == len(self.ports) else ())
        return frozenset(address for one, port in tls for address in addresses_of(one, port))

    def _properties(self, known: Mapping[str, Command]) -> dict[str, Any]:
        """What is stored with the address, ``monitor`` among it."""
        properties = dict(self.config.properties)
        if self.config.monitor is not None:
            properties["monitor"] = self.sides.open_monitor(self.config.monitor, known)
        return properties

    def _namespace(self) -> dict[str, Any]:
        """What a manhole knows."""
        return {"service": self, "presence": self.presence}

    def _start_health(self) -> None:
        """Ask the application itself, if that was wanted; until it answers it is not registered."""
        settings = self.config.health
        if settings is None:
            return
        listening = zip(self.config.listen, self.ports, strict=True)
        where = client_endpoint_of(listening, plain=settings.path is not None)
        endpoint = clientFromString(self._reactor, where)
        if settings.path is None:
            ask = partial(ask_tcp, endpoint)
        else:
            ask = partial(ask_http, endpoint, settings.path, self.addresses[0])
        self.availability.object(HEALTH, "health: no good answer yet")
        self.health = HealthCheck(settings, ask, self._health_changed, self._reactor)
        self._reactor.callWhenRunning(self._begin_to_ask)

    def _begin_to_ask(self) -> None:
        assert self.health is not None
        self.health.start().addErrback(
            lambda failure: self.log.failure("the health check has ended", failure)
        )

    def _health_changed(self, good: bool, reason: str) -> None:
        if good:
            self.log.info("Health: well")
            self.availability.consent(HEALTH)
        else:
            self.log.warn("Health: ill ({reason}); the address is taken away", reason=reason)
            self.availability.object(HEALTH, f"health: {reason}")

    def fail(self, reason: str) -> None:
        """End the process in good order, but with exit code 1."""
        if not self.running or self._exit.code:
            return
        sys.stderr.write(f"zkserve: {reason}\n")
        self._exit.code = 1
        with contextlib.suppress(ReactorNotRunning):  # it is stopping already
            self._reactor.stop()

    # -- what happens meanwhile ------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The state of everything, as plain values."""
        answer: dict[str, Any] = {
            "pid": os.getpid(),
            "addresses": list(self.addresses),
            "path": self.config.path,
            "workers": self.workers.statistics(),
        }
        if self.factory is not None:
            answer["http"] = self.factory.statistics()
        if self.presence is not None:
            answer.update(self.presence.status())
        return answer

    def figures(self) -> Figures:
        """What everything is doing, for metrics."""
        presence, factory = self.presence, self.factory
        return Figures(
            workers=self.workers.statistics(),
            registered=presence is not None and presence.registered,
            connected=presence is not None and presence.connected,
            http=None if factory is None else factory.statistics(),
            client=None if presence is None else presence.client.statistics(),
        )

    def _why_not_ready(self) -> str:
        if self.presence is None or self.factory is None:
            return "starting"
        if not self.running:
            return "stopping"
        return reason_not_ready(self.presence.registration, self.availability, self.factory)

    # -- the way down --------------------------------------------------------------------

    @override
    def stopService(self) -> Deferred[None]:
        """Deregister, drain, close; fires when all of it is done or its time is up."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        config = self.config
        self._stopping_since = self._reactor.seconds()
        self.notifier.stopping()
        if self.health is not None:
            self.health.stop()
        registered = None if self.presence is None else self.presence.leave()
        if registered is not None:
            await self._bounded("deregistering", registered, DEREGISTER)
            heard = self._wait(config.drain_wait)
            await self._bounded("waiting for clients to hear of it", heard, config.drain_wait + 1)
        for port in self.ports:
            await self._bounded("closing a port", close_port(self._reactor, port), DEREGISTER)
        if self.factory is not None:
            timeout = 0 if self._hurried else config.drain_timeout
            self.log.info("Finishing the requests that run ({bound} s at most)", bound=timeout)
            await self._bounded("draining", self.factory.drain(timeout), timeout + 1)
        self._busy.stop()
        await self._bounded("stopping the workers", self.workers.stop(1.0), 2.0)
        if self.presence is not None:
            await self._bounded("closing the session", self.presence.close(), DEREGISTER)
        await self._bounded("closing the monitor", Deferred.fromCoroutine(self.sides.close()), 1.0)
        if self.embedded is not None:
            stopped = Deferred.fromCoroutine(self.embedded.stop())
            await self._bounded("stopping ZooKeeper", stopped, 2.0)
        self.notifier.stop()
        self.log.info("Stopped")

    def _end(self) -> None:
        """The reactor has stopped: nothing that the application has left keeps the process."""
        left = self.config.drain_timeout - (self._reactor.seconds() - self._stopping_since)
        end_anyway(self._exit.code, 0.0 if self._hurried else max(0.0, left))

    def _wait(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, 0 if self._hurried else seconds, lambda: None)

    async def _bounded(self, what: str, step: Deferred[Any], seconds: float) -> None:
        """Wait for a step of the way down, but neither for ever nor for its success."""
        self._step = step
        try:
            await step.addTimeout(0.01 if self._hurried else seconds, self._reactor)
        except Exception as error:  # noqa: BLE001 - the way down goes on
            self.log.warn("{what} was cut short: {error!r}", what=what, error=error)
        finally:
            self._step = None

    def _reopen(self) -> None:
        """SIGHUP: the log files were moved away, or the certificates were renewed."""
        reopen_log_files(globalLogPublisher)
        if self.logs is not None:
            self.logs.reopen()
        self.log.info("The log files were opened again")
        self._opener.reload_certificates()

    def _hurry(self) -> None:
        """A second signal: cut everything short."""
        self.log.warn("Asked twice: stopping at once")
        self._hurried = True
        if self.factory is not None:
            self.factory.drain(0)
        if self._step is not None:
            self._step.cancel()
