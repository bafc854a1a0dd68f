"""The requests that set and remove watches; their replies change a client's watchers."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from typing_extensions import override

from zkservice.client.calls import Call, Read, read_nothing
from zkservice.client.watch_manager import WatchManager
from zkservice.client.watchers import Watcher
from zkservice.errors import NoNodeError, NoWatcherError
from zkservice.wire.jute import encode
from zkservice.wire.records import WatcherType
from zkservice.wire.watches import WatchKind

__all__ = ["RemovingCall", "WatchingCall"]

_NO_NODE: Final = NoNodeError.code
_NO_WATCHER: Final = NoWatcherError.code


class WatchingCall(Call):
    """A request that sets a watch.  Its watcher is registered when the reply arrives.

    Before the reply it is unknown whether the server has set the watch (ZooKeeper.java,
    WatchRegistration).
    """

    __slots__ = (
        "_kind",
        "_may_be_missing",
        "_server_path",
        "_set_on_server",
        "_watches",
        "watcher",
    )

    def __init__(
        self,
        record: Any,
        path: str,
        read: Read,
        kind: WatchKind,
        watches: WatchManager,
        watcher: Watcher,
        set_on_server: WatchKind | None,
        *,
        may_be_missing: bool = False,
    ) -> None:
        """Make one.

        Args:
            record: the request.
            path: the path as the client names it.
            read: decodes the reply.
            kind: of the watcher.
            watches: where the watcher is registered.
            watcher: receives the events.
            set_on_server: the kind of watch that the request sets on the server, which may be a
                stronger one; None if it sets none.
            may_be_missing: whether the watch is set on a missing node, too.
        """
        super().__init__(record.opcode, path, encode(record), read)
        self._kind = kind
        self._set_on_server = set_on_server
        self._server_path: str = record.path
        self._watches = watches
        self.watcher = watcher
        self._may_be_missing = may_be_missing
        watches.pending[kind, self._server_path] += 1

    @override
    def succeed(self, reply: bytes) -> None:
        self._watch_was_set(self._kind)
        super().succeed(reply)

    @override
    def refuse(self, code: int) -> None:
        if not self._may_be_missing or code != _NO_NODE:
            super().refuse(code)
            return
        self._watch_was_set(WatchKind.EXIST)
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            deferred.callback(None)

    @override
    def fail(self, error: Exception) -> None:
        self._no_longer_pending()
        self._watches.request_ended(self._server_path)
        super().fail(error)

    @override
    def cancelled(self, deferred: Deferred[Any]) -> None:
        if not self.xid:
            self._no_longer_pending()
            self._watches.request_ended(self._server_path)
        super().cancelled(deferred)

    def _watch_was_set(self, kind: WatchKind) -> None:
        """Register the watcher, now that the server has set the watch."""
        self._watches.register(kind, self._server_path, self.watcher)
        self._no_longer_pending()
        if self.deferred is None or not self.watcher.wanted:  # cancelled meanwhile
            self.watcher.drop()
        else:
            self._watches.check_mode(kind, self._server_path, self._set_on_server)
        self._watches.request_ended(self._server_path)

    def _no_longer_pending(self) -> None:
        pending, key = self._watches.pending, (self._kind, self._server_path)
        pending[key] -= 1
        if pending[key] <= 0:
            del pending[key]


class RemovingCall(Call):
    """A request that removes watches.  The client's watchers are removed at the reply.

    That happens even if the call was cancelled.  Otherwise they would wait for events that the
    server does not send any more.
    """

    __slots__ = ("_server_path", "_type", "_watches")

    def __init__(self, record: Any, path: str, type: WatcherType, watches: WatchManager) -> None:
        super().__init__(record.opcode, path, encode(record), read_nothing)
        self._server_path: str = record.path
        self._type = type
        self._watches = watches

    @override
    def succeed(self, reply: bytes) -> None:
        self._watches.remove_watchers(self._server_path, self._type)
        super().succeed(reply)

    @override
    def refuse(self, code: int) -> None:
        if code == _NO_WATCHER and self._watches.remove_watchers(self._server_path, self._type):
            super().succeed(b"")  # they were derived from a stronger watch on the server
            return
        self._watches.restore(self._server_path)
        super().refuse(code)
