"""The tree of znodes, and their encoded replies.

Source: DataTree.java, DataNode.java, StatPersisted.  Only `Transaction` changes a
tree, and only `Store` fills one.  Times are milliseconds since 1970, as in a `Stat`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

from zkservice.errors import NoNodeError
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE
from zkservice.wire.records import Stat
from zkservice.znodes import join

#: An access control list as the tree keeps it: immutable, so nodes share it.
AccessList = tuple[ACL, ...]

#: ``ZNode.owner`` of a container (EphemeralType.CONTAINER_EPHEMERAL_OWNER, signed).
CONTAINER: Final = -(1 << 63)
#: ``ZNode.owner`` of a TTL node is this and its TTL in milliseconds (EphemeralType.TTL).
_TTL_OWNER: Final = -(1 << 56)
#: The longest TTL in milliseconds, about 34.8 years (EphemeralType.MAX_TTL).
MAX_TTL: Final = (1 << 40) - 1

#: Nodes that every server has and that cannot be deleted (Quotas, ZooDefs).
SPECIAL_PATHS: Final = frozenset(("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"))

_STAT: Final = Struct(">qqqqiiiqiiq")
_LENGTH: Final = Struct(">i")
_NULL: Final = b"\xff\xff\xff\xff"
_INT_MAX: Final = (1 << 31) - 1


def ttl_owner(milliseconds: int) -> int:
    """The ``owner`` of a node with this TTL."""
    return _TTL_OWNER | milliseconds


def ttl_of(owner: int) -> int | None:
    """The TTL in milliseconds of a TTL node's ``owner``; None for any other."""
    return owner - _TTL_OWNER if _TTL_OWNER <= owner <= _TTL_OWNER | MAX_TTL else None


def wrap_int32(number: int) -> int:
    """A number as Java's 32-bit integers overflow."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


class ZNode:
    """One znode.

    ``owner`` is the session id of an ephemeral node, `CONTAINER`, a TTL (see `ttl_owner`), or 0.
    """

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
        #: Children ever created; sequence numbers and ``cversion`` derive from it.
        self.creates = 0
        #: Names in the order of their creation; None if there never was a child.
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
            wrap_int32(2 * self.creates - count),  # cversion: children created and deleted
            self.aversion,
            self.owner if self.owner > 0 else 0,
            len(self.data) if self.data else 0,
            count,
            self.pzxid,
        )

    def stat(self) -> Stat:
        """Its `Stat`."""
        return Stat._make(self._stat_fields())

    def packed_stat(self) -> bytes:
        """Its `Stat` as the 68 bytes on the wire."""
        return _STAT.pack(*self._stat_fields())

    def packed_children(self) -> bytes:
        """The names of its children as a vector on the wire.

        It is cached until a child is created or deleted: when many clients watch the children,
        all of them read it at the same time.
        """
        if self.listing is None:
            names = [name.encode() for name in self.children or ()]
            pack = _LENGTH.pack
            self.listing = pack(len(names)) + b"".join([pack(len(name)) + name for name in names])
        return self.listing

    def packed_data(self) -> bytes:
        """Its data as a buffer on the wire."""
        return _NULL if self.data is None else _LENGTH.pack(len(self.data)) + self.data


class Tree:
    """All znodes by path, and indexes of the nodes that the server deletes by itself.

    The root has a second name, the empty string, as in DataTree.java: so the parent of
    ``/a`` needs no special case, and a read of ``""`` returns the same as one of ``/``.
    """

    def __init__(self) -> None:
        root = ZNode(b"", OPEN_ACL_UNSAFE)
        self.nodes: dict[str, ZNode] = {"": root, "/": root}
        #: Paths by the session that owns them, in the order of their creation.
        self.ephemerals: dict[int, dict[str, None]] = {}
        #: Containers and TTL nodes.
        self.reap_candidates: dict[str, None] = {}
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
            NoNodeError: the node does not exist, or the path is invalid.
        """
        node = self.nodes.get(path)
        if node is None:
            raise NoNodeError(path)
        return node

    def attach(self, path: str, node: ZNode) -> None:
        """Add a node to its parent, which must exist; the parent's counters do not change."""
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
            self.reap_candidates[path] = None

    def replace(self, path: str, node: ZNode) -> None:
        """Replace a node without an owner; the new one gets its children."""
        old = self.nodes[path]
        node.children = old.children
        self.size += len(node.data or b"") - len(old.data or b"")
        self.nodes[path] = node
        if path == "/":
            self.nodes[""] = node

    def detach(self, path: str) -> ZNode:
        """Remove a node, which must exist; the parent's counters do not change."""
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
            del self.reap_candidates[path]
        return node

    def descendants(self, path: str) -> Iterator[str]:
        """The paths below a node, parents before children."""
        waiting = [path or "/"]  # no recursion: a tree may be deeper than Python's stack
        while waiting:
            base = waiting.pop()
            below = [join(base, name) for name in self.nodes[base].children or ()]
            yield from below
            waiting += below

    def ephemerals_of(self, session: int) -> Sequence[str]:
        """The paths of a session's ephemeral nodes."""
        return tuple(self.ephemerals.get(session, ()))

    def reapable(self, now: int) -> list[str]:
        """Empty containers, and empty TTL nodes whose TTL has passed (ContainerManager.java).

        Args:
            now: milliseconds since 1970.
        """
        return [path for path in self.reap_candidates if self._is_reapable(self.nodes[path], now)]

    @staticmethod
    def _is_reapable(node: ZNode, now: int) -> bool:
        if node.children:
            return False
        if node.owner == CONTAINER:
            # Not before its first child: its client may be about to create it.
            return node.creates > 0
        ttl = ttl_of(node.owner)
        return ttl is not None and now - node.mtime > ttl
