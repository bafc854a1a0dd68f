"""A znode as an object that remembers the version that it has read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from typing_extensions import Self

from zkservice.errors import BadVersionError, NoNodeError
from zkservice.recipes.client_protocol import Client
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.records import Stat
from zkservice.wire.watches import WatchEvent
from zkservice.znodes import join, split, validate

#: A write with this version is unconditional.
_ANY: Final = -1


class Node:
    """One znode, whether it exists or not.

    A write fails with `BadVersionError` if another client has written since this object's last
    `exists` or read.  Then the object forgets the version, and the next write is unconditional
    unless you read again first.  Calls fail with the errors of the client.  Nodes are
    ordered by their paths.

    Args:
        client: need not be connected yet.
        path: the path of the node.

    Raises:
        InvalidPathError: the path is invalid.
    """

    def __init__(self, client: Client, path: str) -> None:
        self.path = validate(path)
        self._client = client
        self._data_version = _KnownVersion()
        self._acl_version = _KnownVersion()

    def __repr__(self) -> str:
        return f"<Node {self.path}>"

    def __lt__(self, other: Node) -> bool:
        return self.path < other.path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return split(self.path)[1]

    def create(
        self, data: bytes = b"", acl: Iterable[ACL] = OPEN_ACL_UNSAFE, **kind: bool
    ) -> Deferred[str]:
        """Create it; ``ephemeral`` and ``sequence`` as for the client.

        Fires with the actual path, which is the path of this object from then on.
        """
        return self._client.create(self.path, data, acl, **kind).addCallback(self._created)

    def exists(self) -> Deferred[bool]:
        """Fires with whether it exists."""
        return self._client.exists(self.path).addCallback(self._found)

    def exists_and_watch(self) -> tuple[Deferred[bool], Deferred[WatchEvent]]:
        """Like `exists`, and a Deferred that fires when it is created, set or deleted."""
        stat, watch = self._client.exists_and_watch(self.path)
        return stat.addCallback(self._found), watch

    def get_data(self) -> Deferred[bytes]:
        """Fires with its data."""
        return self._client.get(self.path).addCallback(self._read)

    def get_data_and_watch(self) -> tuple[Deferred[bytes], Deferred[WatchEvent]]:
        """Like `get_data`, and a Deferred that fires when it is set or deleted."""
        data, watch = self._client.get_and_watch(self.path)
        return data.addCallback(self._read), watch

    def set_data(self, data: bytes) -> Deferred[Self]:
        """Set its data, if it has the version that was read last; fires with this object."""
        writing = self._client.set(self.path, data, self._data_version.number)
        return writing.addCallbacks(self._written, self._data_version.forget_if_outdated)

    def get_acl(self) -> Deferred[list[ACL]]:
        """Fires with its ACL."""
        return self._client.get_acl(self.path).addCallback(self._acl_read)

    def set_acl(self, acl: Iterable[ACL]) -> Deferred[Self]:
        """Set its ACL, if it has the version that was read last; fires with this object."""
        writing = self._client.set_acl(self.path, acl, self._acl_version.number)
        return writing.addCallbacks(self._acl_written, self._acl_version.forget_if_outdated)

    def delete(self) -> Deferred[None]:
        """Delete it, if its data have the version that was read last."""
        deleting = self._client.delete(self.path, self._data_version.number)
        return deleting.addCallbacks(self._deleted, self._data_version.forget_if_outdated)

    def get_children(self, prefix: str = "") -> Deferred[list[Node]]:
        """Fires with its children whose names begin with a prefix, sorted by name."""
        return self._client.get_children(self.path).addCallback(self._children, prefix)

    def get_children_and_watch(
        self, prefix: str = ""
    ) -> tuple[Deferred[list[Node]], Deferred[WatchEvent]]:
        """Like `get_children`, and a Deferred that fires when the names change or it is deleted."""
        names, watch = self._client.get_children_and_watch(self.path)
        return names.addCallback(self._children, prefix), watch

    # -- internals --------------------------------------------------------------------

    def _created(self, path: str) -> str:
        self.path, self._data_version.number, self._acl_version.number = path, 0, 0
        return path

    def _found(self, stat: Stat | None) -> bool:
        if stat is None:
            self._deleted()
            return False
        self._data_version.number, self._acl_version.number = stat.version, stat.aversion
        return True

    def _deleted(self, _: None = None) -> None:
        self._data_version.number = self._acl_version.number = _ANY

    def _read(self, found: tuple[bytes, Stat]) -> bytes:
        data, stat = found
        self._data_version.number = stat.version
        return data

    def _written(self, stat: Stat) -> Self:
        self._data_version.number = stat.version
        return self

    def _acl_read(self, found: tuple[list[ACL], Stat]) -> list[ACL]:
        acl, stat = found
        self._acl_version.number = stat.aversion
        return acl

    def _acl_written(self, stat: Stat) -> Self:
        self._acl_version.number = stat.aversion
        return self

    def _children(self, names: list[str], prefix: str) -> list[Node]:
        chosen = sorted(name for name in names if name.startswith(prefix))
        return [Node(self._client, join(self.path, name)) for name in chosen]


class _KnownVersion:
    """The version of a node's data or ACL that was read last."""

    def __init__(self) -> None:
        self.number = _ANY

    def forget_if_outdated(self, failure: Failure) -> Failure:
        """Forget the version if a write has failed because it is outdated."""
        if failure.check(BadVersionError, NoNodeError):
            self.number = _ANY
        return failure
