"""The watches that a client keeps, so that it can hand events on and set them again.

`EVENTS` says which event goes to which watch.  `strongest` chooses the watch to ask a server for
when a path has several.  `ClientWatchTable.chunks` makes the requests after a reconnect.  The rules
are those of ZKWatchManager.java, WatchManager.java and DataTree.setWatches.  Paths here are the
server's, chroot included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import Enum, IntEnum
from typing import Final, Generic, NamedTuple, TypeVar

from typing_extensions import Self, override

#: Bytes of paths in one SetWatches request; ClientCnxn.SET_WATCHES_MAX_LENGTH.
SET_WATCHES_MAX_LENGTH: Final = 128 * 1024


class EventType(IntEnum):
    """What a watch event is about (Watcher.Event.EventType)."""

    # A server sends the types 1 to 4; the client makes the others.
    NONE = -1  #: the watch ends, because the session or the client does
    CREATED = 1  #: the node was created
    DELETED = 2  #: the node was deleted
    DATA_CHANGED = 3  #: the node was set
    CHILDREN_CHANGED = 4  #: a child was created or deleted
    DATA_WATCH_REMOVED = 5  #: ``remove_watches`` has removed a watch on the node's data
    CHILD_WATCH_REMOVED = 6  #: ``remove_watches`` has removed a watch on the list of children
    PERSISTENT_WATCH_REMOVED = 7  #: ``remove_watches`` has removed a watch of ``add_watch``


class KeeperState(IntEnum):
    """The session's state as an event carries it (Watcher.Event.KeeperState)."""

    DISCONNECTED = 0  #: of Java's clients; this client does not use it
    SYNC_CONNECTED = 3  #: the state in every event of a change
    AUTH_FAILED = 4  #: the watch ends, because a server refuses the credentials
    CONNECTED_READ_ONLY = 5  #: of Java's clients; this client does not use it
    CLOSED = 7  #: the watch ends, because the client was closed
    EXPIRED = -112  #: the watch ends, because the session has expired


class _Event(NamedTuple):
    type: EventType  #: what happened
    state: KeeperState  #: ``SYNC_CONNECTED``, or why the watch ends
    path: str  #: of the node that changed, as this client names it


class WatchEvent(_Event):
    """What a watch receives: the change, the session's state, and the znode's path.

    It is a tuple of these three, and equal to another event with the same three.

    Attributes:
        zxid: the transaction that made the change, as servers from 3.9 on send it
            (ZOOKEEPER-4655).  None for events of older servers, for a change that was
            missed while there was no connection, and for events made by the client.
    """

    zxid: int | None = None

    def __new__(
        cls, type: EventType, state: KeeperState, path: str, zxid: int | None = None
    ) -> Self:
        """Make one."""
        event = super().__new__(cls, type, state, path)
        event.zxid = zxid
        return event

    @override
    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, zxid={self.zxid})"


class WatchKind(Enum):
    """Which of a client's five tables a watch is in."""

    DATA = "data"  # set by a read, or by exists on a node that was there
    EXIST = "exist"  # set by exists on a node that was missing
    CHILD = "child"
    PERSISTENT = "persistent"
    RECURSIVE = "recursive"


_OF_NODES: Final = frozenset((EventType.CREATED, EventType.DELETED, EventType.DATA_CHANGED))

#: Which events of its own path a watch of each kind gets.  A recursive watch gets its
#: events of all nodes below the path, too.
EVENTS: Final[dict[WatchKind, frozenset[EventType]]] = {
    WatchKind.DATA: _OF_NODES,
    WatchKind.EXIST: _OF_NODES,
    WatchKind.CHILD: frozenset((EventType.DELETED, EventType.CHILDREN_CHANGED)),
    WatchKind.PERSISTENT: _OF_NODES | {EventType.CHILDREN_CHANGED},
    WatchKind.RECURSIVE: _OF_NODES,
}
ONE_SHOT: Final = (WatchKind.DATA, WatchKind.EXIST, WatchKind.CHILD)


def strongest(kinds: Collection[WatchKind]) -> WatchKind | None:
    """The kind of persistent watch that a server is asked for, of those that are wanted.

    Before ZooKeeper 3.9 a connection has one mode of watch at a path, the one that was
    asked for last (ZOOKEEPER-4466).  So a path gets one persistent watch, and the client
    derives the events of the others from it.  The recursive one is the stronger:
    only it covers the nodes below the path, and their creations and deletions imply
    that a list of children has changed.
    """
    for kind in (WatchKind.RECURSIVE, WatchKind.PERSISTENT):
        if kind in kinds:
            return kind
    return None


def covers(mode: WatchKind | None, kind: WatchKind) -> bool:
    """Whether a persistent watch of ``mode`` gets every event that a watch of ``kind`` would get.

    Both are at the same path; ``mode`` is None if the path has no persistent watch.
    """
    return mode is not None and EVENTS[kind] <= EVENTS[mode]


W = TypeVar("W")


class WatchTable(Generic[W]):
    """Watchers by kind and path.  A watcher is whatever the client hands in."""

    def __init__(self) -> None:
        # A dict for each path serves as a set that remembers its order.
        self._tables: dict[WatchKind, dict[str, dict[W, None]]] = {kind: {} for kind in WatchKind}

    def __len__(self) -> int:
        return sum(len(watchers) for table in self._tables.values() for watchers in table.values())

    def add(self, kind: WatchKind, path: str, watcher: W) -> None:
        """Keep a watcher until its event comes, or for good if the kind is persistent."""
        self._tables[kind].setdefault(path, {})[watcher] = None

    def discard(self, kind: WatchKind, path: str, watcher: W) -> bool:
        """Remove a watcher; returns whether it was here."""
        watchers = self._tables[kind].get(path, {})
        if watcher not in watchers:
            return False
        del watchers[watcher]
        if not watchers:
            del self._tables[kind][path]
        return True

    def has(self, kind: WatchKind, path: str) -> bool:
        """Whether the path has a watcher of this kind."""
        return path in self._tables[kind]

    def of(self, kind: WatchKind, path: str) -> Collection[W]:
        """The watchers of a kind on exactly this path."""
        return self._tables[kind].get(path, {}).keys()

    def at(self, path: str) -> list[tuple[WatchKind, W]]:
        """The watchers of all kinds on exactly this path, with their kinds."""
        return [
            (kind, watcher) for kind in WatchKind for watcher in self._tables[kind].get(path, ())
        ]

    def take(self, type: EventType, path: str) -> list[W]:
        """The watchers that an event is for, each once; one-shot watchers are removed."""
        found: dict[W, None] = {}
        for kind in ONE_SHOT:
            if type in EVENTS[kind]:
                found.update(self._tables[kind].pop(path, {}))
        found.update(self._at_node(type, path))
        # A recursive watch gets events of nodes, never of lists of children.
        if type in EVENTS[WatchKind.RECURSIVE] and self._tables[WatchKind.RECURSIVE]:
            for ancestor in lineage(path):
                found.update(self._tables[WatchKind.RECURSIVE].get(ancestor, {}))
        return list(found)

    def _at_node(self, type: EventType, path: str) -> dict[W, None]:
        """The persistent watchers that an event at their own path is for."""
        return self._tables[WatchKind.PERSISTENT].get(path, {})

    def clear(self) -> list[tuple[str, W]]:
        """Remove all watchers; returns each with its path."""
        gone = [
            (path, watcher)
            for table in self._tables.values()
            for path, watchers in table.items()
            for watcher in watchers
        ]
        for table in self._tables.values():
            table.clear()
        return gone


class ClientWatchTable(WatchTable[W]):
    """The watches of a client; the server has at most one persistent watch for each path.

    Where a path has both a recursive watch and a persistent one, the server has only the recursive
    one.  It reports created and deleted children, but not the changed list of children.  So the
    client derives that event for the persistent watch.
    """

    def deliveries(self, type: EventType, path: str) -> list[tuple[EventType, str, W]]:
        """The events to deliver for one event of the server: type, path and watcher of each.

        One-shot watchers among them are removed from the table.
        """
        found = [(type, path, watcher) for watcher in self.take(type, path)]
        has_parent = path.startswith("/") and path != "/"
        if type in (EventType.CREATED, EventType.DELETED) and has_parent:
            parent = path[: path.rfind("/")] or "/"
            if self.has(WatchKind.RECURSIVE, parent):
                found += [
                    (EventType.CHILDREN_CHANGED, parent, watcher)
                    for watcher in self._tables[WatchKind.PERSISTENT].get(parent, ())
                ]
        return found

    @override
    def _at_node(self, type: EventType, path: str) -> dict[W, None]:
        if type is EventType.CHILDREN_CHANGED and self.has(WatchKind.RECURSIVE, path):
            return {}  # `deliveries` derives this event: it must not be delivered twice
        return super()._at_node(type, path)

    def chunks(self, limit: int = SET_WATCHES_MAX_LENGTH) -> Iterator[dict[WatchKind, list[str]]]:
        """The watched paths in portions for SetWatches, which are to be sent in this order.

        No portion has more than ``limit`` bytes of paths, lengths included, unless it
        is a single path.
        """
        for group in self._groups():
            portion: dict[WatchKind, list[str]] = {kind: [] for kind in WatchKind}
            size = 0
            for kind, path in group:
                cost = 4 + len(path.encode())
                if size and size + cost > limit:
                    yield portion
                    portion, size = {kind: [] for kind in WatchKind}, 0
                portion[kind].append(path)
                size += cost
            if size:
                yield portion

    def _groups(self) -> tuple[list[tuple[WatchKind, str]], list[tuple[WatchKind, str]]]:
        """The watches in two groups, to be set one after the other.

        The second group has the child watches at paths that also have a recursive watch.  In
        servers before 3.9, setting a recursive watch replaces a child watch at the same path, but
        not the other way round (DataTree.setWatches).  So the child watch must come later.
        """
        recursive = self._tables[WatchKind.RECURSIVE]
        first: list[tuple[WatchKind, str]] = []
        for kind, table in self._tables.items():
            if kind in (WatchKind.CHILD, WatchKind.PERSISTENT):
                first += [(kind, path) for path in table if path not in recursive]
            else:
                first += [(kind, path) for path in table]
        children = self._tables[WatchKind.CHILD]
        return first, [(WatchKind.CHILD, path) for path in children if path in recursive]


def lineage(path: str) -> Iterator[str]:
    """The path and all its ancestors, up to the root.

    The text comes from a server, so this must end even if it is not a valid path.
    """
    while path not in ("", "/"):
        yield path
        path = path[: path.rfind("/")] if "/" in path else ""
    yield "/"
