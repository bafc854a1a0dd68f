"""One ZooKeeper session and one resolver for all endpoints that want the same.

Programs often parse an endpoint string again for each connection, so the session cannot belong to
an endpoint.  The parser, which Twisted keeps as a plugin, has weak references to one
`SharedSessions` for each reactor.  That lives while an endpoint uses it, and for a while after.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python import threadable
from twisted.python.failure import Failure

from zkservice.client import State, ZooKeeperClient
from zkservice.client.for_endpoints import Connect, new_client
from zkservice.deferreds import Alarm
from zkservice.discovery.resolver import Resolver
from zkservice.discovery.strategies import STRATEGIES, PreferZone, Strategy
from zkservice.errors import ClientClosedError

__all__ = ["Service", "ServiceUse", "SharedSessions"]

#: Seconds for which a session is kept while it is not used.
PAUSE: Final = 10.0

_OVER: Final = (State.CLOSED, State.AUTH_FAILED)


class Service(NamedTuple):
    """What an endpoint connects to, and how it chooses; equal services share a strategy."""

    path: str
    formats: tuple[str, ...]
    balance: str
    zone: str

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """Services with the same key share a resolver."""
        return self.path, self.formats


class SharedSessions:
    """The sessions of one reactor, by connection string.

    Args:
        reactor: the reactor.
        connect: makes clients.
        pause: seconds for which a session is kept while it is not used.
    """

    def __init__(self, reactor: Any, connect: Connect = new_client, pause: float = PAUSE) -> None:
        self._reactor = reactor
        self._connect = connect
        self._pause = pause
        self._sessions: dict[str, _Session] = {}

    def use(self, user: object, servers: str, service: Service) -> ServiceUse:
        """Use a session until `ServiceUse.end`, or until the user is garbage-collected.

        Args:
            user: the object that uses the session.
            servers: the connection string.
            service: what the user connects to.
        """
        session = self._sessions.get(servers)
        if session is None:
            session = self._sessions[servers] = _Session(
                self._reactor,
                lambda: self._connect(self._reactor, servers),
                self._pause,
                lambda: self._sessions.pop(servers, None),
            )
        return ServiceUse(user, session, service, self._reactor)


class ServiceUse:
    """One user's use of a service; it ends with `end`, or when the user is garbage-collected."""

    def __init__(self, user: object, session: _Session, service: Service, reactor: Any) -> None:
        self._session = session
        self._service = service
        session.used(service)
        self._end = weakref.finalize(user, _release, session, service, reactor)
        self._end.atexit = False

    def resolver(self) -> tuple[Resolver, Strategy]:
        """The service's resolver, which may not be started yet, and the strategy."""
        return self._session.resolver(self._service)

    def end(self) -> Deferred[None]:
        """Release the session; the last user's release closes it immediately."""
        if self._end.detach() is None:
            return succeed(None)
        self._session.unused(self._service)
        return self._session.close_if_unused()


class _Session:
    """A client and the resolvers that it serves."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        connect: Callable[[], ZooKeeperClient],
        pause: float,
        closed: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._connect = connect
        self._pause = pause
        self._closed = closed
        self._client: ZooKeeperClient | None = None
        self._users: Counter[Service] = Counter()
        self._idle: dict[Service, float] = {}  # services without users, and since when
        self._resolvers: dict[tuple[str, tuple[str, ...]], Resolver] = {}
        self._strategies: dict[Service, Strategy] = {}
        self._alarm = Alarm(reactor, self._close_idle)
        self._trigger: Any = None

    def resolver(self, service: Service) -> tuple[Resolver, Strategy]:
        """The resolver of a service and the strategy."""
        client = self._open_client()
        if service.key not in self._resolvers:
            self._resolvers[service.key] = Resolver(
                client, service.path, formats=service.formats, reactor=self._reactor
            )
        if service not in self._strategies:
            self._strategies[service] = _strategy(service)
        return self._resolvers[service.key], self._strategies[service]

    def used(self, service: Service) -> None:
        """Count one more user of a service."""
        self._users[service] += 1
        self._idle.pop(service, None)

    def unused(self, service: Service) -> None:
        """Count one user less; the last one starts the pause before closing."""
        self._users[service] -= 1
        if not self._users[service]:
            del self._users[service]
            self._idle[service] = self._reactor.seconds()
            self._alarm.set_no_later(self._pause)

    def close_if_unused(self) -> Deferred[None]:
        """End the session, unless it is in use."""
        if self._users:
            return succeed(None)
        self._closed()
        self._idle.clear()
        return self._stop()

    def _close_idle(self) -> None:
        """Close resolvers that were idle for long enough; set the timer for the others."""
        now = self._reactor.seconds()
        for service, since in list(self._idle.items()):
            if since + self._pause <= now:
                self._forget(service)
        if self._idle:
            self._alarm.set(min(self._idle.values()) + self._pause - now)
        else:
            self.close_if_unused().addErrback(self._not_closed)

    def _forget(self, service: Service) -> None:
        del self._idle[service]
        self._strategies.pop(service, None)
        if not any(service.key == one.key for one in (*self._users, *self._idle)):
            resolver = self._resolvers.pop(service.key, None)
            if resolver is not None:
                resolver.close()

    def _open_client(self) -> ZooKeeperClient:
        """The client; a new one if there is none, or its session is over for good."""
        if self._client is not None and self._client.state in _OVER:
            self._stop().addErrback(self._not_closed)
        if self._client is None:
            self._client = self._connect()
            self._client.connect().addErrback(self._not_connected)
            if hasattr(self._reactor, "addSystemEventTrigger"):
                self._trigger = self._reactor.addSystemEventTrigger(
                    "before", "shutdown", self._shut_down
                )
        return self._client

    def _shut_down(self) -> Deferred[None]:
        """Close the session before the reactor stops."""
        self._trigger = None
        return self._stop()

    def _stop(self) -> Deferred[None]:
        self._alarm.cancel()
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._reactor.removeSystemEventTrigger(trigger)
        for resolver in self._resolvers.values():
            resolver.close()
        self._resolvers.clear()
        client, self._client = self._client, None
        return succeed(None) if client is None else client.close()

    def _not_connected(self, failure: Failure) -> None:
        if not failure.check(ClientClosedError):
            self._log.error(
                "cannot connect to ZooKeeper for zk: endpoints: {error}; giving up",
                error=failure.getErrorMessage(),
            )

    def _not_closed(self, failure: Failure) -> None:
        self._log.debug("closing failed: {error}", error=failure.getErrorMessage())


def _strategy(service: Service) -> Strategy:
    strategy = STRATEGIES[service.balance](None)
    return PreferZone(service.zone, strategy) if service.zone else strategy


def _release(session: _Session, service: Service, reactor: Any) -> None:
    """Count one user less.

    A finalizer calls it in any thread, so it does its work in the reactor's.
    """
    if threadable.isInIOThread() or not hasattr(reactor, "callFromThread"):
        session.unused(service)
    else:
        reactor.callFromThread(session.unused, service)
