"""Changes of the tree: each is checked, applied, and can be rolled back.

Source: PrepRequestProcessor.pRequest2Txn (the checks, in its order), DataTree.processTxn
(the changes).  A transaction holds one change or all changes of a multi, with one zxid.
Later changes see earlier ones.  Watches fire when it is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from zkservice.embedded import quotas
from zkservice.embedded.access import ConnectionIdentities
from zkservice.embedded.nodes import (
    CONTAINER,
    MAX_TTL,
    SPECIAL_PATHS,
    AccessList,
    Tree,
    ZNode,
    ttl_owner,
    wrap_int32,
)
from zkservice.errors import (
    BadArgumentsError,
    BadVersionError,
    InvalidPathError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NotEmptyError,
    UnimplementedError,
)
from zkservice.wire.acl import ACL, Permission
from zkservice.wire.records import CreateFlag
from zkservice.wire.watches import EventType
from zkservice.znodes import validate

#: The last sequence number: creating sequential children beyond it is refused.  Java's
#: server hands the same name out again and again (DataTree.createNode keeps the counter).
LAST_SEQUENCE: Final = (1 << 31) - 1


class Mode(NamedTuple):
    """The kind of node to create."""

    sequential: bool
    ephemeral: bool
    owner: int  # of a node that is not ephemeral: 0, `CONTAINER`, or a TTL


_SEQUENTIAL: Final = frozenset(
    (
        CreateFlag.PERSISTENT_SEQUENTIAL,
        CreateFlag.EPHEMERAL_SEQUENTIAL,
        CreateFlag.PERSISTENT_SEQUENTIAL_TTL,
    )
)
_EPHEMERAL: Final = frozenset((CreateFlag.EPHEMERAL, CreateFlag.EPHEMERAL_SEQUENTIAL))
_TTL: Final = frozenset((CreateFlag.PERSISTENT_TTL, CreateFlag.PERSISTENT_SEQUENTIAL_TTL))


def mode_of(flags: int, *, ttl: int | None, container: bool, ttl_enabled: bool) -> Mode:
    """The kind of node that a create request asks for.

    Args:
        flags: as sent; a valid one is a `CreateFlag`.
        ttl: milliseconds; None if the request has no such field.
        container: whether the request is createContainer.  Only it creates containers: any
            other request with `CreateFlag.CONTAINER` creates a plain node.
        ttl_enabled: whether this server has TTL nodes.

    Raises:
        BadArgumentsError: an unknown flag, or the flag and the TTL do not match.
        UnimplementedError: TTL nodes are switched off.
    """
    if not 0 <= flags <= CreateFlag.PERSISTENT_SEQUENTIAL_TTL:
        raise BadArgumentsError
    owner = CONTAINER if container else 0
    if flags in _TTL:
        if not ttl_enabled:
            raise UnimplementedError
        if ttl is None or not 0 < ttl <= MAX_TTL:
            raise BadArgumentsError
        owner = ttl_owner(ttl)
    elif ttl is not None:
        raise BadArgumentsError
    return Mode(flags in _SEQUENTIAL, flags in _EPHEMERAL and not container, owner)


class NodeEvent(NamedTuple):
    """A watch event, and the ACL that decides which watchers may get it."""

    type: EventType
    path: str
    acl: AccessList


class Rules(NamedTuple):
    """The settings of a server that concern changes."""

    #: The schemes that entries of ACLs may have.
    schemes: frozenset[str]
    #: Whether hard quotas refuse writes.
    enforce_quota: bool = False


class Transaction:
    """Changes under one zxid, on behalf of one connection.

    Args:
        tree: the tree to change.
        zxid: the number of the transaction.
        time: milliseconds since 1970.
        identities: the identities of the connection.
        session: the id of the session that will own ephemeral nodes.
        rules: the server's settings.
    """

    __slots__ = (
        "_identities",
        "_rules",
        "_session",
        "_time",
        "_tree",
        "_undo",
        "events",
        "touched",
        "zxid",
    )

    def __init__(
        self,
        tree: Tree,
        zxid: int,
        time: int,
        identities: ConnectionIdentities,
        session: int,
        rules: Rules,
    ) -> None:
        self.zxid = zxid
        self.events: list[NodeEvent] = []
        #: Paths of nodes that changed.  False: only the node's counters of children did
        #: (``creates`` and ``pzxid``).
        self.touched: dict[str, bool] = {}
        self._tree = tree
        self._time = time
        self._identities = identities
        self._session = session
        self._rules = rules
        self._undo: list[Callable[[], None]] = []

    def rollback(self) -> None:
        """Undo all changes, the last first."""
        while self._undo:
            self._undo.pop()()
        self.events.clear()
        self.touched.clear()

    def create(
        self, path: str, data: bytes | None, acl: Sequence[ACL] | None, mode: Mode
    ) -> tuple[str, ZNode]:
        """Create a node; returns its actual path and the node.

        Raises:
            BadArgumentsError: the path is invalid, or the parent has no sequence numbers left.
            InvalidACLError, NoNodeError (the parent), NoAuthError (CREATE on the parent),
            NodeExistsError, NoChildrenForEphemeralsError, QuotaExceededError.
        """
        base = _parent_of(path)
        stored_acl = self._identities.resolve(acl, self._rules.schemes)
        parent = self._tree.get(base)
        self._identities.require(parent.acl, Permission.CREATE, path)
        if mode.sequential:
            if parent.creates > LAST_SEQUENCE:
                raise BadArgumentsError(path, "the parent has no sequence numbers left")
            path = f"{path}{parent.creates:010d}"
        _validate(path)
        if path in self._tree.nodes:
            raise NodeExistsError(path)
        if parent.session:
            raise NoChildrenForEphemeralsError(path)
        if self._rules.enforce_quota:
            quotas.require(self._tree, path, 1, len(data or b""))
        owner = self._session if mode.ephemeral else mode.owner
        node = ZNode(data, stored_acl, owner, self.zxid, self._time)
        self._attach(path, node, base, parent)
        return path, node

    def delete(self, path: str, version: int) -> None:
        """Delete a node.

        Raises:
            BadArgumentsError: the path is invalid, or one of `SPECIAL_PATHS`.
            NoNodeError, NoAuthError (DELETE on the parent), BadVersionError, NotEmptyError.
        """
        base = _parent_of(path)
        if path in SPECIAL_PATHS:
            raise BadArgumentsError(path)
        parent = self._tree.get(base)
        self._identities.require(parent.acl, Permission.DELETE, path)
        node = self._tree.get(path)
        _require_version(path, version, node.version)
        if node.children:
            raise NotEmptyError(path)
        self._detach(path, base, parent)

    def set_data(self, path: str, data: bytes | None, version: int) -> ZNode:
        """Change the data, even to the same bytes; returns the node.

        Raises:
            BadArgumentsError, NoNodeError, NoAuthError (WRITE), QuotaExceededError,
            BadVersionError.
        """
        _validate(path)
        node = self._tree.get(path)
        self._identities.require(node.acl, Permission.WRITE, path)
        more = len(data or b"") - len(node.data or b"")
        if self._rules.enforce_quota:
            quotas.require(self._tree, path, 0, more)
        _require_version(path, version, node.version)
        before = (node.data, node.mzxid, node.mtime, node.version)
        tree = self._tree

        def undo() -> None:
            tree.size -= more
            node.data, node.mzxid, node.mtime, node.version = before

        self._undo.append(undo)
        tree.size += more
        node.data, node.mzxid, node.mtime = data, self.zxid, self._time
        node.version = _next_version(node.version)
        self.touched[path] = True
        self.events.append(NodeEvent(EventType.DATA_CHANGED, path, node.acl))
        self._count_in_quota(path, 0, more)
        return node

    def set_acl(self, path: str, acl: Sequence[ACL] | None, version: int) -> ZNode:
        """Change the access control list; returns the node.

        Raises:
            BadArgumentsError, InvalidACLError, NoNodeError, NoAuthError (ADMIN),
            BadVersionError (of ``aversion``).
        """
        _validate(path)
        stored_acl = self._identities.resolve(acl, self._rules.schemes)
        node = self._tree.get(path)
        self._identities.require(node.acl, Permission.ADMIN, path)
        _require_version(path, version, node.aversion)
        before = (node.acl, node.aversion)

        def undo() -> None:
            node.acl, node.aversion = before

        self._undo.append(undo)
        node.acl, node.aversion = stored_acl, _next_version(node.aversion)
        self.touched[path] = True
        return node

    def check(self, path: str, version: int) -> None:
        """Check that a node has a version, or (-1) that it exists.

        Raises:
            BadArgumentsError, NoNodeError, NoAuthError (READ), BadVersionError.
        """
        _validate(path)
        node = self._tree.get(path)
        self._identities.require(node.acl, Permission.READ, path)
        _require_version(path, version, node.version)

    def delete_unchecked(self, path: str) -> None:
        """Delete a node on behalf of the server, without checking permissions or the version."""
        base = path[: path.rindex("/")]
        self._detach(path, base, self._tree.get(base))

    def _attach(self, path: str, node: ZNode, base: str, parent: ZNode) -> None:
        def undo_attach() -> None:
            self._tree.detach(path)

        self._undo_counters(parent)
        self._tree.attach(path, node)
        self._undo.append(undo_attach)
        if parent.creates <= LAST_SEQUENCE:
            parent.creates += 1
        parent.pzxid = self.zxid
        self._add_events(EventType.CREATED, path, node, base, parent)
        used = quotas.initial_usage(self._tree, path)
        if used is not None:
            self._write_counter(path, node, used)
        self._count_in_quota(path, 1, len(node.data or b""))

    def _detach(self, path: str, base: str, parent: ZNode) -> None:
        self._undo_counters(parent)
        node = self._tree.detach(path)
        self._undo.append(lambda: self._tree.attach(path, node))
        parent.pzxid = self.zxid
        self._add_events(EventType.DELETED, path, node, base, parent)
        self._count_in_quota(path, -1, -len(node.data or b""))

    def _count_in_quota(self, path: str, nodes: int, size: int) -> None:
        """Count a change in the quota of its path, if there is one."""
        found = quotas.counter_of(self._tree, path)
        if found is not None:
            counter, node = found
            self._write_counter(counter, node, quotas.usage_of(node).plus(nodes, size))

    def _write_counter(self, path: str, node: ZNode, used: quotas.Usage) -> None:
        """Change a counter's data and nothing else; no watch fires."""
        before, after, tree = node.data, used.packed(), self._tree
        more = len(after) - len(before or b"")

        def undo() -> None:
            node.data = before
            tree.size -= more

        self._undo.append(undo)
        node.data = after
        tree.size += more
        self.touched[path] = True

    def _undo_counters(self, parent: ZNode) -> None:
        """Have a rollback restore the parent's counters; call it before they change."""
        creates, pzxid = parent.creates, parent.pzxid

        def undo() -> None:
            parent.creates, parent.pzxid = creates, pzxid

        self._undo.append(undo)

    def _add_events(
        self, type: EventType, path: str, node: ZNode, base: str, parent: ZNode
    ) -> None:
        self.touched[path] = True
        self.touched.setdefault(base or "/", False)
        self.events.append(NodeEvent(type, path, node.acl))
        self.events.append(NodeEvent(EventType.CHILDREN_CHANGED, base or "/", parent.acl))


def _parent_of(path: str) -> str:
    slash = path.rfind("/")
    if slash < 0 or "\0" in path:
        raise BadArgumentsError(path)
    return path[:slash]


def _validate(path: str) -> None:
    try:
        validate(path)
    except InvalidPathError as error:
        raise BadArgumentsError(path, str(error)) from None


def _require_version(path: str, wanted: int, version: int) -> None:
    if wanted not in (-1, version):
        raise BadVersionError(path)


def _next_version(version: int) -> int:
    """The next version; never -1, which would match any (PrepRequestProcessor, 3.10)."""
    return 0 if version == -2 else wrap_int32(version + 1)
