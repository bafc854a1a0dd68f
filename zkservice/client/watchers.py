"""Receivers of the events of a watch: a Deferred for one event, or a callback for all."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from typing_extensions import override

from zkservice.client.subscribers import call_and_log_errors
from zkservice.errors import AuthFailedError, SessionExpiredError
from zkservice.wire.watches import EventType, KeeperState, WatchEvent, WatchKind

__all__ = ["OneShot", "PersistentWatch", "Placeholder", "WatchCallback", "Watcher"]

WatchCallback = Callable[[WatchEvent], object]


class Watcher:
    """Receives the events of one watch."""

    @property
    def wanted(self) -> bool:
        """Whether events are still wanted."""
        raise NotImplementedError

    def drop(self) -> object:
        """Remove the watch from the server; no more events are wanted."""
        raise NotImplementedError

    def notify(self, event: WatchEvent) -> None:
        """Receive an event."""
        raise NotImplementedError

    def fail(self, error: Exception, path: str) -> None:
        """Receive the error that ends the watch."""
        raise NotImplementedError


class OneShot(Watcher):
    """A Deferred that fires with the first event."""

    def __init__(self, forget: Callable[[OneShot], None]) -> None:
        self._forget = forget
        self.deferred: Deferred[WatchEvent] = Deferred(lambda _: self.drop())
        self.place: tuple[WatchKind, str] | None = None  # its kind and path in the table
        self._wanted = True

    @property
    @override
    def wanted(self) -> bool:
        return self._wanted

    @override
    def drop(self) -> None:
        self._wanted = False
        self._forget(self)

    @override
    def notify(self, event: WatchEvent) -> None:
        if self._wanted:
            self._wanted = False
            self.deferred.callback(event)

    @override
    def fail(self, error: Exception, path: str) -> None:
        if self._wanted:
            self._wanted = False
            self.deferred.errback(error)


class PersistentWatch(Watcher):
    """A callback for every event, until it is cancelled or the session is over."""

    _log = Logger()

    def __init__(self, callback: WatchCallback, withdraw: Callable[[], Deferred[None]]) -> None:
        self._callback = callback
        self._withdraw: Callable[[], Deferred[None]] | None = withdraw

    @property
    @override
    def wanted(self) -> bool:
        return self._withdraw is not None

    @override
    def drop(self) -> object:
        return self.cancel()

    def cancel(self) -> Deferred[None]:
        """End the watch.  It may be called several times.

        Returns:
            Fires when the watch is removed from the server, or cannot be removed.  Never fails.
        """
        withdraw, self._withdraw = self._withdraw, None
        return succeed(None) if withdraw is None else withdraw()

    @override
    def notify(self, event: WatchEvent) -> None:
        if self._withdraw is None:
            return
        if event.type is EventType.PERSISTENT_WATCH_REMOVED:
            self._withdraw = None
        call_and_log_errors(self._log, self._callback, event)

    @override
    def fail(self, error: Exception, path: str) -> None:
        state = KeeperState.CLOSED
        if isinstance(error, SessionExpiredError):
            state = KeeperState.EXPIRED
        elif isinstance(error, AuthFailedError):
            state = KeeperState.AUTH_FAILED
        self.notify(WatchEvent(EventType.NONE, state, path))
        self._withdraw = None


class Placeholder(Watcher):
    """Keeps a watch in the table, and so on the server, after its watcher has gone."""

    @property
    @override
    def wanted(self) -> bool:
        return False

    @override
    def drop(self) -> None:
        """Do nothing: the manager withdraws the watch."""

    @override
    def notify(self, event: WatchEvent) -> None:
        """Do nothing."""

    @override
    def fail(self, error: Exception, path: str) -> None:
        """Do nothing."""
