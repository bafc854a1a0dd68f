"""The operations that watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from zkservice.client.replies import read_children, read_data, read_stat
from zkservice.client.request_mixin import RequestMixin
from zkservice.client.watch_calls import RemovingCall, WatchingCall
from zkservice.client.watch_manager import MODES, WatchManager
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
    times out there is no watch, and its Deferred never fires.  Cancelling the second Deferred
    removes the watch.
    """

    _watches: WatchManager

    def exists_and_watch(
        self, path: str, *, timeout: float | None = None
    ) -> tuple[Deferred[Stat | None], Deferred[WatchEvent]]:
        """As `exists`, and a Deferred that fires when the node is created, set or deleted."""
        return self._watch(
            ExistsRequest, path, read_stat, WatchKind.DATA, timeout, may_be_missing=True
        )

    def get_and_watch(
        self, path: str, *, timeout: float | None = None
    ) -> tuple[Deferred[tuple[bytes, Stat]], Deferred[WatchEvent]]:
        """As `get`, and a Deferred that fires when the node is set or deleted."""
        return self._watch(GetDataRequest, path, read_data, WatchKind.DATA, timeout)

    def get_children_and_watch(
        self, path: str, *, timeout: float | None = None
    ) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        """As `get_children`, and a Deferred that fires when a child is created or deleted.

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
        """Call back with every event on a node, whether it exists or not.

        Needs servers from 3.6 on.  The watch is set again after a reconnect, but changes
        that happen while there is no connection cause no call: read again when `subscribe`
        reports `State.CONNECTED`.  When the session is over the callback is called once
        more, with `EventType.NONE` and the reason as the state.

        If this client has a recursive watch on the same path, too, there is no event for a
        child that is created or deleted and that this client may not read.

        Args:
            path: absolute.
            callback: called with a `WatchEvent`; it may call any method, and what it raises is
                logged.
            recursive: watch all nodes below it, too.  There is no event "children changed"
                then: each child that is created or deleted has an event of its own.
            timeout: seconds to wait for the reply.

        Returns:
            Fires with a handle; its ``cancel()`` ends the watch, on the server as well.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        kind = WatchKind.RECURSIVE if recursive else WatchKind.PERSISTENT
        try:
            server_path = self._server_path(path)
            mode = self._watches.mode_for(kind, server_path)
            record = AddWatchRequest(server_path, MODES[mode])
        except ZooKeeperError:
            return fail()
        watch = self._watches.persistent(server_path, kind, callback)
        call = WatchingCall(record, path, lambda _: watch, kind, self._watches, watch, mode)
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
            path: absolute; for a recursive watch, the path on which it was set.
            type: the type of watch; the persistent types need servers from 3.9 on.
            timeout: seconds to wait for the reply.
        """
        try:
            server_path = self._server_path(path)
        except ZooKeeperError:
            return fail()
        record = CheckWatchesRequest(server_path, self._watches.type_on_server(server_path, type))
        return self._send_record(record, path, lambda _: True, timeout).addErrback(
            _false_if_missing
        )

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
            path: absolute; for a recursive watch, the path on which it was set.
            type: the type of watch; the persistent types need servers from 3.9 on.
            timeout: seconds to wait for the reply.

        Fails with:
            NoWatcherError: there is no such watch.
        """
        try:
            record = self._watches.removal_request(self._server_path(path), type)
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
        may_be_missing: bool = False,
    ) -> tuple[Deferred[Any], Deferred[WatchEvent]]:
        watcher = self._watches.one_shot()
        try:
            server_path = self._server_path(path)
            set_on_server = None if self._watches.covered(kind, server_path) else kind
            record = record_type(server_path, set_on_server is not None)
        except ZooKeeperError:
            return fail(), watcher.deferred
        call = WatchingCall(
            record,
            path,
            read,
            kind,
            self._watches,
            watcher,
            set_on_server,
            may_be_missing=may_be_missing,
        )
        return self._submit(call, timeout).addErrback(_drop_watcher, watcher), watcher.deferred


def _false_if_missing(failure: Failure) -> bool:
    failure.trap(NoWatcherError)
    return False


def _drop_watcher(failure: Failure, watcher: Watcher) -> Failure:
    """Drop the watch of a read that failed, even if the server has set it."""
    watcher.drop()
    return failure
