"""The watches of all connections.

Source: WatchManager.java with the independent modes of 3.9, DataTree.setWatches.
A watch belongs to a connection, not to a session: it dies with the connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from zkservice.errors import MarshallingError, NoWatcherError
from zkservice.wire.records import WatcherType
from zkservice.wire.watches import EventType, WatchKind, WatchTable

if TYPE_CHECKING:
    from zkservice.embedded.connection import Connection

# The server keeps no EXIST watches: exists sets a DATA watch, on a missing node too.
_KINDS: Final[dict[int, tuple[WatchKind, ...]]] = {
    WatcherType.CHILDREN: (WatchKind.CHILD,),
    WatcherType.DATA: (WatchKind.DATA,),
    WatcherType.ANY: (
        WatchKind.CHILD,
        WatchKind.DATA,
        WatchKind.PERSISTENT,
        WatchKind.RECURSIVE,
    ),
    WatcherType.PERSISTENT: (WatchKind.PERSISTENT,),
    WatcherType.PERSISTENT_RECURSIVE: (WatchKind.RECURSIVE,),
}

_CONSUMED: Final[dict[EventType, tuple[WatchKind, ...]]] = {
    EventType.CREATED: (WatchKind.DATA,),
    EventType.DATA_CHANGED: (WatchKind.DATA,),
    EventType.DELETED: (WatchKind.DATA, WatchKind.CHILD),
    EventType.CHILDREN_CHANGED: (WatchKind.CHILD,),
}


class Watches:
    """Which connection watches what, findable from both sides."""

    def __init__(self) -> None:
        self._table: WatchTable[Connection] = WatchTable()

    def __len__(self) -> int:
        return len(self._table)

    def add(self, kind: WatchKind, path: str, connection: Connection) -> None:
        """Watch; twice is once."""
        self._table.add(kind, path, connection)
        connection.watched[kind, path] = None

    def fire(self, type: EventType, path: str) -> list[Connection]:
        """Whom an event is for, each once; one-shot watches among them are used up."""
        found = self._table.take(type, path)
        for connection in found:
            for kind in _CONSUMED[type]:
                connection.watched.pop((kind, path), None)
        return found

    def check(self, path: str, type: int, connection: Connection) -> list[WatchKind]:
        """Which kinds of watches of a `WatcherType` the connection has on exactly this path.

        Raises:
            MarshallingError: there is no such type.
            NoWatcherError: the connection has none of them.
        """
        if type not in _KINDS:
            raise MarshallingError(path)
        found = [kind for kind in _KINDS[type] if (kind, path) in connection.watched]
        if not found:
            raise NoWatcherError(path)
        return found

    def remove(self, path: str, type: int, connection: Connection) -> None:
        """Watch no more.

        Raises:
            MarshallingError, NoWatcherError: as in `check`.
        """
        for kind in self.check(path, type, connection):
            self._table.discard(kind, path, connection)
            del connection.watched[kind, path]

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        for kind, path in connection.watched:
            self._table.discard(kind, path, connection)
        connection.watched.clear()


def data_watches(connection: Connection) -> Iterator[str]:
    """The paths that reports count: data watches, as WatchManager does."""
    return (path for kind, path in connection.watched if kind is not WatchKind.CHILD)
