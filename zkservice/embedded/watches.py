"""The watches of all connections.

Source: WatchManager.java with the independent modes of 3.9, and the same file of 3.8;
DataTree.setWatches.  A watch belongs to a connection, not to a session: it ends with the
connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from typing_extensions import override

from zkservice.embedded.connection import Connection
from zkservice.errors import MarshallingError, NoWatcherError
from zkservice.wire.records import WatcherType
from zkservice.wire.watches import EventType, WatchKind, WatchTable, lineage

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

#: The one-shot watches that an event is for; it removes them.
_CONSUMED: Final[dict[EventType, tuple[WatchKind, ...]]] = {
    EventType.CREATED: (WatchKind.DATA,),
    EventType.DATA_CHANGED: (WatchKind.DATA,),
    EventType.DELETED: (WatchKind.DATA, WatchKind.CHILD),
    EventType.CHILDREN_CHANGED: (WatchKind.CHILD,),
}


#: Which tables of a server before 3.9 a watch is in, and which tables an event looks at.
_TABLES: Final[dict[WatchKind, tuple[WatchKind, ...]]] = {
    WatchKind.DATA: (WatchKind.DATA,),
    WatchKind.CHILD: (WatchKind.CHILD,),
    WatchKind.PERSISTENT: (WatchKind.DATA, WatchKind.CHILD),
    WatchKind.RECURSIVE: (WatchKind.DATA, WatchKind.CHILD),
}
_TABLES_OF_TYPE: Final[dict[int, tuple[WatchKind, ...]]] = {
    WatcherType.CHILDREN: (WatchKind.CHILD,),
    WatcherType.DATA: (WatchKind.DATA,),
    WatcherType.ANY: (WatchKind.DATA, WatchKind.CHILD),
}


class ServerWatches:
    """Watches by path and by connection, with the semantics of ZooKeeper 3.9."""

    def __init__(self) -> None:
        self._table: WatchTable[Connection] = WatchTable()

    def __len__(self) -> int:
        return len(self._table)

    def event_zxid(self, zxid: int) -> int:
        """The transaction number in the header of an event."""
        return zxid

    def add(self, kind: WatchKind, path: str, connection: Connection) -> None:
        """Set a watch; setting it again changes nothing."""
        self._table.add(kind, path, connection)
        connection.watched[kind, path] = None

    def fire(self, type: EventType, path: str) -> list[Connection]:
        """The connections that get an event, each once; their one-shot watches are removed."""
        found = self._table.take(type, path)
        for connection in found:
            for kind in _CONSUMED[type]:
                connection.watched.pop((kind, path), None)
        return found

    def check(self, path: str, type: int, connection: Connection) -> list[WatchKind]:
        """The kinds of watches of a `WatcherType` that the connection has at exactly this path.

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
        """Remove watches.

        Raises:
            MarshallingError, NoWatcherError: as in `check`.
        """
        for kind in self.check(path, type, connection):
            self._table.discard(kind, path, connection)
            del connection.watched[kind, path]

    def forget(self, connection: Connection) -> None:
        """Remove all watches of a connection that is closed."""
        for kind, path in connection.watched:
            self._table.discard(kind, path, connection)
        connection.watched.clear()


class ExclusiveWatches(ServerWatches):
    """Watches with the semantics of ZooKeeper 3.6 to 3.8 (ZOOKEEPER-4466).

    There are two tables, of data and of child watches.  In each, a connection has one
    watch at a path, with the mode of its latest request: a one-shot watch
    replaces a persistent one.  A recursive watch is in both tables.  Events do not carry
    their transaction, and removeWatches rejects the types of persistent watches.
    """

    def __init__(self) -> None:
        # Instead of the base class's table: the mode of each connection's watch, by table and path.
        self._modes: dict[WatchKind, dict[str, dict[Connection, WatchKind]]] = {
            WatchKind.DATA: {},
            WatchKind.CHILD: {},
        }

    @override
    def __len__(self) -> int:
        return sum(len(modes) for table in self._modes.values() for modes in table.values())

    @override
    def event_zxid(self, zxid: int) -> int:
        return -1

    @override
    def add(self, kind: WatchKind, path: str, connection: Connection) -> None:
        for table in _TABLES[kind]:
            self._modes[table].setdefault(path, {})[connection] = kind
            connection.watched[table, path] = None

    @override
    def fire(self, type: EventType, path: str) -> list[Connection]:
        found: dict[Connection, None] = {}
        for table in _CONSUMED[type]:
            for watched_path in lineage(path):
                found.update(self._trigger(table, watched_path, type, at_node=watched_path == path))
        return list(found)

    def _trigger(
        self, table: WatchKind, watched_path: str, type: EventType, *, at_node: bool
    ) -> dict[Connection, None]:
        """The connections that get an event by their watch at one path."""
        found: dict[Connection, None] = {}
        for connection, mode in list(self._modes[table].get(watched_path, {}).items()):
            if mode is WatchKind.RECURSIVE:
                if type is not EventType.CHILDREN_CHANGED:
                    found[connection] = None
            elif at_node:
                found[connection] = None
                if mode is not WatchKind.PERSISTENT:
                    self._discard(table, watched_path, connection)
        return found

    @override
    def check(self, path: str, type: int, connection: Connection) -> list[WatchKind]:
        """The tables that have a watch at the path, of any connection, as in WatchManager.

        Raises:
            MarshallingError: there is no such type.
            NoWatcherError: there is no watch at the path.
        """
        return self._of_type(path, type, [t for t in self._modes if path in self._modes[t]])

    @override
    def remove(self, path: str, type: int, connection: Connection) -> None:
        """Remove watches of any mode.

        Raises:
            MarshallingError: there is no such type.
            NoWatcherError: the connection has no watch in the tables of the type.
        """
        mine = [table for table in self._modes if (table, path) in connection.watched]
        for table in self._of_type(path, type, mine):
            self._discard(table, path, connection)

    def _of_type(self, path: str, type: int, tables: list[WatchKind]) -> list[WatchKind]:
        """Those of some tables that a request to remove watches of a type means."""
        if type not in _TABLES_OF_TYPE:
            raise MarshallingError(path)
        found = [table for table in tables if table in _TABLES_OF_TYPE[type]]
        if not found:
            raise NoWatcherError(path)
        return found

    @override
    def forget(self, connection: Connection) -> None:
        for table, path in list(connection.watched):
            self._discard(table, path, connection)

    def _discard(self, table: WatchKind, path: str, connection: Connection) -> None:
        modes = self._modes[table][path]
        del modes[connection]
        if not modes:
            del self._modes[table][path]
        del connection.watched[table, path]


def data_watches(connection: Connection) -> Iterator[str]:
    """The paths that four-letter words report: those of data watches, as in WatchManager."""
    return (path for kind, path in connection.watched if kind is not WatchKind.CHILD)
