"""Keep up with the members of a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from typing_extensions import override

from zkservice.client import ZooKeeperClient
from zkservice.discovery.provider import Provider, ReadZnode, Registered
from zkservice.errors import FormatError, NoAuthError, NoNodeError
from zkservice.following.follower import Follower, Paths
from zkservice.following.lookup import gather_all
from zkservice.following.watch_set import CHILDREN, DATA, WatchedRead
from zkservice.formats import read_member
from zkservice.tree.links import Resolution
from zkservice.znodes import join

#: Members that are read at the same time: bounds the replies that are held in memory.
AT_A_TIME: Final = 200


class Members(Follower["list[str]", Registered]):
    """Follows the members of a service: one watch on the children, one on each member's data.

    A member is read once, and again when its data change.  While its watch is set, the data that
    were read are current.

    Args:
        client: need not be connected yet.
        path: the service's znode; it may lead through symbolic links, and need not exist yet.
        reactor: schedules retries.
        formats: the names of the formats to expect.
        found: called with what is registered, after each pass.
    """

    operation = CHILDREN
    must_exist = False

    def __init__(
        self,
        client: ZooKeeperClient,
        path: str,
        reactor: Any,
        formats: Iterable[str],
        found: Callable[[Registered], object],
    ) -> None:
        super().__init__(client, path, reactor)
        self._formats = tuple(formats)
        self._report = found
        self._known: dict[str, ReadZnode] = {}  # by path

    @override
    async def _interpret(self, path: str, reply: list[str]) -> tuple[Registered, Paths]:
        known = {}
        paths = [join(path, name) for name in sorted(reply)]
        unread = []
        for child in paths:
            if child in self._known and self._watches.is_watched(DATA, child):
                known[child] = self._known[child]
            else:
                unread.append(child)
        for start in range(0, len(unread), AT_A_TIME):
            batch = unread[start : start + AT_A_TIME]
            results = await gather_all(self._read(child) for child in batch)
            for child, znode in zip(batch, results, strict=True):
                if znode is not None:
                    known[child] = znode
        self._known = known
        return Registered.classified(known[child] for child in paths if child in known), set()

    def _read(self, path: str) -> Any:
        """Fires with a `ReadZnode`, or with None if the znode is gone."""
        name = path.rpartition("/")[2]

        def parsed(reply: tuple[bytes, object]) -> ReadZnode:
            return self._parse(name, reply[0])

        def failed(failure: Any) -> ReadZnode | None:
            if failure.trap(NoNodeError, NoAuthError) is NoNodeError:
                return None
            # Reading is forbidden, so there is no watch either.  The name may be an address.
            return self._parse(name, b"")

        return self._watches.read(DATA, path).addCallbacks(parsed, failed)

    def _parse(self, name: str, data: bytes) -> ReadZnode:
        try:
            member = read_member(name, data, self._formats)
        except FormatError as error:
            return ReadZnode(problem=error)
        return ReadZnode(Provider.of(member), member.available)

    @override
    def _value_watches(self, path: str) -> set[tuple[WatchedRead[Any], str]]:
        return {(CHILDREN, path), *((DATA, child) for child in self._known)}

    @override
    def _found(self, value: Registered) -> None:
        self._report(value)

    @override
    def _nothing_found(self, way: Resolution) -> None:
        self._known = {}
        self._report(Registered(error=way.error or NoNodeError(self.path)))
