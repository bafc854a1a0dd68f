"""The session and the registration of a service, with their log entries and status lines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    AuthFailedError,
    BadArgumentsError,
    InvalidACLError,
    NoAuthError,
    RequestTooLargeError,
    UnregisteredError,
    ZooKeeperError,
)
from zkservice.registry import Change, Registration, RegistrationState, register
from zkservice.service.config import Config
from zkservice.service.state.availability import when_in
from zkservice.wire.session import State

#: Seconds without a registration after which a warning is logged.
STILL_WAITING: Final = 3.0
#: Seconds between attempts after ZooKeeper has refused credentials that it had accepted before.
REAUTHENTICATE: Final = 30.0

#: Errors that retrying cannot fix, and what to do about them.
_PERMANENT_ERRORS: Final[dict[type[BaseException], str]] = {
    AuthFailedError: "correct --zookeeper-auth or --zookeeper-sasl",
    NoAuthError: (
        "name an identity that may create there with --zookeeper-auth (the ACL of the znode above "
        "it decides), or another --path"
    ),
    InvalidACLError: "correct --acl ('creator' needs --zookeeper-auth)",
    RequestTooLargeError: "store less with --property",
    BadArgumentsError: "correct --path",
}


class Registrar:
    """Opens the session and keeps the addresses registered.

    Args:
        config: where and how to register.
        addresses: the addresses to register.
        hosts: the connection string.
        reactor: for connections and time.
        fail: called with the reason when retrying cannot help.
        tls: the addresses that speak TLS.
    """

    _log = Logger()

    def __init__(
        self,
        config: Config,
        addresses: tuple[str, ...],
        hosts: str,
        reactor: Any,
        fail: Callable[[str], object],
        tls: frozenset[str] = frozenset(),
    ) -> None:
        self._config = config
        self._tls = tls
        self._addresses = addresses
        self._hosts = hosts
        self._reactor = reactor
        self._fail = fail
        security = config.security
        self.client = ZooKeeperClient(
            hosts,
            config.session_timeout,
            reactor=reactor,
            tls=security.tls,
            auth=security.identities,
            sasl=security.sasl,
        )
        self.registration: Registration
        #: Whether the front end can serve requests.
        self.serving = True
        self._report: Callable[[str], object] = lambda status: None
        self._stopping = False
        self._was_connected = False  # whether the credentials were accepted before
        self._reminder: IDelayedCall | None = None
        self._reauthentication: IDelayedCall | None = None

    def subscribe(self, report: Callable[[str], object]) -> None:
        """Call a function with the status line of the service each time it changes."""
        self._report = report

    def start(self, properties: Mapping[str, Any]) -> None:
        """Connect and register; both are retried until they succeed.

        Raises:
            AddressError, InvalidPathError, TreeValueError: an address, the path or a property is
                invalid.
        """
        config = self._config
        self.registration = register(
            self.client,
            config.path,
            self._addresses,
            properties,
            config.security.acl,
            # An advertised address may belong to another process; one that this process listens
            # on cannot, so a node that is there was left by an earlier process.
            replace=not config.advertise,
            format=config.format,
            tls=self._tls,
            clock=self._reactor,
        )
        self.registration.subscribe(self._registration_changed)
        self.registration.when_registered().addErrback(self._cannot_register)
        self.client.subscribe(self._session_changed)
        self.client.connect().addErrback(self._cannot_connect)
        self._reminder = self._reactor.callLater(STILL_WAITING, self._still_waiting)

    def registrations(self) -> list[Registration]:
        """The registrations of the service, in any state."""
        return [self.registration]

    @property
    def registered(self) -> bool:
        """Whether the address is registered."""
        return self.registration.state is RegistrationState.REGISTERED

    @property
    def connected(self) -> bool:
        """Whether there is a connection to ZooKeeper."""
        return self.client.state is State.CONNECTED

    def status(self) -> dict[str, Any]:
        """The state of the registration and the session, as plain values."""
        server = self.client.server
        return {
            "registration": self.registration.state.name.lower(),
            "reason": self.registration.reason,
            "session": self.client.state.name.lower(),
            "zookeeper": None if server is None else str(server),
            "client": self.client.statistics(),
        }

    def announce_stop(self) -> Deferred[None] | None:
        """Store the state "stopping" in the znodes, until `deregister` deletes them.

        Returns None if the format has no such state, or without a connection.
        """
        self._stopping = True
        if not self.connected or not self.registration.announce_stop():
            return None
        return when_in(self.registration, (RegistrationState.OUT, RegistrationState.WITHDRAWN))

    def deregister(self) -> Deferred[bool] | None:
        """Deregister for good; return None if no client can have seen the address."""
        self._stopping = True
        self._cancel_reminder()
        if self._reauthentication is not None:
            self._reauthentication.cancel()
            self._reauthentication = None
        visible = self.registration.possibly_visible
        deregistered = self.registration.unregister()
        return deregistered if visible else None

    def close(self) -> Deferred[None]:
        """Close the session."""
        return self.client.close()

    # -- changes of the session -------------------------------------------------

    def _session_changed(self, state: State) -> None:
        if state is State.SUSPENDED:
            self._log.warn(
                "The connection to ZooKeeper is lost; reconnecting, and serving meanwhile"
            )
        elif state is State.EXPIRED:
            self._log.warn("The ZooKeeper session has expired; opening a new one")
        elif state is State.CONNECTED:
            self._was_connected = True
        elif state is State.AUTH_FAILED and self._was_connected and not self._stopping:
            self._log.error(
                "ZooKeeper refuses credentials that it accepted before; "
                "serving on without being registered, and trying again in {pause} s",
                pause=REAUTHENTICATE,
            )
            self._reauthentication = self._reactor.callLater(REAUTHENTICATE, self._reauthenticate)

    def _reauthenticate(self) -> None:
        """Try the credentials again: the servers may accept them by now."""
        self._reauthentication = None
        Deferred.fromCoroutine(self._connect_again()).addErrback(
            lambda failure: self._log.failure("connecting to ZooKeeper failed", failure)
        )

    async def _connect_again(self) -> None:
        await self.client.close()
        if self._stopping:
            return
        # A refusal changes the state, and that schedules the next attempt.
        with contextlib.suppress(ZooKeeperError):
            await self.client.connect()

    def _cannot_connect(self, failure: Failure) -> None:
        if failure.check(ZooKeeperError, CancelledError) is None:
            self._log.failure("connecting to ZooKeeper failed", failure)
        elif failure.check(AuthFailedError) is not None:
            self._fail(f"{failure.value}; {_PERMANENT_ERRORS[AuthFailedError]}")

    # -- changes of the registration ----------------------------------------------

    def _cannot_register(self, failure: Failure) -> None:
        """End the process if the first registration has failed and retrying cannot help."""
        advice = _PERMANENT_ERRORS.get(type(failure.value))  # type: ignore[arg-type]
        if advice is not None:
            self._fail(f"{failure.value}; {advice}")
        elif failure.check(UnregisteredError, CancelledError) is None:
            self.registration.when_registered().addErrback(self._cannot_register)

    def _registration_changed(self, change: Change) -> None:
        if change.state is RegistrationState.REGISTERED:
            self._cancel_reminder()
            self._log.info("Serving on {addresses}", addresses=self._served())
        if not self._stopping and self._reminder is None:
            self.report_status()

    def _still_waiting(self) -> None:
        self._reminder = None
        if self.registration.frozen:  # another program is registered
            return
        if not self.serving:  # not registered on purpose: ask again later
            self._reminder = self._reactor.callLater(STILL_WAITING, self._still_waiting)
            return
        reason = self.registration.reason
        self._log.warn(
            "Listening on {addresses}, but not registered in ZooKeeper at {hosts}: "
            "{state}{reason}; it registers as soon as that is possible",
            addresses=self._served(),
            state=self.registration.state.value,
            reason=f" ({reason})" if reason else "",
            hosts=self._hosts,
        )
        self.report_status()

    def report_status(self) -> None:
        """Report the status.  For systemd a serving service is ready, even if not registered."""
        state = self.registration.state
        if state is RegistrationState.REGISTERED:
            self._report(f"Serving on {self._served()}")
        else:
            self._report(f"Listening on {self._served()}, but not registered: {state.value}")

    def _served(self) -> str:
        return ", ".join(self._addresses)

    def _cancel_reminder(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None
