"""Changes of the tree: each is checked, applied, and can be taken back.

Source: PrepRequestProcessor.pRequest2Txn (the checks, in its order), DataTree.processTxn
(the changes).  A transaction holds one change or the many of a multi; all have one zxid.
Later changes see earlier ones.  Watches are told when it is committed.
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
    wrap,
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
from zkservice.wire.paths import validate
from zkservice.wire.records import CreateFlag
from zkservice.wire.watches import EventType

#: The last sequence number: creating sequential children beyond it is refused.  Java's
#: server hands the same name out again and again (DataTree.createNode keeps the counter).
LAST_SEQUENCE: Final = (1 << 31) - 1


class Mode(NamedTuple):
    """What kind of node is to be made."""

    sequential: bool
    ephemeral: bool
    owner: int  # of a node that is not ephemeral: 0, or container or TTL


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
    """What a create request asks for.

    Args:
        flags: as sent, a `CreateFlag` if all is well.
        ttl: milliseconds, None if the operation has no such field.
        container: the operation is createContainer, which alone makes containers:
            with `CreateFlag.CONTAINER` any other makes a plain node.
        ttl_enabled: whether this server makes TTL nodes.

    Raises:
        BadArgumentsError: an unknown flag, or flag and TTL do not belong together.
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
    """What watches are told of a change, and the list that says who may know."""

    type: EventType
    path: str
    acl: AccessList


class Rules(NamedTuple):
    """What a server's settings say about changes."""

    #: Schemes that entries of access control lists may have.
    schemes: frozenset[str]
    #: Whether hard quotas refuse writes.
    enforce_quota: bool = False


class Transaction:
    """Changes under one zxid, on behalf of one connection.

    Args:
        tree: what is changed.
        zxid: the number of the transaction.
        time: milliseconds since 1970.
        identities: of the connection.
        session: its session's id, which will own ephemeral nodes.
        rules: what the server's settings say about it.
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
        #: Paths whose nodes changed; True if more of the node than its counters did.
        self.touched: dict[str, bool] = {}
        self._tree = tree
        self._time = time
        self._identities = identities
        self._session = session
        self._rules = rules
        self._undo: list[Callable[[], None]] = []

    def rollback(self) -> None:
        """Take all changes back, the last first."""
        while self._undo:
            self._undo.pop()()
        self.events.clear()
        self.touched.clear()

    def create(
        self, path: str, data: bytes | None, acl: Sequence[ACL] | None, mode: Mode
    ) -> tuple[str, ZNode]:
        """Make a node; answers its real path and the node.

        Raises:
            BadArgumentsError: the path is none, or the parent ran out of sequence numbers.
            InvalidACLError, NoNodeError (the parent), NoAuthError (CREATE on the parent),
            NodeExistsError, NoChildrenForEphemeralsError, QuotaExceededError.
        """
        base = _parent_of(path)
        wanted = self._identities.complete(acl, self._rules.schemes)
        parent = self._tree.get(base)
        self._identities.demand(parent.acl, Permission.CREATE, path)
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
            quotas.demand(self._tree, path, 1, len(data or b""))
        owner = self._session if mode.ephemeral else mode.owner
        node = ZNode(data, wanted, owner, self.zxid, self._time)
        self._attach(path, node, base, parent)
        return path, node

    def delete(self, path: str, version: int) -> None:
        """Take a node away.

        Raises:
            BadArgumentsError: the path is none, or one of the nodes that must stay.
            NoNodeError, NoAuthError (DELETE on the parent), BadVersionError, NotEmptyError.
        """
        base = _parent_of(path)
        if path in SPECIAL_PATHS:
            raise BadArgumentsError(path)
        parent = self._tree.get(base)
        self._identities.demand(parent.acl, Permission.DELETE, path)
        node = self._tree.get(path)
        _demand_version(path, version, node.version)
        if node.children:
            raise NotEmptyError(path)
        self._detach(path, base, parent)

    def set_data(self, path: str, data: bytes | None, version: int) -> ZNode:
        """Change the data, to the same bytes too; answers the node.

        Raises:
            BadArgumentsError, NoNodeError, NoAuthError (WRITE), QuotaExceededError,
            BadVersionError.
        """
        _validate(path)
        node = self._tree.get(path)
        self._identities.demand(node.acl, Permission.WRITE, path)
        more = len(data or b"") - len(node.data or b"")
        if self._rules.enforce_quota:
            quotas.demand(self._tree, path, 0, more)
        _demand_version(path, version, node.version)
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
        self._charge(path, 0, more)
        return node

    def set_acl(self, path: str, acl: Sequence[ACL] | None, version: int) -> ZNode:
        """Change the access control list; answers the node.

        Raises:
            BadArgumentsError, InvalidACLError, NoNodeError, NoAuthError (ADMIN),
            BadVersionError (of ``aversion``).
        """
        _validate(path)
        wanted = self._identities.complete(acl, self._rules.schemes)
        node = self._tree.get(path)
        self._identities.demand(node.acl, Permission.ADMIN, path)
        _demand_version(path, version, node.aversion)
        before = (node.acl, node.aversion)

        def undo() -> None:
            node.acl, node.aversion = before

        self._undo.append(undo)
        node.acl, node.aversion = wanted, _next_version(node.aversion)
        self.touched[path] = True
        return node

    def check(self, path: str, version: int) -> None:
        """Insist that a node has a version, or (-1) that it exists.

        Raises:
            BadArgumentsError, NoNodeError, NoAuthError (READ), BadVersionError.
        """
        _validate(path)
        node = self._tree.get(path)
        self._identities.demand(node.acl, Permission.READ, path)
        _demand_version(path, version, node.version)

    def remove(self, path: str) -> None:
        """Take a node away that goes by itself: nobody's permission is asked."""
        base = path[: path.rindex("/")]
        self._detach(path, base, self._tree.get(base))

    def _attach(self, path: str, node: ZNode, base: str, parent: ZNode) -> None:
        self._keep_counters(parent)
        self._tree.attach(path, node)
        self._undo.append(lambda: self._take_back(path))
        if parent.creates <= LAST_SEQUENCE:
            parent.creates += 1
        parent.pzxid = self.zxid
        self._tell(EventType.CREATED, path, node, base, parent)
        used = quotas.counted(self._tree, path)
        if used is not None:
            self._write_counter(path, node, used)
        self._charge(path, 1, len(node.data or b""))

    def _detach(self, path: str, base: str, parent: ZNode) -> None:
        self._keep_counters(parent)
        node = self._tree.detach(path)
        self._undo.append(lambda: self._tree.attach(path, node))
        parent.pzxid = self.zxid
        self._tell(EventType.DELETED, path, node, base, parent)
        self._charge(path, -1, -len(node.data or b""))

    def _charge(self, path: str, nodes: int, size: int) -> None:
        """Count a change where there is a quota."""
        found = quotas.counter_of(self._tree, path)
        if found is not None:
            counter, node = found
            self._write_counter(counter, node, quotas.usage_of(node).plus(nodes, size))

    def _write_counter(self, path: str, node: ZNode, used: quotas.Usage) -> None:
        """Change a counter's data, and nothing else of it; no watch hears of it."""
        before, after, tree = node.data, used.packed(), self._tree
        more = len(after) - len(before or b"")

        def undo() -> None:
            node.data = before
            tree.size -= more

        self._undo.append(undo)
        node.data = after
        tree.size += more
        self.touched[path] = True

    def _take_back(self, path: str) -> None:
        self._tree.detach(path)

    def _keep_counters(self, parent: ZNode) -> None:
        creates, pzxid = parent.creates, parent.pzxid

        def undo() -> None:
            parent.creates, parent.pzxid = creates, pzxid

        self._undo.append(undo)

    def _tell(self, type: EventType, path: str, node: ZNode, base: str, parent: ZNode) -> None:
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


def _demand_version(path: str, wanted: int, version: int) -> None:
    if wanted not in (-1, version):
        raise BadVersionError(path)


def _next_version(version: int) -> int:
    """The next one; never -1, which would mean "any" (PrepRequestProcessor, 3.10)."""
    return 0 if version == -2 else wrap(version + 1)
