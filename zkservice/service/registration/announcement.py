"""What a service shows to others: its registration, depending on its health, and its monitor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.errors import UnregisteredError
from zkservice.monitor import Command
from zkservice.registry import RegistrationState
from zkservice.service.commands.monitor_commands import commands, with_added, with_plugins
from zkservice.service.commands.operated import Operated, OperatedFront
from zkservice.service.config import Config
from zkservice.service.ports.admin_ports import AdminPorts
from zkservice.service.ports.inheritance import InheritedSockets
from zkservice.service.process.shutdown import Shutdown
from zkservice.service.registration.embedded_zookeeper import InProcessZooKeeper
from zkservice.service.registration.health import HealthCheck, check_http, check_tcp
from zkservice.service.registration.registrar import Registrar
from zkservice.service.state.availability import FRONT, HEALTH, Availability
from zkservice.service.views.admin_site import admin_factory
from zkservice.service.views.readiness import reason_not_registered
from zkservice.web import View

__all__ = ["DEREGISTER", "AddressSource", "Announcer"]

#: Seconds to wait for ZooKeeper to confirm that the address is deregistered.
DEREGISTER: Final = 2.0


class AddressSource(Protocol):
    """The source of the addresses: open ports of this process, or another program's addresses."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses to register, each ``host:port``."""

    @property
    def tls_addresses(self) -> frozenset[str]:
        """The addresses that speak TLS."""

    def client_endpoint(self, *, plain: bool) -> str:
        """The endpoint string for health checks.

        Args:
            plain: whether the endpoint must speak plain HTTP.
        """


class Announcer:
    """Registers addresses while they are healthy and nothing blocks the registration.

    Args:
        config: where and what to register.
        source: the addresses.
        reactor: for connections and time.
        fail: called with a reason when retrying does not help.
        inherited: sockets for the monitor and the manhole.
        inside: the endpoint for health checks until `check_health_at_the_port` is called.
    """

    _log = Logger()

    def __init__(
        self,
        config: Config,
        source: AddressSource,
        reactor: Any,
        fail: Callable[[str], object],
        inherited: InheritedSockets | None = None,
        inside: IStreamClientEndpoint | None = None,
    ) -> None:
        self.availability = Availability()
        #: Whether another program has taken over the znodes, so that they stay when this one ends.
        self.handed_over = False
        self.admin_ports = AdminPorts(reactor, inherited)
        self._config = config
        self._reactor = reactor
        self._own_properties: dict[str, str] = {}  # properties beside those of the configuration
        self._embedded: InProcessZooKeeper | None = None
        hosts = config.zookeeper.hosts
        if hosts is None:
            self._embedded = InProcessZooKeeper(config.zookeeper, reactor)
            hosts = self._embedded.start()
        self.addresses = source.addresses
        self.registrar = Registrar(
            config, self.addresses, hosts, reactor, fail, source.tls_addresses
        )
        self._inside = inside
        self._health = self._make_health(source)

    def start(
        self,
        status: Callable[[], Mapping[str, Any]],
        namespace: Mapping[str, Any],
        front: OperatedFront,
    ) -> None:
        """Open the monitor and the manhole, register, and start the health checks.

        Args:
            status: returns the state of the whole service.
            namespace: the names that the manhole offers.
            front: the front end, for the monitor's commands.

        Raises:
            ConfigurationError: a port cannot be opened, or a command cannot be loaded.
            AddressError, InvalidPathError, TreeValueError: an address, the path or a property is
                invalid.
        """
        config, registrar = self._config, self.registrar
        operated = Operated(
            registrar.registrations,
            status,
            self.availability,
            self._reactor,
            registrar.client,
            front,
        )
        known = with_added(commands(operated), config.monitor_commands)
        registrar.start(self._properties(with_plugins(known)))
        if config.manhole is not None:
            self.admin_ports.open_manhole(config.manhole, {**namespace, "presence": registrar})
        if self._health is not None:
            self.availability.block(HEALTH, "health: no check has succeeded yet")
            self._reactor.callWhenRunning(self._start_checks, self._health)
        self.availability.attach(registrar.registration)

    def open_views(self, views: Mapping[str, View]) -> None:
        """Open the ports that serve only the built-in views.

        Raises:
            ConfigurationError: a port cannot be opened.
        """
        admin = self._config.front_end.admin
        for endpoint in admin.listen:
            self.admin_ports.open_views(endpoint, admin_factory(admin, views, self._reactor))

    def status(self) -> dict[str, Any]:
        """The state of the registration and the session, as plain values."""
        return {
            "addresses": list(self.addresses),
            "path": self._config.path,
            **self.registrar.status(),
        }

    @property
    def healthy(self) -> bool | None:
        """The result of the health checks; None before the first one, and without checks."""
        return None if self._health is None else self._health.healthy

    def why_not_ready(self) -> str:
        """Why this process should receive no requests; "" if it should."""
        return reason_not_registered(self.registrar.registration, self.availability)

    def configure(self, config: Config) -> None:
        """Apply another configuration: store its properties if they have changed."""
        previous, self._config = self._config, config
        if config.properties != previous.properties:
            stored = self.registrar.registration.replace_properties(
                {**config.properties, **self._own_properties}
            )
            stored.addErrback(self._not_stored)

    def front_changed(self, unavailable: str) -> None:
        """Block the registration while the front end is unavailable; "" unblocks it."""
        self.registrar.serving = not unavailable
        if unavailable:
            self.availability.block(FRONT, unavailable)
        else:
            self.availability.unblock(FRONT)

    def check_health_at_the_port(self) -> None:
        """From now on, send health checks to the port that clients use."""
        self._inside = None

    async def withdraw(self, shutdown: Shutdown) -> None:
        """Deregister, and give clients time to notice."""
        if self._health is not None:
            self._health.stop()
        if self.handed_over:
            return
        announced = self.registrar.announce_stop()
        if announced is not None:
            await shutdown.step("announcing the stop", announced, DEREGISTER)
            await shutdown.pause("waiting for clients to notice", self._config.drain_wait)
        # Some readers ignore the state, so there is a second pause after the znode is deleted.
        deregistered = self.registrar.deregister()
        if deregistered is not None:
            await shutdown.step("deregistering", deregistered, DEREGISTER)
            if self.registrar.registration.state is not RegistrationState.WITHDRAWN:
                # The delete was refused, or ZooKeeper is away.  Ending the session needs no
                # permission and deletes the znodes: no address may stay while the ports close.
                await self._close_session(shutdown)
            await shutdown.pause("waiting for clients to notice", self._config.drain_wait)

    async def close(self, shutdown: Shutdown) -> None:
        """Close the session, the monitor and the embedded ZooKeeper."""
        await self._close_session(shutdown)
        closing = Deferred.fromCoroutine(self.admin_ports.close())
        await shutdown.step("closing the monitor", closing, 1.0)
        if self._embedded is not None:
            stopped = Deferred.fromCoroutine(self._embedded.stop())
            await shutdown.step("stopping ZooKeeper", stopped, 2.0)

    # -- internals --

    async def _close_session(self, shutdown: Shutdown) -> None:
        await shutdown.step("closing the session", self.registrar.close(), DEREGISTER)

    def _not_stored(self, failure: Failure) -> None:
        if failure.check(UnregisteredError, CancelledError) is None:
            self._log.error(
                "the properties cannot be stored: {reason}; keeping the old ones",
                reason=failure.getErrorMessage(),
            )

    def _properties(self, known: Mapping[str, Command]) -> dict[str, Any]:
        """The properties to store with the address, including ``monitor``."""
        if self._config.monitor is not None:
            self._own_properties["monitor"] = self.admin_ports.open_monitor(
                self._config.monitor, known
            )
        return {**self._config.properties, **self._own_properties}

    def _make_health(self, source: AddressSource) -> HealthCheck | None:
        settings = self._config.health
        if settings is None:
            return None
        where = source.client_endpoint(plain=settings.path is not None)
        port = clientFromString(self._reactor, where)

        def check() -> Deferred[Any]:
            endpoint = self._inside or port
            if settings.path is None:
                return check_tcp(endpoint)
            host = settings.host or self.addresses[0]
            return check_http(endpoint, settings.path, host, self._reactor)

        return HealthCheck(settings, check, self._health_changed, self._reactor)

    def _start_checks(self, health: HealthCheck) -> None:
        health.start().addErrback(
            lambda failure: self._log.failure("the health check has ended", failure)
        )

    def _health_changed(self, healthy: bool, reason: str) -> None:
        if healthy:
            self._log.info("health check: healthy")
            self.availability.unblock(HEALTH)
        else:
            self._log.warn("health check: unhealthy ({reason}); deregistering", reason=reason)
            self.availability.block(HEALTH, f"health: {reason}")
