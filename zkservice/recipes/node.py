"""A znode as an object that remembers which version of it was read."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from typing_extensions import Self

from zkservice.errors import BadVersionError, NoNodeError
from zkservice.recipes.client_protocol import Client
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.records import Stat
from zkservice.wire.watches import WatchEvent
from zkservice.znodes import join, validate


class Node:
    """One znode, whether it exists or not.

    A write fails with `BadVersionError` if another client has written since this object
    last saw the node, by `exists` or a read.  Then the object forgets the version: read
    again before the next write, which is unconditional otherwise.  Errors are the client's.
    Nodes are ordered by their paths.
    """

    def __init__(self, client: Client, path: str) -> None:
        """Make the object; nothing is asked of the client yet.

        Raises:
            InvalidPathError: the path is none.
        """
        self.path = validate(path)
        self._client = client
        self._version = -1  # of the data, as last seen or written; -1 is any
        self._acl_version = -1  # of the ACL

    def __repr__(self) -> str:
        return f"<Node {self.path}>"

    def __lt__(self, other: Node) -> bool:
        return self.path < other.path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def create(
        self, data: bytes = b"", acl: Iterable[ACL] = OPEN_ACL_UNSAFE, **kind: bool
    ) -> Deferred[str]:
        """Create it; ``ephemeral`` and ``sequence`` as for the client.

        Fires with the actual path, which is this object's from then on.
        """
        return self._client.create(self.path, data, acl, **kind).addCallback(self._created)

    def exists(self) -> Deferred[bool]:
        """Whether it is there."""
        return self._client.exists(self.path).addCallback(self._found)

    def exists_and_watch(self) -> tuple[Deferred[bool], Deferred[WatchEvent]]:
        """The same, and a Deferred for when it is created, set or deleted."""
        stat, watch = self._client.exists_and_watch(self.path)
        return stat.addCallback(self._found), watch

    def get_data(self) -> Deferred[bytes]:
        """Its data."""
        return self._client.get(self.path).addCallback(self._read)

    def get_data_and_watch(self) -> tuple[Deferred[bytes], Deferred[WatchEvent]]:
        """The same, and a Deferred for when it is set or deleted."""
        data, watch = self._client.get_and_watch(self.path)
        return data.addCallback(self._read), watch

    def set_data(self, data: bytes) -> Deferred[Self]:
        """Set its data, if nobody has since it was last seen; fires with this object."""
        writing = self._client.set(self.path, data, self._version)
        return writing.addCallbacks(self._written, self._outdated)

    def get_acl(self) -> Deferred[list[ACL]]:
        """Who may do what."""
        return self._client.get_acl(self.path).addCallback(self._read_acl)

    def set_acl(self, acl: Iterable[ACL]) -> Deferred[Self]:
        """Set who may do what, if nobody has since it was last seen; fires with this object."""
        writing = self._client.set_acl(self.path, acl, self._acl_version)
        return writing.addCallbacks(self._acl_written, self._acl_outdated)

    def delete(self) -> Deferred[None]:
        """Delete it, if nobody has set its data since it was last seen."""
        deleting = self._client.delete(self.path, self._version)
        return deleting.addCallbacks(lambda _: self._forget(), self._outdated)

    def get_children(self, prefix: str = "") -> Deferred[list[Node]]:
        """Its children whose names begin with a prefix, in the order of their names."""
        return self._client.get_children(self.path).addCallback(self._children, prefix)

    def get_children_and_watch(
        self, prefix: str = ""
    ) -> tuple[Deferred[list[Node]], Deferred[WatchEvent]]:
        """The same, and a Deferred for when a child comes or goes, or the node is deleted."""
        names, watch = self._client.get_children_and_watch(self.path)
        return names.addCallback(self._children, prefix), watch

    # -- how --------------------------------------------------------------------------

    def _created(self, path: str) -> str:
        self.path, self._version, self._acl_version = path, 0, 0
        return path

    def _found(self, stat: Stat | None) -> bool:
        if stat is None:
            self._forget()
            return False
        self._version, self._acl_version = stat.version, stat.aversion
        return True

    def _forget(self) -> None:
        self._version = self._acl_version = -1

    def _outdated(self, failure: Failure) -> Failure:
        """What is known about the data does not hold any more, if that is why it failed."""
        if failure.check(BadVersionError, NoNodeError):
            self._version = -1
        return failure

    def _acl_outdated(self, failure: Failure) -> Failure:
        if failure.check(BadVersionError, NoNodeError):
            self._acl_version = -1
        return failure

    def _read(self, found: tuple[bytes, Stat]) -> bytes:
        data, stat = found
        self._version = stat.version
        return data

    def _written(self, stat: Stat) -> Self:
        self._version = stat.version
        return self

    def _read_acl(self, found: tuple[list[ACL], Stat]) -> list[ACL]:
        acl, stat = found
        self._acl_version = stat.aversion
        return acl

    def _acl_written(self, stat: Stat) -> Self:
        self._acl_version = stat.aversion
        return self

    def _children(self, names: list[str], prefix: str) -> list[Node]:
        chosen = sorted(name for name in names if name.startswith(prefix))
        return [Node(self._client, join(self.path, name)) for name in chosen]
