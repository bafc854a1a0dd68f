"""The tree of znodes: what there is, and what a reader may learn about it.

Source: DataTree.java, DataNode.java, StatPersisted.  Nothing here changes the tree but
the two methods that `Transaction` uses; times are milliseconds since 1970, as clients
see them in a `Stat`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

from zkservice.errors import NoNodeError
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE
from zkservice.wire.paths import join
from zkservice.wire.records import Stat

#: An access control list as the tree keeps it: never changed, so it can be shared.
AccessList = tuple[ACL, ...]

#: ``ZNode.owner`` of a container (EphemeralType.CONTAINER_EPHEMERAL_OWNER, signed).
CONTAINER: Final = -(1 << 63)
#: ``ZNode.owner`` of a TTL node is this and its TTL in milliseconds (EphemeralType.TTL).
_TTL_OWNER: Final = -(1 << 56)
#: The longest TTL in milliseconds, about 34.8 years (EphemeralType.MAX_TTL).
MAX_TTL: Final = (1 << 40) - 1

#: Nodes that are there from the start and cannot be deleted (Quotas, ZooDefs).
SPECIAL_PATHS: Final = frozenset(("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"))

_STAT: Final = Struct(">qqqqiiiqiiq")
_LENGTH: Final = Struct(">i")
_NULL: Final = b"\xff\xff\xff\xff"
_INT_MAX: Final = (1 << 31) - 1


def ttl_owner(milliseconds: int) -> int:
    """The ``owner`` of a node with this TTL."""
    return _TTL_OWNER | milliseconds


def ttl_of(owner: int) -> int | None:
    """The TTL in milliseconds that an ``owner`` stands for, if it does."""
    return owner - _TTL_OWNER if _TTL_OWNER <= owner <= _TTL_OWNER | MAX_TTL else None


def wrap(number: int) -> int:
    """The 32-bit integer that Java's arithmetic would give."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


class ZNode:
    """One znode.  ``owner`` is a session id, or says that it is a container or has a TTL."""

    __slots__ = (
        "acl",
        "aversion",
        "children",
        "creates",
        "ctime",
        "czxid",
        "data",
        "listing",
        "mtime",
        "mzxid",
        "owner",
        "pzxid",
        "version",
    )

    def __init__(
        self, data: bytes | None, acl: AccessList, owner: int = 0, zxid: int = 0, time: int = 0
    ) -> None:
        self.data = data
        self.acl = acl
        self.owner = owner
        self.czxid = self.mzxid = self.pzxid = zxid
        self.ctime = self.mtime = time
        self.version = self.aversion = 0
        #: Children ever created: what sequence numbers and ``cversion`` are made of.
        self.creates = 0
        #: Names in the order of their creation; None while there never was any.
        self.children: dict[str, None] | None = None
        #: The names as `packed_children` made them; None after a change.
        self.listing: bytes | None = None

    @property
    def session(self) -> int:
        """The session that an ephemeral node belongs to, 0 for every other node."""
        return self.owner if self.owner > 0 else 0

    def _stat_fields(self) -> tuple[int, ...]:
        count = len(self.children) if self.children else 0
        return (
            self.czxid,
            self.mzxid,
            self.ctime,
            self.mtime,
            self.version,
            wrap(2 * self.creates - count),
            self.aversion,
            self.owner if self.owner > 0 else 0,
            len(self.data) if self.data else 0,
            count,
            self.pzxid,
        )

    def stat(self) -> Stat:
        """What clients may know about it beside its data."""
        return Stat._make(self._stat_fields())

    def packed_stat(self) -> bytes:
        """The same as the 68 bytes that go over the wire."""
        return _STAT.pack(*self._stat_fields())

    def packed_children(self) -> bytes:
        """The names as the vector that goes over the wire.

        It is kept until a child comes or goes: often many ask at once who watched.
        """
        if self.listing is None:
            names = [name.encode() for name in self.children or ()]
            pack = _LENGTH.pack
            self.listing = pack(len(names)) + b"".join([pack(len(name)) + name for name in names])
        return self.listing

    def packed_data(self) -> bytes:
        """The data as the buffer that goes over the wire."""
        return _NULL if self.data is None else _LENGTH.pack(len(self.data)) + self.data


class Tree:
    """All znodes by path, and the indexes of those that go by themselves.

    The root has a second name, the empty string, as in DataTree.java: so the parent of
    ``/a`` needs no special case, and reads of ``""`` answer like reads of ``/``.
    """

    def __init__(self) -> None:
        root = ZNode(b"", OPEN_ACL_UNSAFE)
        self.nodes: dict[str, ZNode] = {"": root, "/": root}
        #: Paths by the session that owns them, in the order of their creation.
        self.ephemerals: dict[int, dict[str, None]] = {}
        #: Containers and TTL nodes, which the reaper looks at.
        self.mortal: dict[str, None] = {}
        #: Bytes of paths and data (DataTree.approximateDataSize).
        self.size = 0
        self.attach("/zookeeper", ZNode(b"", OPEN_ACL_UNSAFE))
        self.attach("/zookeeper/quota", ZNode(b"", OPEN_ACL_UNSAFE))
        config = ZNode(b"", READ_ACL_UNSAFE)
        config.aversion = -1
        self.attach("/zookeeper/config", config)

    def __len__(self) -> int:
        return len(self.nodes) - 1

    def get(self, path: str) -> ZNode:
        """The node at a path.

        Raises:
            NoNodeError: there is none; a path that could not be is just not there.
        """
        node = self.nodes.get(path)
        if node is None:
            raise NoNodeError(path)
        return node

    def attach(self, path: str, node: ZNode) -> None:
        """Put a node under its parent, which exists; no counter of the parent changes."""
        base, _, name = path.rpartition("/")
        parent = self.nodes[base]
        if parent.children is None:
            parent.children = {}
        parent.children[name] = None
        parent.listing = None
        self.nodes[path] = node
        self.size += len(path) + len(node.data or b"")
        if node.owner > 0:
            self.ephemerals.setdefault(node.owner, {})[path] = None
        elif node.owner:
            self.mortal[path] = None

    def replace(self, path: str, node: ZNode) -> None:
        """Put a node in the place of one that has no owner; it keeps the children."""
        old = self.nodes[path]
        node.children = old.children
        self.size += len(node.data or b"") - len(old.data or b"")
        self.nodes[path] = node
        if path == "/":
            self.nodes[""] = node

    def detach(self, path: str) -> ZNode:
        """Take a node out, which exists; no counter of the parent changes."""
        base, _, name = path.rpartition("/")
        parent = self.nodes[base]
        assert parent.children is not None
        del parent.children[name]
        parent.listing = None
        node = self.nodes.pop(path)
        self.size -= len(path) + len(node.data or b"")
        if node.owner > 0:
            owned = self.ephemerals[node.owner]
            del owned[path]
            if not owned:
                del self.ephemerals[node.owner]
        elif node.owner:
            del self.mortal[path]
        return node

    def descendants(self, path: str) -> Iterator[str]:
        """The paths below a node, parents before children."""
        waiting = [path or "/"]  # no recursion: trees may be deeper than Python's stack
        while waiting:
            base = waiting.pop()
            below = [join(base, name) for name in self.nodes[base].children or ()]
            yield from below
            waiting += below

    def ephemerals_of(self, session: int) -> Sequence[str]:
        """The paths of a session's ephemeral nodes."""
        return tuple(self.ephemerals.get(session, ()))

    def reapable(self, now: int) -> list[str]:
        """Containers that are empty again and TTL nodes that are over (ContainerManager.java).

        Args:
            now: milliseconds since 1970.
        """
        return [path for path in self.mortal if self._is_over(self.nodes[path], now)]

    @staticmethod
    def _is_over(node: ZNode, now: int) -> bool:
        if node.children:
            return False
        if node.owner == CONTAINER:
            return node.creates > 0  # a container that was never used may be about to be
        ttl = ttl_of(node.owner)
        return ttl is not None and now - node.mtime > ttl
