"""A set of one-shot watches, each set at most once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zkservice.client import ZooKeeperClient
from zkservice.following.lookup import gather_all
from zkservice.wire.records import Stat
from zkservice.wire.watches import WatchEvent

__all__ = ["CHILDREN", "DATA", "EXISTS", "WatchSet", "WatchedRead"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class WatchedRead(Generic[T]):
    """A read operation of the client, without a watch and with one."""

    plain: Callable[[ZooKeeperClient, str], Deferred[T]]
    watched: Callable[[ZooKeeperClient, str], tuple[Deferred[T], Deferred[WatchEvent]]]


EXISTS: Final[WatchedRead[Stat | None]] = WatchedRead(
    lambda client, path: client.exists(path),
    lambda client, path: client.exists_and_watch(path),
)
DATA: Final[WatchedRead[tuple[bytes, Stat]]] = WatchedRead(
    lambda client, path: client.get(path),
    lambda client, path: client.get_and_watch(path),
)
CHILDREN: Final[WatchedRead[list[str]]] = WatchedRead(
    lambda client, path: client.get_children(path),
    lambda client, path: client.get_children_and_watch(path),
)

#: Identifies a watch: the operation that set it, and the path.
_Key = tuple[WatchedRead[Any], str]


class WatchSet:
    """Sets each wanted watch once, and cancels those that are no longer wanted.

    Args:
        client: sets the watches.
        fired: called when a watch fires, or ends with its session.
    """

    def __init__(self, client: ZooKeeperClient, fired: Callable[[], object]) -> None:
        self._client = client
        self._fired = fired
        self._cancelled = False
        self._watches: dict[_Key, Deferred[WatchEvent]] = {}

    def __len__(self) -> int:
        return len(self._watches)

    async def watch_only(
        self, paths: Iterable[str], *, keep: Collection[tuple[WatchedRead[Any], str]] = ()
    ) -> bool:
        """Watch the nodes at these paths, and no others.

        Args:
            paths: the paths; a node that does not exist is watched as well.
            keep: watches that `read` has set and that are still wanted.

        Returns:
            Whether a watch had to be set.  Then data that were read before may be outdated.
        """
        wanted = {(EXISTS, path) for path in paths}
        for key in [key for key in self._watches if key not in wanted and key not in keep]:
            self._watches.pop(key).cancel()
        missing = sorted(path for key, path in wanted if (key, path) not in self._watches)
        if self._cancelled or not missing:
            return False
        await gather_all(self._watch(EXISTS, path) for path in missing)
        return True

    def all_watched(self, paths: Iterable[str]) -> bool:
        """Whether all these nodes are watched, and no watch has fired."""
        return all((EXISTS, path) in self._watches for path in paths)

    def is_watched(self, operation: WatchedRead[Any], path: str) -> bool:
        """Whether `read` has set this watch, and nothing has happened since."""
        return (operation, path) in self._watches

    def read(self, operation: WatchedRead[T], path: str) -> Deferred[T]:
        """Read a node, and set the operation's watch on it unless it is set already."""
        if self._cancelled or (operation, path) in self._watches:
            return operation.plain(self._client, path)
        return self._watch(operation, path)

    def forget(self, paths: Iterable[str]) -> None:
        """Cancel the watches that `read` has set on these paths with `EXISTS`."""
        for path in paths:
            watch = self._watches.pop((EXISTS, path), None)
            if watch is not None:
                watch.cancel()

    def cancel(self) -> None:
        """Cancel all watches, and set none from now on."""
        self._cancelled = True
        while self._watches:
            self._watches.popitem()[1].cancel()

    def _watch(self, operation: WatchedRead[T], path: str) -> Deferred[T]:
        key = operation, path
        value, watch = operation.watched(self._client, path)
        self._watches[key] = watch
        watch.addBoth(self._watch_ended, key, watch)
        return value.addErrback(self._read_failed, key, watch)

    def _watch_ended(self, result: object, key: _Key, watch: Deferred[WatchEvent]) -> None:
        """Report a watch that fired, or ended with its session; not one that was cancelled."""
        if self._watches.get(key) is watch:
            del self._watches[key]
            self._fired()

    def _read_failed(self, failure: Failure, key: _Key, watch: Deferred[WatchEvent]) -> Failure:
        """Drop a watch that was not set, because its read failed."""
        if self._watches.get(key) is watch:
            del self._watches[key]
        watch.cancel()
        return failure
