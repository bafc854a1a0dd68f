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
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    AddressError,
    AuthFailedError,
    BadArgumentsError,
    ConfigurationError,
    InvalidACLError,
    InvalidPathError,
    NoAuthError,
    RequestTooLargeError,
    StartError,
    TreeValueError,
    UnregisteredError,
    ZooKeeperError,
)
from zkservice.registry import (
    PAYLOADS,
    Change,
    Registration,
    RegistrationState,
    register,
)
from zkservice.service.application import Application, load_application
from zkservice.service.availability import HEALTH, Availability
from zkservice.service.commands import commands
from zkservice.service.config import Config
from zkservice.service.ending import ExitCode, end_anyway
from zkservice.service.front_end import Logs, make_factory
from zkservice.service.health import HealthCheck, ask_http, ask_tcp
from zkservice.service.listening import (
    Door,
    addresses_of,
    client_endpoint_of,
    close_port,
    open_port,
)
from zkservice.service.loggers import configure_loggers, reopen_log_files
from zkservice.service.own_zookeeper import OwnZooKeeper
from zkservice.service.side_ports import SidePorts
from zkservice.service.signals import take_signals_when_running
from zkservice.service.systemd import Notifier
from zkservice.web import HTTPFactory, Workers
from zkservice.wire.session import State

#: Seconds to wait for ZooKeeper to hear that the address goes.
DEREGISTER: Final = 2.0
#: Seconds without a registration after which the log says so.
STILL_WAITING: Final = 3.0

#: Seconds until ZooKeeper is asked again after it has refused credentials it knew.
REAUTHENTICATE: Final = 30.0

#: Errors of a start that are the user's to mend.
_MENDABLE: Final = (ConfigurationError, AddressError, InvalidPathError, TreeValueError)
#: What no waiting will mend, and what to do about it.
_HOPELESS: Final[dict[type[BaseException], str]] = {
    AuthFailedError: "correct --zookeeper-auth or --zookeeper-sasl",
    NoAuthError: "name an identity that may create there with --zookeeper-auth, or another --path",
    InvalidACLError: "correct --acl ('creator' needs --zookeeper-auth)",
    RequestTooLargeError: "store less with --property",
    BadArgumentsError: "correct --path",
}


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
        self.availability = Availability()
        self.health: HealthCheck | None = None
        self.notifier = Notifier(os.environ, reactor)
        self.factory: HTTPFactory | None = None
        self.logs: Logs | None = None
        self._door = Door()
        self.ports: list[IListeningPort] = []
        self.embedded: OwnZooKeeper | None = None
        self.sides = SidePorts(reactor)
        self.client: ZooKeeperClient | None = None
        self.registration: Registration | None = None
        self._reminder: IDelayedCall | None = None
        self._step: Deferred[Any] | None = None  # of the way down
        self._stopping_since = 0.0
        self._hurried = False
        self._failed = False
        self._exit = ExitCode()
        self.addresses: tuple[str, ...] = ()  # what is registered
        self._was_connected = False
        self._reauthentication: IDelayedCall | None = None

    # -- the way up --------------------------------------------------------------

    @override
    def privilegedStartService(self) -> None:
        """Listen: twistd gives up root only after this."""
        super().privilegedStartService()
        self._or_exit(self._listen)

    @override
    def startService(self) -> None:
        """Load the application, and begin to serve and to register it."""
        super().startService()
        take_signals_when_running(self._reactor, self._hurry, self._reopen_logs)
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
            self.ports.append(open_port(self._reactor, listen.endpoint, self._door))

    def _start(self) -> None:
        if not self.ports:
            self._listen()
        configure_loggers(self.config.loggers)
        self.addresses = self._addresses()
        front_end = self.config.front_end
        self.logs = Logs(front_end)
        self.factory = make_factory(front_end, self._load(), self.workers, self.logs, self._reactor)
        self._door.opens_to = self.factory
        self.workers.start()
        hosts = self.config.zookeeper.hosts
        if hosts is None:
            self.embedded = OwnZooKeeper(self.config.zookeeper, self._reactor)
            hosts = self.embedded.start()
        security = self.config.security
        self.client = ZooKeeperClient(
            hosts,
            self.config.session_timeout,
            reactor=self._reactor,
            tls=security.tls,
            auth=security.identities,
            sasl=security.sasl,
        )
        self.client.subscribe(self._session_changed)
        self.client.connect().addErrback(self._cannot_connect)
        self.registration = register(
            self.client,
            self.config.path,
            self.addresses,
            self._properties(),
            security.acl,
            # What others are told to use may be somebody else's; what we listen on is not.
            replace=not self.config.advertise,
            payload=PAYLOADS[self.config.payload],
            clock=self._reactor,
        )
        self.registration.subscribe(self._registration_changed)
        self.registration.when_registered().addErrback(self._cannot_register)
        if self.config.manhole is not None:
            self.sides.open_manhole(self.config.manhole, {"service": self, "client": self.client})
        self._start_health()
        self.availability.govern(self.registration)
        self._reminder = self._reactor.callLater(STILL_WAITING, self._still_waiting, hosts)

    def _addresses(self) -> tuple[str, ...]:
        found = self.config.advertise or tuple(
            address
            for listen, port in zip(self.config.listen, self.ports, strict=True)
            for address in addresses_of(listen, port)
        )
        if not found:
            raise ConfigurationError(
                "nothing that is listened on has an address that others can connect to; "
                "say with --advertise HOST:PORT what to register"
            )
        return found

    def _properties(self) -> dict[str, Any]:
        """What is stored with the address, ``monitor`` among it."""
        properties = dict(self.config.properties)
        if self.config.monitor is not None:
            known = commands(self._registrations, self.status, self.availability)
            properties["monitor"] = self.sides.open_monitor(self.config.monitor, known)
        return properties

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
        self.availability.object(HEALTH, "health: no answer yet")
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

    def _cannot_connect(self, failure: Failure) -> None:
        if failure.check(ZooKeeperError, CancelledError) is None:
            self.log.failure("connecting to ZooKeeper failed", failure)
        elif failure.check(AuthFailedError) is not None:
            self.fail(f"{failure.value}; {_HOPELESS[AuthFailedError]}")

    def _cannot_register(self, failure: Failure) -> None:
        """Refused before it was ever registered: for what waiting does not mend, end."""
        assert self.registration is not None
        advice = _HOPELESS.get(type(failure.value))  # type: ignore[arg-type]
        if advice is not None:
            self.fail(f"{failure.value}; {advice}")
        elif failure.check(UnregisteredError, CancelledError) is None:
            self.registration.when_registered().addErrback(self._cannot_register)

    def fail(self, reason: str) -> None:
        """End the process in good order, but with exit code 1."""
        if not self.running or self._failed:
            return
        self._failed = True
        sys.stderr.write(f"zkserve: {reason}\n")
        self._exit.code = 1
        with contextlib.suppress(ReactorNotRunning):  # it is stopping already
            self._reactor.stop()

    # -- what happens meanwhile ------------------------------------------------------

    def _session_changed(self, state: State) -> None:
        if state is State.SUSPENDED:
            self.log.warn("The connection to ZooKeeper is lost; serving on while it is sought")
        elif state is State.EXPIRED:
            self.log.warn("The ZooKeeper session has expired; a new one will be made")
        elif state is State.CONNECTED:
            self._was_connected = True
        elif state is State.AUTH_FAILED and self._was_connected:
            self.log.error(
                "ZooKeeper refuses the credentials it has taken before; "
                "serving on without being registered, and asking again in {pause} s",
                pause=REAUTHENTICATE,
            )
            self._reauthentication = self._reactor.callLater(REAUTHENTICATE, self._reauthenticate)

    def _reauthenticate(self) -> None:
        """The servers' users may be as they were again."""
        self._reauthentication = None
        Deferred.fromCoroutine(self._connect_again()).addErrback(
            lambda failure: self.log.failure("connecting to ZooKeeper failed", failure)
        )

    async def _connect_again(self) -> None:
        assert self.client is not None
        await self.client.close()
        with contextlib.suppress(ZooKeeperError):  # the state tells, and leads here again
            await self.client.connect()

    def _registration_changed(self, change: Change) -> None:
        if change.state is RegistrationState.REGISTERED:
            self._cancel_reminder()
            self.log.info("Serving on {addresses}", addresses=self._served())
        if self.running and self._reminder is None:
            self._tell_systemd()

    def _tell_systemd(self) -> None:
        """Serving is being ready, registered or not; the status says which."""
        assert self.registration is not None
        state = self.registration.state
        detail = (
            "" if state is RegistrationState.REGISTERED else f", but not registered: {state.value}"
        )
        self.notifier.ready(f"Serving on {self._served()}{detail}")

    def _still_waiting(self, hosts: str) -> None:
        self._reminder = None
        assert self.registration is not None
        self.log.warn(
            "Serving on {addresses}, but not registered in ZooKeeper at {hosts}: {state}{reason}; "
            "it will be as soon as that is possible",
            addresses=self._served(),
            state=self.registration.state.value,
            reason=f" ({self.registration.reason})" if self.registration.reason else "",
            hosts=hosts,
        )
        self._tell_systemd()

    def _served(self) -> str:
        return ", ".join(self.addresses)

    def _cancel_reminder(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None

    def _registrations(self) -> list[Registration]:
        return [] if self.registration is None else [self.registration]

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
        if self.registration is not None:
            answer["registration"] = self.registration.state.name.lower()
            answer["reason"] = self.registration.reason
        if self.client is not None:
            answer["session"] = self.client.state.name.lower()
            answer["zookeeper"] = str(self.client.server) if self.client.server else None
            answer["client"] = self.client.statistics()
        return answer

    # -- the way down --------------------------------------------------------------------

    @override
    def stopService(self) -> Deferred[None]:
        """Deregister, drain, close; fires when all of it is done or its time is up."""
        super().stopService()
        self._cancel_reminder()
        if self._reauthentication is not None:
            self._reauthentication.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        config = self.config
        self._stopping_since = self._reactor.seconds()
        self.notifier.stopping()
        if self.health is not None:
            self.health.stop()
        registered = self._deregisters()
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
        await self._bounded("stopping the workers", self.workers.stop(1.0), 2.0)
        if self.client is not None:
            await self._bounded("closing the session", self.client.close(), DEREGISTER)
        await self._bounded("closing the monitor", Deferred.fromCoroutine(self.sides.close()), 1.0)
        if self.embedded is not None:
            stopped = Deferred.fromCoroutine(self.embedded.stop())
            await self._bounded("stopping ZooKeeper", stopped, 2.0)
        self.notifier.stop()
        self.log.info("Stopped")

    def _end(self) -> None:
        """The reactor has stopped: nothing that the application has left keeps the process."""
        left = self.config.drain_timeout - (self._reactor.seconds() - self._stopping_since)
        end_anyway(1 if self._failed else 0, 0.0 if self._hurried else max(0.0, left))

    def _deregisters(self) -> Deferred[Any] | None:
        """Withdraw the registration; None if nobody can have seen it."""
        if self.registration is None:
            return None
        seen = self.registration.may_be_seen
        done = self.registration.unregister()
        return done if seen else None

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

    def _reopen_logs(self) -> None:
        """SIGHUP: the log files were moved away."""
        reopen_log_files(globalLogPublisher)
        if self.logs is not None:
            self.logs.reopen()
        self.log.info("The log files were opened again")

    def _hurry(self) -> None:
        """A second signal: cut everything short."""
        self.log.warn("Asked twice: stopping at once")
        self._hurried = True
        if self.factory is not None:
            self.factory.drain(0)
        if self._step is not None:
            self._step.cancel()
