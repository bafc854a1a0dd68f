"""The path below which to register: it may lead through symbolic links, which may change."""

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


class ParentPath:
    """Resolves the path below which to register, and watches the links on the way.

    Args:
        client: connected when `resolve` is called.
        path: may lead through symbolic links.
        changed: called when the path may lead elsewhere.
    """

    _log = Logger()

    def __init__(self, client: ZooKeeperClient, path: str, changed: Callable[[], object]) -> None:
        self._client = client
        self.path = path
        self._watches = WatchSet(client, changed)
        self._resolution: Resolution | None = None  # kept while all its links are watched
        self._last: str | None = None  # the last real path
        self._logged = ""  # why it leads nowhere, as logged last

    async def resolve(self) -> str:
        """Return the real path.  Creates missing znodes, but never in the place of a link.

        If a link is deleted, or leads nowhere any more, the last real path is kept: a program
        may be about to write the link again, and a znode in its place would hide it.

        Raises:
            LinkLoopError, InvalidPathError: the path leads nowhere, and never led to a znode.
        """
        resolution, self._resolution = self._resolution, None
        if resolution is None or not self._watches.all_watched(_link_paths(resolution)):
            resolution = await self._trace()
        for _ in range(ATTEMPTS):
            missing = resolution.missing_path if resolution.path is None else None
            # Not if the path led elsewhere before: its link may be about to be written again.
            if missing is not None and self._last in (None, missing):
                await self._client.ensure_path(missing)
                self._last = missing
            elif not await self._watches.watch_only(_watched(resolution)):
                break  # nothing can have changed between the look-up and the watches
            resolution = await self._trace()
        return self._found(resolution)

    def _trace(self) -> Deferred[Resolution]:
        return look_up(self._client, trace(self.path))

    def forget(self) -> None:
        """Forget the real path: its znode is gone."""
        self._resolution = self._last = None

    def cancel(self) -> None:
        """Cancel the watches."""
        self._watches.cancel()

    def _found(self, resolution: Resolution) -> str:
        if resolution.path is not None:
            self._resolution, self._last, self._logged = resolution, resolution.path, ""
        elif self._last is None:
            return resolution.real_path  # raises the resolution's error
        elif self._logged != str(resolution.error):
            self._logged = str(resolution.error)
            self._log.warn(
                "{path} leads nowhere at the moment ({error}); still registered below {last}",
                path=self.path,
                error=resolution.error,
                last=self._last,
            )
        assert self._last is not None
        return self._last


def _watched(resolution: Resolution) -> set[str]:
    return set(depends_on(resolution)) if resolution.path is None else _link_paths(resolution)


def _link_paths(resolution: Resolution) -> set[str]:
    """Paths whose watches report a change of a link: the node that holds it, and its own path."""
    return {path for link in resolution.links for path in (link, parent(link))}
