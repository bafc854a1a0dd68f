"""Read trees from a server, and make plans from them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zkservice.client import Get, GetChildren, ReadResult, ZooKeeperClient
from zkservice.errors import (
    ConnectionLossError,
    MarshallingError,
    NoNodeError,
    ReplyTooLargeError,
    ServerError,
    UnimplementedError,
)
from zkservice.tree.model import TreeNode
from zkservice.tree.plan import Acl, Plan, Stored, Trim, plan_delete, plan_import
from zkservice.treesync.bounded_requests import BoundedRequests, Progress, no_progress
from zkservice.wire.acl import ACL
from zkservice.wire.records import Stat
from zkservice.znodes import join, split

#: Attempts to send a read whose connection is lost each time.
READ_ATTEMPTS: Final = 5

#: Reads in one multi-read request, and such requests under way at a time.
BATCH: Final = 50
BATCHES: Final = 20

T = TypeVar("T")


@dataclass(frozen=True)
class _Wanted:
    """What to read of a node.

    Attributes:
        for_child: returns what to read of a child, by its name; None for nothing but the name.
            If it is None itself, not even the names of the children are read.
    """

    for_child: Callable[[str], _Wanted | None] | None
    data: bool = True
    acl: bool = False


def _everything(name: str) -> _Wanted | None:
    return _Wanted(_everything)


def _below_root(name: str) -> _Wanted | None:
    """``/zookeeper`` belongs to the server, and is not part of the tree."""
    return None if name == "zookeeper" else _everything(name)


def _for_deletion(name: str) -> _Wanted | None:
    """Versions, and whether nodes are ephemeral; no data."""
    return _Wanted(_for_deletion, data=False)


def _for_import(node: TreeNode, trim: Trim, *, top: bool = False) -> _Wanted:
    """Nodes that the tree names, with ACLs; other children only as far as ``trim`` needs them.

    The ``top`` of the tree keeps its ACL and its other children (see `plan_import`).
    """

    def for_child(name: str) -> _Wanted | None:
        if name in node.children:
            return _for_import(node.children[name], trim)
        return _for_deletion(name) if trim and not top else None

    needs_children = bool(node.children) or (trim is not False and not top)
    return _Wanted(for_child if needs_children else None, acl=not top)


class _Reader:
    """Reads a subtree: each reply decides what is read next.

    Data and names of children are read with multi-read requests, where the server has them
    and the reply is not too large.  Everything else is one request each.
    """

    def __init__(self, client: ZooKeeperClient, progress: Progress) -> None:
        self.client = client
        self._progress = progress
        self._reads: deque[_Read] = deque()  # reads for the next multi-read
        self._singles: deque[tuple[_Request, _Visit, int]] = deque()
        self._batches = 0  # multi-reads under way
        self._can_batch = True  # until the server says that it has no multi-read
        self._known_nodes, self._read_nodes = 0, 0  # counted, for the progress

    async def run(self) -> None:
        """Send requests until nothing is left to read."""
        await BoundedRequests(self._start_next).run()

    def queue_read(self, what: Get | GetChildren, visit: _Visit, attempt: int = 1) -> None:
        """Queue a read for a multi-read request."""
        self._reads.append((what, visit, attempt))

    def queue_request(self, request: _Request, visit: _Visit, attempt: int = 1) -> None:
        """Queue a request of its own."""
        self._singles.append((request, visit, attempt))

    def count_known(self) -> None:
        """Count one more known node."""
        self._known_nodes += 1

    def count_read(self) -> None:
        """Count one more node that was read."""
        self._read_nodes += 1
        self._progress(self._read_nodes, self._known_nodes)

    def _start_next(self) -> Deferred[Any] | None:
        if len(self._reads) > 1 and self._can_batch:
            if self._batches < BATCHES:
                return self._start_batch()
        elif self._reads:
            self._queue_separately(*self._reads.popleft())  # a single read needs no multi-read
        if not self._singles:
            return None
        request, visit, attempt = self._singles.popleft()
        return request().addErrback(self._failed, request, visit, attempt)

    def _start_batch(self) -> Deferred[None]:
        batch = [self._reads.popleft() for _ in range(min(BATCH, len(self._reads)))]
        self._batches += 1
        answers = self.client.read_all([what for what, _, _ in batch])
        return answers.addBoth(self._batch_ended).addCallbacks(
            self._batch_replied, self._batch_failed, (batch,), {}, (batch,)
        )

    def _batch_ended(self, answers: T) -> T:
        self._batches -= 1
        return answers

    def _batch_replied(self, answers: list[ReadResult], batch: list[_Read]) -> None:
        for (what, visit, _), answer in zip(batch, answers, strict=True):
            visit.replied(answer, what)

    def _batch_failed(self, failure: Failure, batch: list[_Read]) -> None:
        _, _, attempt = batch[0]
        if failure.check(ConnectionLossError) and attempt < READ_ATTEMPTS:
            self._reads.extend((what, visit, attempt + 1) for what, visit, _ in batch)
            return
        # The client refuses a reply that is too large; so does the embedded server, before that.
        failure.trap(ReplyTooLargeError, MarshallingError, UnimplementedError)
        self._can_batch = not failure.check(UnimplementedError)
        for one in batch:
            self._queue_separately(*one)

    def _queue_separately(self, what: Get | GetChildren, visit: _Visit, attempt: int) -> None:
        """Queue a read as a request of its own."""
        read = self.client.get if isinstance(what, Get) else self.client.get_children
        self.queue_request(lambda: read(what.path).addCallback(visit.replied, what), visit, attempt)

    def _failed(self, failure: Failure, request: _Request, visit: _Visit, attempt: int) -> None:
        if failure.check(NoNodeError):
            visit.deleted()
        elif failure.check(ConnectionLossError) and attempt < READ_ATTEMPTS:
            self.queue_request(request, visit, attempt + 1)
        else:
            failure.raiseException()


class _Visit:
    """One node being read.  If it is deleted meanwhile, it and its descendants are left out."""

    __slots__ = ("_name", "_parent", "_path", "_reader", "_stored", "_wanted")

    def __init__(
        self, reader: _Reader, path: str, parent: Stored, name: str, wanted: _Wanted
    ) -> None:
        self._reader, self._path, self._wanted = reader, path, wanted
        self._parent, self._name = parent, name
        self._stored = parent.children[name] = Stored()
        reader.count_known()
        if wanted.data:
            reader.queue_read(Get(path), self)
        else:
            reader.queue_request(self._read_stat, self)
        if wanted.acl:
            reader.queue_request(self._read_acl, self)

    def deleted(self) -> None:
        """The node was deleted."""
        self._parent.children.pop(self._name, None)

    def replied(self, answer: ReadResult, what: Get | GetChildren) -> None:
        """Store the reply to a read of this node."""
        if isinstance(answer, NoNodeError):
            self.deleted()
        elif isinstance(answer, ServerError):
            raise answer
        elif isinstance(answer, list):
            self._got_children(answer)
        else:
            self._stored.data = answer[0]
            self._got_stat(answer[1])

    def _read_stat(self) -> Deferred[Any]:
        return self._reader.client.exists(self._path).addCallback(self._got_stat)

    def _got_stat(self, stat: Stat | None) -> None:
        if stat is None:
            self.deleted()
            return
        stored = self._stored
        stored.version, stored.aversion = stat.version, stat.aversion
        stored.ephemeral = stat.ephemeral_owner != 0
        if stat.num_children and self._wanted.for_child is not None:
            self._reader.queue_read(GetChildren(self._path), self)
        self._reader.count_read()

    def _got_children(self, names: list[str]) -> None:
        assert self._wanted.for_child is not None
        for name in names:
            wanted = self._wanted.for_child(name)
            if wanted is None:
                self._stored.children[name] = Stored()
            else:
                _Visit(self._reader, join(self._path, name), self._stored, name, wanted)

    def _read_acl(self) -> Deferred[Any]:
        return self._reader.client.get_acl(self._path).addCallback(self._got_acl)

    def _got_acl(self, answer: tuple[list[ACL], Stat]) -> None:
        self._stored.acl = tuple(answer[0])
        self._stored.aversion = answer[1].aversion


_Request = Callable[[], "Deferred[Any]"]
_Read = tuple["Get | GetChildren", _Visit, int]  # the last one: which attempt it is


async def _read_stored(
    client: ZooKeeperClient, path: str, wanted: _Wanted, progress: Progress
) -> Stored:
    parent = Stored()  # of the node at ``path``, only so that a visit can remove that node
    reader = _Reader(client, progress)
    _Visit(reader, path, parent, "", wanted)
    await reader.run()
    if "" not in parent.children:
        raise NoNodeError(path)
    return parent.children[""]


def read_tree(
    client: ZooKeeperClient, path: str = "/", *, progress: Progress = no_progress
) -> Deferred[Stored]:
    """Read a node and its descendants; below ``/zookeeper``, the server's own, nothing is read.

    Args:
        client: connected.
        path: a real path.
        progress: called with the number of nodes read, and of those known so far.

    Fails with:
        NoNodeError: there is no such node.
        NoAuthError: a node may not be read; the error has its path.
    """
    wanted = _Wanted(_below_root if path == "/" else _everything)
    return Deferred.fromCoroutine(_read_stored(client, path, wanted, progress))


def make_import_plan(
    client: ZooKeeperClient,
    tree: TreeNode,
    path: str = "/",
    *,
    acl: Acl,
    trim: Trim = None,
    create: bool = False,
    progress: Progress = no_progress,
) -> Deferred[Plan]:
    """Plan the changes that make the nodes at and below ``path`` equal to the tree.

    Nothing is changed.  The node at ``path`` gets the properties of the tree's root, if that has
    any; it keeps its ACL, and the children that the tree does not name.

    Args:
        client: connected.
        tree: what is wanted.
        path: where the tree goes; a real path.
        acl: for every node of the tree.
        trim: True deletes descendants that the tree does not name, except ephemeral nodes
            and their ancestors; None reports them; False ignores them.
        progress: called with the number of nodes read, and of those known so far.
        create: the plan creates the node at ``path`` and its ancestors if they are missing.

    Fails with:
        NoNodeError: there is no node at ``path`` and ``create`` is False, or the chroot does
            not exist.
    """

    async def make() -> Plan:
        try:
            stored = await _read_stored(client, path, _for_import(tree, trim, top=True), progress)
        except NoNodeError:
            if not create or path == "/":
                raise
            ancestor, whole_tree = await _within_existing(client, path, tree)
            return plan_import(whole_tree, Stored(), ancestor, acl=acl, trim=False)
        return plan_import(tree, stored, path, acl=acl, trim=trim)

    return Deferred.fromCoroutine(make())


async def _within_existing(
    client: ZooKeeperClient, path: str, tree: TreeNode
) -> tuple[str, TreeNode]:
    """The nearest existing ancestor of a missing path, and the tree relative to it."""
    while path != "/":
        path, name = split(path)
        tree = TreeNode({}, {name: tree})
        if await client.exists(path) is not None:
            break
    return path, tree


def make_delete_plan(
    client: ZooKeeperClient, path: str, *, force: bool = False, progress: Progress = no_progress
) -> Deferred[Plan]:
    """Plan the deletion of a node and its descendants, except ephemeral ones.

    Fails with:
        NoNodeError: there is no such node.
        InvalidPathError: it is the root.
    """

    async def make() -> Plan:
        if path == "/":
            return plan_delete(path, Stored())
        stored = await _read_stored(client, path, _Wanted(_for_deletion, data=False), progress)
        return plan_delete(path, stored, force=force)

    return Deferred.fromCoroutine(make())


async def walk(
    client: ZooKeeperClient, path: str = "/", *, ephemeral: bool = True
) -> AsyncIterator[tuple[str, list[str]]]:
    """Yield paths with the names of the children: parents first, names in order.

    Nodes are read as the walk proceeds.  Nodes that are deleted before their turn are left
    out, and so are names that the caller removes from a list.

    Args:
        client: connected.
        path: a real path, where to start.
        ephemeral: include ephemeral nodes.
    """
    pending = [path]
    while pending:
        here = pending.pop()
        try:
            if not ephemeral:
                stat = await client.exists(here)
                if stat is None or stat.ephemeral_owner:
                    continue
            names = sorted(await client.get_children(here))
        except NoNodeError:
            continue
        yield here, names
        pending += [join(here, name) for name in reversed(names)]
