"""The watches that a client keeps, so that it can hand events on and set them again.

Which event goes to which watch, and what a server must be told after a reconnect:
ZKWatchManager.java and DataTree.setWatches.  Paths here are the server's, chroot
included.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, IntEnum
from typing import Final, Generic, NamedTuple, TypeVar

#: Bytes of paths in one SetWatches request; ClientCnxn.SET_WATCHES_MAX_LENGTH.
SET_WATCHES_MAX_LENGTH: Final = 128 * 1024


class EventType(IntEnum):
    """What a watch event tells (Watcher.Event.EventType)."""

    NONE = -1  # the session's state; never on the wire
    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    CHILDREN_CHANGED = 4
    DATA_WATCH_REMOVED = 5  # 5 to 7 are made by the client, never sent by a server
    CHILD_WATCH_REMOVED = 6
    PERSISTENT_WATCH_REMOVED = 7


class KeeperState(IntEnum):
    """The session's state as an event carries it (Watcher.Event.KeeperState)."""

    DISCONNECTED = 0
    SYNC_CONNECTED = 3  # the only one on the wire
    AUTH_FAILED = 4
    CONNECTED_READ_ONLY = 5
    CLOSED = 7
    EXPIRED = -112


class WatchEvent(NamedTuple):
    """What a watch is told: the change, the session's state, and the znode's path."""

    type: EventType
    state: KeeperState
    path: str


class WatchKind(Enum):
    """Which of a client's five tables a watch is in."""

    DATA = "data"  # set by a read, or by exists on a node that was there
    EXIST = "exist"  # set by exists on a node that was missing
    CHILD = "child"
    PERSISTENT = "persistent"
    RECURSIVE = "recursive"


_ONE_SHOT: Final[dict[EventType, tuple[WatchKind, ...]]] = {
    EventType.CREATED: (WatchKind.DATA, WatchKind.EXIST),
    EventType.DATA_CHANGED: (WatchKind.DATA, WatchKind.EXIST),
    EventType.CHILDREN_CHANGED: (WatchKind.CHILD,),
    EventType.DELETED: (WatchKind.DATA, WatchKind.EXIST, WatchKind.CHILD),
}

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
        """Forget a watcher; answers whether it was here."""
        watchers = self._tables[kind].get(path, {})
        if watcher not in watchers:
            return False
        del watchers[watcher]
        if not watchers:
            del self._tables[kind][path]
        return True

    def has(self, kind: WatchKind, path: str) -> bool:
        """Whether anybody watches the path in this way."""
        return path in self._tables[kind]

    def at(self, path: str) -> list[tuple[WatchKind, W]]:
        """The watchers on exactly this path, with their kinds."""
        return [
            (kind, watcher) for kind in WatchKind for watcher in self._tables[kind].get(path, ())
        ]

    def take(self, type: EventType, path: str) -> list[W]:
        """Whom an event is for, each once; the one-shot watchers among them are forgotten."""
        found: dict[W, None] = {}
        for kind in _ONE_SHOT.get(type, ()):
            found.update(self._tables[kind].pop(path, {}))
        found.update(self._tables[WatchKind.PERSISTENT].get(path, {}))
        # A recursive watch hears of nodes, never of lists of children.
        if type is not EventType.CHILDREN_CHANGED and self._tables[WatchKind.RECURSIVE]:
            for ancestor in _lineage(path):
                found.update(self._tables[WatchKind.RECURSIVE].get(ancestor, {}))
        return list(found)

    def clear(self) -> list[tuple[str, W]]:
        """Forget all watchers; answers each with its path."""
        gone = [
            (path, watcher)
            for table in self._tables.values()
            for path, watchers in table.items()
            for watcher in watchers
        ]
        for table in self._tables.values():
            table.clear()
        return gone

    def chunks(self, limit: int = SET_WATCHES_MAX_LENGTH) -> Iterator[dict[WatchKind, list[str]]]:
        """The watched paths in portions for SetWatches.

        No portion has more than ``limit`` bytes of paths, lengths included, unless it
        is a single path.
        """
        portion: dict[WatchKind, list[str]] = {kind: [] for kind in WatchKind}
        size = 0
        for kind, table in self._tables.items():
            for path in table:
                cost = 4 + len(path.encode())
                if size and size + cost > limit:
                    yield portion
                    portion, size = {kind: [] for kind in WatchKind}, 0
                portion[kind].append(path)
                size += cost
        if size:
            yield portion


def _lineage(path: str) -> Iterator[str]:
    """The path and all its ancestors, up to the root.

    It comes from a server, so it need not be a path.
    """
    while path not in ("", "/"):
        yield path
        path = path[: path.rfind("/")] if "/" in path else ""
    yield "/"
