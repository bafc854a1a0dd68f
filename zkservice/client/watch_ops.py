"""The operations that watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from zkservice.client.replies import read_children, read_data, read_stat
from zkservice.client.request_mixin import RequestMixin
from zkservice.client.watch_manager import MODES, RemovingCall, WatchingCall, WatchManager
from zkservice.client.watchers import PersistentWatch, WatchCallback, Watcher
from zkservice.errors import NoWatcherError, ZooKeeperError
from zkservice.wire.records import (
    AddWatchRequest,
    CheckWatchesRequest,
    ExistsRequest,
    GetChildrenRequest,
    GetDataRequest,
    Stat,
    WatcherType,
)
from zkservice.wire.watches import WatchEvent, WatchKind


class WatchOperations(RequestMixin):
    """The operations that set watches, and those that remove them.

    The methods with ``_and_watch`` return two Deferreds: one for the value, one that fires
    once, with the next event.  After a reconnect the watch is set again, and fires if the
    change happened meanwhile.  It fails with `SessionExpiredError` or `ClientClosedError`
    when there will be no event any more.  If the value's Deferred fails, is cancelled or
    times out there is no watch, and its Deferred never fires.  Cancelling the watch's takes
    the watch away.
    """

    _watches: WatchManager

    def exists_and_watch(
        self, path: str, *, timeout: float | None = None
    ) -> tuple[Deferred[Stat | None], Deferred[WatchEvent]]:
        """As `exists`, and a Deferred that fires when it is created, set or deleted."""
        return self._watch(
            ExistsRequest, path, read_stat, WatchKind.DATA, timeout, missing_is_answer=True
        )

    def get_and_watch(
        self, path: str, *, timeout: float | None = None
    ) -> tuple[Deferred[tuple[bytes, Stat]], Deferred[WatchEvent]]:
        """As `get`, and a Deferred that fires when the node is set or deleted."""
        return self._watch(GetDataRequest, path, read_data, WatchKind.DATA, timeout)

    def get_children_and_watch(
        self, path: str, *, timeout: float | None = None
    ) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        """As `get_children`, and a Deferred for the next child that comes or goes.

        It fires, too, when the node itself is deleted.
        """
        return self._watch(GetChildrenRequest, path, read_children, WatchKind.CHILD, timeout)

    def add_watch(
        self,
        path: str,
        callback: WatchCallback,
        recursive: bool = False,
        *,
        timeout: float | None = None,
    ) -> Deferred[PersistentWatch]:
        """Call back with every event on a node, whether it is there or not.

        Needs servers from 3.6 on.  The watch is set again after a reconnect, but changes
        that happen while there is no connection cause no call: read again when `subscribe`
        reports `State.CONNECTED`.  When the session is over the callback is called once
        more, with `EventType.NONE` and the reason as the state.

        Beside a recursive watch on the same path, a plain one learns of a changed list from
        the child that came or went, so not of children that this client may not read.

        Args:
            path: absolute.
            callback: called with a `WatchEvent`; it may call anything, and what goes wrong
                in it is logged.
            recursive: watch all nodes below it, too; there are no events for changed lists
                of children then, since each created or deleted child has its own.
            timeout: seconds to wait for the reply.

        Returns:
            Fires with a handle; its ``cancel()`` ends the watch, on the server as well.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        kind = WatchKind.RECURSIVE if recursive else WatchKind.PERSISTENT
        try:
            place = self._at(path)
            asked = self._watches.mode_for(kind, place)
            record = AddWatchRequest(place, MODES[asked])
        except ZooKeeperError:
            return fail()
        watch = self._watches.persistent(place, kind, callback)
        call = WatchingCall(record, path, lambda _: watch, kind, self._watches, watch, asked)
        return self._submit(call, timeout)

    def check_watches(
        self,
        path: str,
        type: WatcherType = WatcherType.ANY,
        *,
        timeout: float | None = None,
    ) -> Deferred[bool]:
        """Whether the server has a watch of this connection on the path.

        Args:
            path: absolute; of a recursive watch, exactly the one it was set on.
            type: which; the persistent types need servers from 3.9 on.
            timeout: seconds to wait for the reply.
        """
        try:
            place = self._at(path)
        except ZooKeeperError:
            return fail()
        record = CheckWatchesRequest(place, self._watches.type_on_server(place, type))
        return self._send(record, path, lambda _: True, timeout).addErrback(_is_not_there)

    def remove_watches(
        self,
        path: str,
        type: WatcherType = WatcherType.ANY,
        *,
        timeout: float | None = None,
    ) -> Deferred[None]:
        """Remove all watches of a type from a path, on the server and here.

        Their watchers receive one of the events ``..._WATCH_REMOVED``.

        Args:
            path: absolute; of a recursive watch, exactly the one it was set on.
            type: which; the persistent types need servers from 3.9 on.
            timeout: seconds to wait for the reply.

        Fails with:
            NoWatcherError: there is no such watch.
        """
        try:
            record = self._watches.removal(self._at(path), type)
            call = RemovingCall(record, path, type, self._watches)
        except ZooKeeperError:
            return fail()
        return self._submit(call, timeout)

    def _watch(
        self,
        record_type: type[Any],
        path: str,
        read: Callable[[bytes], Any],
        kind: WatchKind,
        timeout: float | None,
        *,
        missing_is_answer: bool = False,
    ) -> tuple[Deferred[Any], Deferred[WatchEvent]]:
        watcher = self._watches.one_shot()
        try:
            place = self._at(path)
            asked = None if self._watches.covered(kind, place) else kind
            record = record_type(place, asked is not None)
        except ZooKeeperError:
            return fail(), watcher.deferred
        call = WatchingCall(
            record,
            path,
            read,
            kind,
            self._watches,
            watcher,
            asked,
            missing_is_answer=missing_is_answer,
        )
        return self._submit(call, timeout).addErrback(_unwatched, watcher), watcher.deferred


def _is_not_there(failure: Failure) -> bool:
    failure.trap(NoWatcherError)
    return False


def _unwatched(failure: Failure, watcher: Watcher) -> Failure:
    """Without a value there is no watch, even if the server has set it."""
    watcher.drop()
    return failure
