"""The watches that the server has for a client's watchers.

Before ZooKeeper 3.9 a connection has one mode of watch at a path (ZOOKEEPER-4466): a plain read
with a watch replaces a persistent watch, and a persistent one replaces a recursive one.  A client
cannot tell which release the server is.  So if a path has several watches, the client asks the
server only for the strongest mode (`strongest`), and derives the events of the others from it.
Reads at such a path set no watch of their own.

Requests and replies overlap, so the needed mode is checked again at each reply.  When a watch goes
away from which one-shot watches were derived, they are set with SetWatches.  Its zxid makes the
server report changes that happened meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed

from zkservice.client.calls import Call, call_for, read_nothing
from zkservice.client.watchers import (
    OneShot,
    PersistentWatch,
    Placeholder,
    WatchCallback,
    Watcher,
)
from zkservice.errors import (
    NoWatcherError,
    UnimplementedError,
    ZooKeeperError,
)
from zkservice.wire.paths import Chroot
from zkservice.wire.records import (
    AddWatchMode,
    AddWatchRequest,
    CheckWatchesRequest,
    RemoveWatchesRequest,
    SetWatches,
    SetWatches2,
    WatcherEvent,
    WatcherType,
)
from zkservice.wire.watches import (
    ONE_SHOT,
    ClientWatchTable,
    EventType,
    KeeperState,
    WatchEvent,
    WatchKind,
    covers,
    strongest,
)

MODES: Final = {
    WatchKind.PERSISTENT: AddWatchMode.PERSISTENT,
    WatchKind.RECURSIVE: AddWatchMode.PERSISTENT_RECURSIVE,
}
_REMOVAL_TYPES: Final = {
    WatchKind.PERSISTENT: WatcherType.PERSISTENT,
    WatchKind.RECURSIVE: WatcherType.PERSISTENT_RECURSIVE,
}
#: The kinds of watches that each type of removal removes (ZKWatchManager.removeWatcher), and the
#: event that reports the removal of each kind.
_REMOVES: Final[dict[int, tuple[WatchKind, ...]]] = {
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


class WatchManager:
    """A client's watchers, by the server's paths; events have the client's paths."""

    def __init__(
        self, chroot: Chroot, send: Callable[[Call], None], last_zxid: Callable[[], int]
    ) -> None:
        """Make an empty manager.

        Args:
            chroot: is removed from the paths of events.
            send: sends a call at once, or fails it; such calls do not wait for a connection.
            last_zxid: returns the zxid of the last change that the connection has seen.
        """
        self._chroot = chroot
        self._send = send
        self._last_zxid = last_zxid
        self._can_remove = True  # whether the server knows RemoveWatches
        self._ever_persistent = False  # lets clients without persistent watches skip all checks
        self.table: ClientWatchTable[Watcher] = ClientWatchTable()
        #: The number of pending requests for a kind of watch on a path.
        self.pending: Counter[tuple[WatchKind, str]] = Counter()
        #: Cancelled persistent watches, by path, that stay until these requests have their replies.
        self._kept: dict[str, dict[WatchKind, Placeholder]] = {}

    def one_shot(self) -> OneShot:
        """A watcher for one event."""
        return OneShot(self._forget)

    def persistent(self, path: str, kind: WatchKind, callback: WatchCallback) -> PersistentWatch:
        """A watcher for every event on a server's path."""
        self._ever_persistent = True

        def withdraw() -> Deferred[None]:
            if not self.table.discard(kind, path, watch):
                return succeed(None)
            return self._withdraw(kind, path)

        watch = PersistentWatch(callback, withdraw)
        return watch

    # -- the request for a watch

    def mode_for(self, kind: WatchKind, path: str) -> WatchKind:
        """The mode that AddWatch asks for when a persistent watch is added to a path."""
        return strongest({kind, *self._wanted_modes(path)}) or kind

    def covered(self, kind: WatchKind, path: str) -> bool:
        """Whether a read needs no watch of its own: a persistent one at the path covers it."""
        return self._ever_persistent and covers(strongest(self._wanted_modes(path)), kind)

    def _wanted_modes(self, path: str) -> list[WatchKind]:
        return [kind for kind in MODES if self._is_wanted(kind, path)]

    def _wanted(self, path: str) -> set[WatchKind]:
        """The kinds that have a watcher at a path, or a request under way."""
        return {kind for kind in WatchKind if self._is_wanted(kind, path)}

    def _is_wanted(self, kind: WatchKind, path: str) -> bool:
        if (kind, path) in self.pending:
            return True
        return self.table.has(kind, path) and any(
            watcher.wanted for watcher in self.table.of(kind, path)
        )

    # -- replies

    def register(self, kind: WatchKind, path: str, watcher: Watcher) -> None:
        """Add a watcher: the server has set its watch."""
        if isinstance(watcher, OneShot):
            watcher.place = kind, path
        self.table.add(kind, path, watcher)

    def check_mode(self, kind: WatchKind, path: str, set_on_server: WatchKind | None) -> None:
        """Make sure that the server has the mode for a watch that was registered.

        Other watches at the path may have come or gone while its request was under way.

        Args:
            kind: the kind of the watch.
            path: the server's path.
            set_on_server: the kind that its request has set on the server; None for none.
        """
        present = [mode for mode in MODES if self.table.has(mode, path)]
        mode = strongest(present)
        if kind is WatchKind.RECURSIVE:
            if self.table.has(WatchKind.CHILD, path):  # before 3.9 this replaces that watch
                self._set_one_shots(path, [WatchKind.CHILD])
        elif kind is WatchKind.PERSISTENT:
            recursive = set_on_server is WatchKind.RECURSIVE
            if recursive and not self._is_wanted(WatchKind.RECURSIVE, path):
                self._downgrade(path)  # the recursive watch was cancelled meanwhile
        elif set_on_server is None and not covers(mode, kind):
            # The persistent watch from which the events were to be derived is gone.
            self._set_one_shots(path, [kind])
        elif set_on_server is not None and covers(mode, kind):
            # Before 3.9 this read has replaced a persistent watch that was set meanwhile.
            self.restore(path)

    def _set_one_shots(self, path: str, kinds: Collection[WatchKind]) -> None:
        """Set one-shot watches without a read; changes since the last reply fire them."""
        if not kinds:
            return
        paths = {kind: [path] if kind in kinds else [] for kind in WatchKind}
        self._send_quietly(set_watches(self._last_zxid(), paths), path)
        if any(self.covered(kind, path) for kind in kinds):
            # A persistent watch was requested meanwhile.  Before 3.9 these have replaced it.
            self.restore(path)

    def restore(self, path: str) -> None:
        """Set the persistent watch of a path again after another watch has replaced it."""
        mode = strongest(self._wanted_modes(path))
        if mode is not None:
            self._send_quietly(AddWatchRequest(path, MODES[mode]), path)
            if mode is WatchKind.RECURSIVE and self.table.has(WatchKind.CHILD, path):
                self._set_one_shots(path, [WatchKind.CHILD])

    def _send_quietly(self, record: Any, path: str) -> Deferred[None]:
        """Send a request and ignore its failure: a lost connection sets all watches again."""
        call = call_for(record, self._chroot.strip(path), read_nothing)
        assert call.deferred is not None
        done: Deferred[None] = call.deferred
        done.addErrback(lambda failure: None)
        self._send(call)
        return done

    # -- watches that end

    def _forget(self, watcher: OneShot) -> None:
        if watcher.place is None or not self.table.discard(*watcher.place, watcher):
            return
        _, path = watcher.place
        # Servers before 3.9 would remove persistent watches at the path, too.
        if not self._wanted(path):
            self._remove(path, WatcherType.ANY)

    def _withdraw(self, kind: WatchKind, path: str) -> Deferred[None]:
        """Remove a persistent watch from the server, except for what other watchers need."""
        wanted = self._wanted(path)
        if kind in wanted:
            return succeed(None)
        if not wanted:
            return self._remove(path, WatcherType.ANY)
        if self._has_pending_reads(path):
            # The pending reads may have relied on this watch instead of setting their own.  If
            # theirs were set only at the replies, a change could be reported after a reply that
            # shows it already.
            self._keep(kind, path)
            return succeed(None)
        if kind is WatchKind.RECURSIVE and WatchKind.PERSISTENT in wanted:
            return self._downgrade(path)
        if kind is WatchKind.PERSISTENT and WatchKind.RECURSIVE in wanted:
            return self._remove(path, WatcherType.PERSISTENT)
        self._set_one_shots(path, [kind for kind in ONE_SHOT if self.table.has(kind, path)])
        return self._remove_unneeded(path)

    def _has_pending_reads(self, path: str) -> bool:
        return any((kind, path) in self.pending for kind in ONE_SHOT)

    def _keep(self, kind: WatchKind, path: str) -> None:
        """Keep a cancelled watch on the server, also after a reconnect, until `request_ended`."""
        placeholder = self._kept.setdefault(path, {})[kind] = Placeholder()
        self.table.add(kind, path, placeholder)

    def request_ended(self, path: str) -> None:
        """Withdraw the watches that were kept for a path's requests, after the last of them."""
        if path not in self._kept or self._has_pending_reads(path):
            return
        for kind, placeholder in self._kept.pop(path).items():
            if self.table.discard(kind, path, placeholder):  # False if the session has ended
                self._withdraw(kind, path).addCallback(self._remove_unwanted, path)

    def _remove_unwanted(self, _: object, path: str) -> None:
        """Remove watches at a path that has no watchers any more.

        Servers before 3.9 keep half of a persistent watch after a one-shot watch has fired.
        """
        if not self._wanted(path):
            self._remove(path, WatcherType.ANY)

    def _downgrade(self, path: str) -> Deferred[None]:
        """Replace a recursive watch on the server by the persistent one that was derived from it.

        The events are derived until the server has set the persistent watch.
        """
        placeholder = Placeholder()
        self.table.add(WatchKind.RECURSIVE, path, placeholder)
        request = AddWatchRequest(path, MODES[WatchKind.PERSISTENT])

        def replaced(_: object) -> Deferred[None]:
            self.table.discard(WatchKind.RECURSIVE, path, placeholder)
            return self._remove_unneeded(path)

        return self._send_quietly(request, path).addCallback(replaced)

    def _remove_unneeded(self, path: str) -> Deferred[None]:
        """Remove the watches that are not needed at a path that still has other watchers.

        Servers since 3.9 know the types of persistent watches.  Older ones keep a persistent watch
        in the tables of data and child watches.
        """
        wanted = self._wanted(path)
        types = [_REMOVAL_TYPES[mode] for mode in MODES if mode not in wanted]
        if strongest(wanted) is None:
            if not wanted & {WatchKind.DATA, WatchKind.EXIST}:
                types.append(WatcherType.DATA)
            if WatchKind.CHILD not in wanted:
                types.append(WatcherType.CHILDREN)
        removed: Deferred[None] = succeed(None)
        for type in types:
            removed = self._remove(path, type)
        return removed

    def _remove(self, path: str, type: WatcherType) -> Deferred[None]:
        """Remove a type of watch from the server; errors are ignored."""
        if not self._can_remove:
            return succeed(None)
        call = call_for(RemoveWatchesRequest(path, type), self._chroot.strip(path), read_nothing)
        assert call.deferred is not None
        removed: Deferred[None] = call.deferred
        removed.addErrback(self._removal_failed)
        self._send(call)
        return removed

    def _removal_failed(self, failure: Any) -> None:
        failure.trap(ZooKeeperError)
        if failure.check(UnimplementedError):  # before 3.5; it closes the connection
            self._can_remove = False

    # -- removal by type

    def type_on_server(self, path: str, type: WatcherType) -> WatcherType:
        """The type that the server has for watchers of this type.

        It is ANY if their events may be derived from a stronger watch.
        """
        mode = strongest(self._wanted_modes(path))
        if mode is None or not self._has_any(path, type):
            return type
        return WatcherType.ANY

    def _has_any(self, path: str, type: int) -> bool:
        return any(self.table.has(kind, path) for kind in _REMOVES.get(type, ()))

    def removal_request(self, path: str, type: WatcherType) -> Any:
        """The request that removes only the watches of a type from a path.

        Raises:
            NoWatcherError: there is no such watch, and a request could remove others.
        """
        rest = self._wanted(path).difference(_REMOVES.get(type, ()))
        mode = strongest(rest)
        if type in (WatcherType.DATA, WatcherType.CHILDREN) and mode is not None:
            if not self._has_any(path, type):
                raise NoWatcherError(self._chroot.strip(path))
            return CheckWatchesRequest(path, WatcherType.ANY)  # the server's watch is still needed
        if type in (WatcherType.PERSISTENT, WatcherType.PERSISTENT_RECURSIVE):
            if mode is WatchKind.PERSISTENT:
                self._send_quietly(AddWatchRequest(path, MODES[mode]), path)
            elif mode is None and rest:
                self._set_one_shots(path, [kind for kind in ONE_SHOT if self.table.has(kind, path)])
        return RemoveWatchesRequest(path, type)

    def remove_watchers(self, path: str, type: int) -> bool:
        """Remove the watchers of a type; return False if there were none."""
        kinds = _REMOVES.get(type, ())
        removed = [(kind, watcher) for kind, watcher in self.table.at(path) if kind in kinds]
        # All are removed before any is notified, since the notified may set watches again.
        for kind, watcher in removed:
            self.table.discard(kind, path, watcher)
        for kind, watcher in removed:
            watcher.notify(
                WatchEvent(_REMOVED[kind], KeeperState.SYNC_CONNECTED, self._chroot.strip(path))
            )
        return bool(removed)

    # -- events

    def received(self, event: WatcherEvent, zxid: int) -> None:
        """Pass an event to its watchers; without any it is dropped.

        Args:
            event: the event from the server.
            zxid: the zxid in the reply header; -1 from servers before 3.9.
        """
        try:
            type = EventType(event.type)
        except ValueError:
            return  # an unknown type, from a newer server
        known_zxid = zxid if zxid > 0 else None
        state = KeeperState.SYNC_CONNECTED
        for derived, path, watcher in self.table.deliveries(type, event.path):
            watcher.notify(WatchEvent(derived, state, self._chroot.strip(path), known_zxid))

    def fail_all(self, make_error: Callable[[str], Exception]) -> None:
        """Fail all watches with errors of their own, because the session is over."""
        for server_path, watcher in self.table.clear():
            path = self._chroot.strip(server_path)
            watcher.fail(make_error(path), path)


def set_watches(last_zxid: int, paths: Mapping[WatchKind, list[str]]) -> SetWatches | SetWatches2:
    """The request that sets watches again; those with a change after ``last_zxid`` fire."""
    plain = (
        last_zxid,
        paths[WatchKind.DATA],
        paths[WatchKind.EXIST],
        paths[WatchKind.CHILD],
    )
    persistent, recursive = paths[WatchKind.PERSISTENT], paths[WatchKind.RECURSIVE]
    # Servers before 3.6 know only the first kind of request.
    if not (persistent or recursive):
        return SetWatches(*plain)
    return SetWatches2(*plain, persistent, recursive)
