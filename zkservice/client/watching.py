"""Those who wait for watch events, and what a server is told about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from typing_extensions import override

from zkservice.client.calls import Call, Read, call_for, nothing
from zkservice.client.listeners import call_out
from zkservice.errors import (
    AuthFailedError,
    SessionExpiredError,
    UnimplementedError,
    ZooKeeperError,
)
from zkservice.wire.jute import encode
from zkservice.wire.paths import Chroot
from zkservice.wire.records import (
    AddWatchMode,
    AddWatchRequest,
    RemoveWatchesRequest,
    WatcherEvent,
    WatcherType,
)
from zkservice.wire.watches import EventType, KeeperState, WatchEvent, WatchKind, WatchTable

_NO_NODE: Final = -101

_MODES: Final = {
    WatchKind.PERSISTENT: AddWatchMode.PERSISTENT,
    WatchKind.RECURSIVE: AddWatchMode.PERSISTENT_RECURSIVE,
}
_TYPES: Final = {
    WatchKind.PERSISTENT: WatcherType.PERSISTENT,
    WatchKind.RECURSIVE: WatcherType.PERSISTENT_RECURSIVE,
}
#: What each type of removal takes away (ZKWatchManager.removeWatcher), and what it is called.
_REMOVES: Final = {
    WatcherType.CHILDREN: (WatchKind.CHILD,),
    WatcherType.DATA: (WatchKind.DATA, WatchKind.EXIST),
    WatcherType.ANY: tuple(WatchKind),
    WatcherType.PERSISTENT: (WatchKind.PERSISTENT,),
    WatcherType.PERSISTENT_RECURSIVE: (WatchKind.RECURSIVE,),
}
_REMOVED: Final = {
    WatchKind.DATA: EventType.DATA_WATCH_REMOVED,
    WatchKind.EXIST: EventType.DATA_WATCH_REMOVED,
    WatchKind.CHILD: EventType.CHILD_WATCH_REMOVED,
    WatchKind.PERSISTENT: EventType.PERSISTENT_WATCH_REMOVED,
    WatchKind.RECURSIVE: EventType.PERSISTENT_WATCH_REMOVED,
}

WatchCallback = Callable[[WatchEvent], object]


class Watcher:
    """Somebody whom events are for."""

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for events."""
        raise NotImplementedError

    def drop(self) -> object:
        """Nobody waits any more: tell the server, and say nothing."""
        raise NotImplementedError

    def notify(self, event: WatchEvent) -> None:
        """An event came."""
        raise NotImplementedError

    def fail(self, error: Exception, path: str) -> None:
        """There will be no event any more."""
        raise NotImplementedError


class OneShot(Watcher):
    """A Deferred that fires with the first event."""

    def __init__(self, forget: Callable[[OneShot], None]) -> None:
        self._forget = forget
        self.deferred: Deferred[WatchEvent] = Deferred(lambda _: self.drop())
        self.place: tuple[WatchKind, str] | None = None  # where it is in the table
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

    def __init__(self, callback: WatchCallback, give_up: Callable[[], Deferred[None]]) -> None:
        self._callback = callback
        self._give_up: Callable[[], Deferred[None]] | None = give_up

    @property
    @override
    def wanted(self) -> bool:
        return self._give_up is not None

    @override
    def drop(self) -> object:
        return self.cancel()

    def cancel(self) -> Deferred[None]:
        """Hear nothing more; twice is fine.

        Returns:
            Fires when the server has been told, if it can be.  It does not fail.
        """
        give_up, self._give_up = self._give_up, None
        return succeed(None) if give_up is None else give_up()

    @override
    def notify(self, event: WatchEvent) -> None:
        if self._give_up is None:
            return
        if event.type is EventType.PERSISTENT_WATCH_REMOVED:
            self._give_up = None
        call_out(self._log, self._callback, event)

    @override
    def fail(self, error: Exception, path: str) -> None:
        state = KeeperState.CLOSED
        if isinstance(error, SessionExpiredError):
            state = KeeperState.EXPIRED
        elif isinstance(error, AuthFailedError):
            state = KeeperState.AUTH_FAILED
        self.notify(WatchEvent(EventType.NONE, state, path))
        self._give_up = None


class WatchingCall(Call):
    """A request that sets a watch: the watcher is registered when the reply says that it is.

    On the reply, not on the request: before it the server has no watch (ZooKeeper.java,
    WatchRegistration).
    """

    __slots__ = ("_if_missing", "_kind", "_place", "_watches", "watcher")

    def __init__(
        self,
        record: Any,
        path: str,
        read: Read,
        kind: WatchKind,
        watches: Watches,
        watcher: Watcher,
        *,
        missing_is_answer: bool = False,
    ) -> None:
        super().__init__(record.opcode, path, encode(record), read)
        self._kind = kind
        self._place: str = record.path
        self._watches = watches
        self.watcher = watcher
        self._if_missing = missing_is_answer
        watches.coming[self._place] += 1

    @override
    def succeed(self, reply: bytes) -> None:
        self._is_set(self._kind)
        super().succeed(reply)

    @override
    def refuse(self, code: int) -> None:
        if not self._if_missing or code != _NO_NODE:
            super().refuse(code)
            return
        self._is_set(WatchKind.EXIST)
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            deferred.callback(None)

    @override
    def fail(self, error: Exception) -> None:
        self._settled()
        super().fail(error)

    @override
    def cancelled(self, deferred: Deferred[Any]) -> None:
        if not self.xid:
            self._settled()
        super().cancelled(deferred)

    def _is_set(self, kind: WatchKind) -> None:
        """The server has the watch."""
        self._watches.register(kind, self._place, self.watcher)
        self._settled()
        if self.deferred is None or not self.watcher.wanted:  # nobody has it any more
            self.watcher.drop()

    def _settled(self) -> None:
        coming = self._watches.coming
        coming[self._place] -= 1
        if coming[self._place] <= 0:
            del coming[self._place]


class RemovingCall(Call):
    """A request that removes watches: if the server has done it, so do we.

    That goes for one that nobody waits for any more, too; otherwise the watches would stay
    here, and nobody would be told that they are gone.
    """

    __slots__ = ("_place", "_type", "_watches")

    def __init__(self, record: Any, path: str, type: WatcherType, watches: Watches) -> None:
        super().__init__(record.opcode, path, encode(record), nothing)
        self._place: str = record.path
        self._type = type
        self._watches = watches

    @override
    def succeed(self, reply: bytes) -> None:
        self._watches.removed(self._place, self._type)
        super().succeed(reply)


class Watches:
    """A client's watchers, by the server's paths; events are told with the client's."""

    def __init__(self, chroot: Chroot, send: Callable[[Call], None]) -> None:
        """Begin with none.

        Args:
            chroot: is taken off the paths of events.
            send: sends a call at once, or fails it; such calls are not worth a wait.
        """
        self._chroot = chroot
        self._send = send
        self._removable = True  # the server knows how to remove watches
        self.table: WatchTable[Watcher] = WatchTable()
        #: How many requests that set a watch on a path are not answered yet.
        self.coming: Counter[str] = Counter()

    def one_shot(self) -> OneShot:
        """A watcher for one event."""
        return OneShot(self._forget)

    def persistent(self, path: str, kind: WatchKind, callback: WatchCallback) -> PersistentWatch:
        """A watcher for every event on a server's path."""

        def give_up() -> Deferred[None]:
            if not self.table.discard(kind, path, watch) or self.table.has(kind, path):
                return succeed(None)
            return self._remove(path, _TYPES[kind])

        watch = PersistentWatch(callback, give_up)
        return watch

    def register(self, kind: WatchKind, path: str, watcher: Watcher) -> None:
        """The server has set a watch."""
        if isinstance(watcher, OneShot):
            watcher.place = kind, path
        self.table.add(kind, path, watcher)

    def _forget(self, watcher: OneShot) -> None:
        if watcher.place is None or not self.table.discard(*watcher.place, watcher):
            return
        _, path = watcher.place
        # Servers before 3.9 would take persistent watches along with it.
        if not self.table.at(path) and path not in self.coming:
            self._remove(path, WatcherType.ANY)

    def _remove(self, path: str, kind: WatcherType) -> Deferred[None]:
        """Tell the server that nobody listens.  If it does not understand, so be it."""
        alone = not self.table.at(path) and path not in self.coming
        if not self._removable:
            return succeed(None)
        # Servers before 3.9 do not know the types of persistent watches.
        type = WatcherType.ANY if alone else kind
        call = call_for(RemoveWatchesRequest(path, type), self._chroot.strip(path), nothing)
        assert call.deferred is not None
        removed: Deferred[None] = call.deferred
        removed.addErrback(self._not_removed)
        self._send(call)
        return removed

    def _not_removed(self, failure: Any) -> None:
        failure.trap(ZooKeeperError)
        if failure.check(UnimplementedError):  # before 3.5; it hangs up on us for asking
            self._removable = False

    def removed(self, path: str, kind: WatcherType) -> None:
        """The server has removed watches of a type from its path, as we asked it to."""
        gone = [(kept, watcher) for kept, watcher in self.table.at(path) if kept in _REMOVES[kind]]
        for kept, watcher in gone:
            self.table.discard(kept, path, watcher)
        for kept, watcher in gone:
            watcher.notify(
                WatchEvent(_REMOVED[kept], KeeperState.SYNC_CONNECTED, self._chroot.strip(path))
            )
        self.repeat(path)

    def repeat(self, path: str) -> None:
        """Set a path's persistent watches again.

        A server before 3.9 has one watch for a connection and a path: a one-shot watch
        replaces a persistent one, and is removed with it (WatcherModeManager.java).
        """
        for kind, mode in _MODES.items():
            if self.table.has(kind, path):
                call = call_for(AddWatchRequest(path, mode), self._chroot.strip(path), nothing)
                assert call.deferred is not None
                call.deferred.addErrback(lambda failure: None)
                self._send(call)

    def repeat_behind(self) -> None:
        """The same where requests have waited for a connection that replace such watches."""
        for path in list(self.coming):
            self.repeat(path)

    def received(self, event: WatcherEvent) -> None:
        """Hand an event on; one that nobody waits for any more is nobody's business."""
        try:
            kind = EventType(event.type)
        except ValueError:
            return  # from a newer server
        told = WatchEvent(kind, KeeperState.SYNC_CONNECTED, self._chroot.strip(event.path))
        for watcher in self.table.take(kind, event.path):
            watcher.notify(told)

    def fail_all(self, make_error: Callable[[str], Exception]) -> None:
        """The session is over, and with it all watches; each is told an error of its own."""
        for server_path, watcher in self.table.clear():
            path = self._chroot.strip(server_path)
            watcher.fail(make_error(path), path)
