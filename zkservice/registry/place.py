"""Resolve the path of a registration, through symbolic links that may change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zkservice.client import ZooKeeperClient
from zkservice.following.follower import depends_on
from zkservice.following.lookup import look_up
from zkservice.following.watch_set import WatchSet
from zkservice.tree.links import Resolution, trace
from zkservice.znodes import parent

#: Attempts to read links that change while they are read.  Each change fires a watch, which
#: causes another pass, so nothing is missed.
ATTEMPTS: Final = 10


class Place:
    """Resolves a path, and watches the links on the way.

    Args:
        client: connected when `find` is called.
        path: may lead through symbolic links.
        changed: called when the path may lead elsewhere.
    """

    _log = Logger()

    def __init__(self, client: ZooKeeperClient, path: str, changed: Callable[[], object]) -> None:
        self._client = client
        self.path = path
        self._watches = WatchSet(client, changed)
        self._way: Resolution | None = None  # while all its links are watched
        self._last: str | None = None  # the last real path
        self._logged = ""  # the last logged reason why it leads nowhere

    async def find(self) -> str:
        """Return the real path.  Creates missing znodes, but never in the place of a link.

        If a link is deleted, or leads nowhere any more, the last real path is kept: a program
        may be about to write the link again, and a znode in its place would hide it.

        Raises:
            LinkLoopError, InvalidPathError: the path leads nowhere, and never led to a znode.
        """
        way, self._way = self._way, None
        if way is None or not self._watches.are_set(_link_paths(way)):
            way = await self._trace()
        for _ in range(ATTEMPTS):
            if way.path is None and way.place is not None and self._last in (None, way.place):
                await self._client.ensure_path(way.place)
                self._last = way.place
            elif not await self._watches.want(_watched(way)):
                break
            way = await self._trace()
        return self._found(way)

    def _trace(self) -> Deferred[Resolution]:
        return look_up(self._client, trace(self.path))

    def lost(self) -> None:
        """Forget the real path: its znode is gone."""
        self._way = self._last = None

    def cancel(self) -> None:
        """Cancel the watches."""
        self._watches.cancel()

    def _found(self, way: Resolution) -> str:
        if way.path is not None:
            self._way, self._last, self._logged = way, way.path, ""
        elif self._last is None:
            return way.real_path  # raises
        elif self._logged != str(way.error):
            self._logged = str(way.error)
            self._log.warn(
                "{path} leads nowhere at the moment ({error}); staying registered below {last}",
                path=self.path,
                error=way.error,
                last=self._last,
            )
        assert self._last is not None
        return self._last


def _watched(way: Resolution) -> set[str]:
    return set(depends_on(way)) if way.path is None else _link_paths(way)


def _link_paths(way: Resolution) -> set[str]:
    """Paths whose watches report a change of a link: the node that holds it, and its own path."""
    return {path for link in way.links for path in (link, parent(link))}
