"""Those who wait for a watch event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from typing_extensions import override

from zkservice.client.calls import Call, Read
from zkservice.wire.jute import encode
from zkservice.wire.paths import Chroot
from zkservice.wire.records import WatcherEvent
from zkservice.wire.watches import EventType, KeeperState, WatchEvent, WatchKind, WatchTable

_NO_NODE: Final = -101


class Watcher:
    """Somebody whom events are for."""

    def notify(self, event: WatchEvent) -> None:
        """An event came, or the session's end (`EventType.NONE`)."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """There will be no event any more."""
        raise NotImplementedError


class OneShot(Watcher):
    """A Deferred that fires with the first event."""

    def __init__(self, forget: Callable[[OneShot], None]) -> None:
        self._forget = forget
        self.deferred: Deferred[WatchEvent] = Deferred(self._cancelled)
        self.place: tuple[WatchKind, str] | None = None  # where it is in the table
        self.wanted = True

    def _cancelled(self, _: Deferred[WatchEvent]) -> None:
        self.wanted = False
        self._forget(self)

    @override
    def notify(self, event: WatchEvent) -> None:
        if self.wanted:
            self.wanted = False
            self.deferred.callback(event)

    @override
    def fail(self, error: Exception) -> None:
        if self.wanted:
            self.wanted = False
            self.deferred.errback(error)


class WatchingCall(Call):
    """A read that sets a watch: the watcher is registered when the reply says that it is set.

    On the reply, not on the request: before it the server has no watch (ZooKeeper.java,
    WatchRegistration).
    """

    __slots__ = ("_if_missing", "_kind", "_place", "_register")

    def __init__(
        self,
        record: Any,
        path: str,
        read: Read,
        kind: WatchKind,
        register: Callable[[WatchKind, str], None],
        *,
        missing_is_answer: bool,
    ) -> None:
        super().__init__(record.opcode, path, encode(record), read)
        self._kind = kind
        self._place = record.path
        self._register = register
        self._if_missing = missing_is_answer

    @override
    def succeed(self, reply: bytes) -> None:
        self._register(self._kind, self._place)
        super().succeed(reply)

    @override
    def refuse(self, code: int) -> None:
        if not self._if_missing or code != _NO_NODE:
            super().refuse(code)
            return
        self._register(WatchKind.EXIST, self._place)
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            deferred.callback(None)


class Watches:
    """A client's watchers, by the server's paths; events are told with the client's."""

    def __init__(self, chroot: Chroot) -> None:
        self._chroot = chroot
        self.table: WatchTable[Watcher] = WatchTable()

    def one_shot(self) -> tuple[OneShot, Callable[[WatchKind, str], None]]:
        """A new watcher, and what a `WatchingCall` registers it with."""
        watcher = OneShot(self._forget)

        def register(kind: WatchKind, path: str) -> None:
            if watcher.wanted:
                watcher.place = kind, path
                self.table.add(kind, path, watcher)

        return watcher, register

    def _forget(self, watcher: OneShot) -> None:
        if watcher.place is not None:
            self.table.discard(*watcher.place, watcher)

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
        for path, watcher in self.table.clear():
            watcher.fail(make_error(self._chroot.strip(path)))
