"""Queues: producers add items, and each item goes to one consumer."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, fail
from twisted.python.failure import Failure

from zkservice.errors import NoAuthError, NoNodeError, ZooKeeperError
from zkservice.recipes.client_protocol import Client, Transaction
from zkservice.recipes.lease import Lease
from zkservice.recipes.lock import Lock
from zkservice.recipes.marked import CannotMarkError, MarkedWrites
from zkservice.recipes.recipe import Recipe
from zkservice.recipes.retrying import Doubt, cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join, split

#: The prefix of items' names, as in txzookeeper and kazoo.
PREFIX: Final = "entry-"
#: The suffix of a reservation: the node of an item's consumer, as in txzookeeper.
RESERVED: Final = "-processing"
#: The suffix of the path at which waiting consumers queue.
CONSUMERS: Final = "-consumers"
#: The suffix of the path of the marks that producers leave.
MARKS: Final = "-producers"

T = TypeVar("T")


class BaseQueue(Recipe, Generic[T]):
    """The base of the queues: adds, counts and waits for items.

    Args:
        client: need not be connected yet.
        path: the parent of the items' nodes; created when it is missing.
        acl: the ACL of the items, and of the path if it has to be created.
        ephemeral: items that this object adds are deleted when the session ends.
        reactor: schedules timers; the installed one if None.

    Raises:
        InvalidPathError: the path is invalid.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        ephemeral: bool = False,
        reactor: Any = None,
    ) -> None:
        super().__init__(client, path, acl=acl, reactor=reactor)
        self.ephemeral = ephemeral
        self._one_at_a_time = DeferredLock()
        self._marked: MarkedWrites | None  # None if the ACL allows no marks
        self._marked = MarkedWrites(self._retrying, self.path + MARKS, self._acl)
        self._consumers = Lock(client, self.path + CONSUMERS, acl=self._acl, reactor=reactor)

    def put(self, item: bytes, priority: int = 100) -> Deferred[str]:
        """Add an item exactly once; fires with its path.

        If the reply is lost, a temporary mark below ``PATH-producers`` shows whether the item
        was added.  Then the path has no number if a consumer has taken the item meanwhile.

        Args:
            item: the item's data.
            priority: 0 to 999; lower ones come first, equal ones in the order of adding.

        Fails with:
            ConnectionLossError: the item may be in the queue.  The outcome is unknown because
                the session has ended, or the ACLs allow no mark beside the queue.
            ValueError: the priority or the item is invalid.
        """
        if not 0 <= priority <= 999:
            return fail(ValueError(f"priority must be from 0 to 999, got {priority}"))
        if not isinstance(item, bytes):
            return fail(ValueError(f"expected bytes as an item, got {type(item).__name__}"))
        return Deferred.fromCoroutine(self._put(item, priority))

    def get(self) -> Deferred[T]:
        """Take the first item, and wait until there is one.

        Waiting consumers queue below ``PATH-consumers``, and are served in this order.
        Several calls on one queue object are served one after the other.  Cancelling it
        leaves all items in the queue; the call fails when its nodes are gone, or within two
        seconds if there is no connection.
        """
        return Deferred.fromCoroutine(self._get())

    def qsize(self) -> Deferred[int]:
        """The number of items, including those that a consumer has reserved."""
        return Deferred.fromCoroutine(self._qsize())

    # -- internals --------------------------------------------------------------------

    async def _claim(self, path: str) -> T | None:
        """Take or reserve an item; None if another consumer was faster."""
        raise NotImplementedError

    async def _put(self, item: bytes, priority: int) -> str:
        path = join(self.path, f"{PREFIX}{priority:03d}-")

        def add_write(transaction: Transaction) -> None:
            transaction.create(path, item, self._acl, ephemeral=self.ephemeral, sequence=True)

        if self._marked is not None:
            marked = self._marked
            try:
                outcome = await self._retrying.with_parent(
                    path, self._acl, lambda: marked.run(add_write)
                )
            except CannotMarkError:
                self._marked = None
            else:
                if outcome.results is not None:
                    return str(outcome.results[0])
                return await self._retrying.retry_across_sessions(
                    lambda: self._find(path, outcome.zxid)
                )
        return await self._put_unmarked(path, item)

    async def _find(self, path: str, zxid: int) -> str:
        """The path of the item that a transaction has created; without a number if it is gone."""
        client, prefix = self._retrying.client, split(path)[1]
        for name in reversed(items(await self._names())):
            stat = None
            if name.startswith(prefix):
                stat = await client.exists(join(self.path, name))
            if stat is not None and stat.czxid == zxid:
                return join(self.path, name)
            if stat is not None and stat.czxid < zxid:
                break  # an older item: the searched one would have come before it
        return path

    async def _put_unmarked(self, path: str, item: bytes) -> str:
        client = self._retrying.client

        async def attempt(doubt: Doubt) -> str:
            if doubt.error is not None:
                raise doubt.error
            return await client.create(
                path, item, self._acl, ephemeral=self.ephemeral, sequence=True
            )

        return await self._retrying.with_parent(
            path, self._acl, lambda: self._retrying.run(attempt, across_sessions=True)
        )

    async def _get(self) -> T:
        await self._one_at_a_time.acquire()
        try:
            return await self._retrying.retry_across_sessions(self._first)
        finally:
            self._one_at_a_time.release()

    async def _first(self) -> T:
        """The first item that is free; waits for one."""
        for name in available(await self._retrying.retry(self._names)):
            item = await self._claim(join(self.path, name))
            if item is not None:
                return item
        turn = await self._queue_up()
        if turn is None:
            return await self._wait_for_item()
        return await self._while_held(turn, self._wait_for_item())

    async def _queue_up(self) -> Lease | None:
        """Wait until this consumer is the first of those that wait.

        Only the first one watches the items, so a new item wakes one consumer and not all.
        None if the ACLs allow no queue of consumers: then all consumers watch the items.
        """
        try:
            return await self._consumers.acquire()
        except NoAuthError:
            return None

    async def _while_held(self, lease: Lease, getting: Awaitable[T]) -> T:
        """Get an item and release a lease; after a failure, wait until the lease's node is gone."""

        async def leave() -> None:
            await lease.release()

        item: T | None = await self._retrying.enter_or_leave(lease.path, getting, leave)
        assert item is not None
        lease.release().addErrback(lambda failure: None)  # the session's end deletes it
        return item

    async def _wait_for_item(self) -> T:
        client = self._retrying.client
        while True:
            names, watch = await self._retrying.with_parent(
                join(self.path, PREFIX),
                self._acl,
                lambda: self._retrying.read_and_watch(
                    lambda: client.get_children_and_watch(self.path)
                ),
            )
            try:
                for name in available(names):
                    item = await self._claim(join(self.path, name))
                    if item is not None:
                        return item
                await watch
            finally:
                cancel_watch(watch)

    async def _names(self) -> list[str]:
        try:
            return await self._retrying.client.get_children(self.path)
        except NoNodeError:
            return []

    async def _qsize(self) -> int:
        return len(items(await self._retrying.retry_across_sessions(self._names)))


class Queue(BaseQueue[bytes]):
    """A queue that deletes items when they are taken; ``get`` fires with the bytes.

    It interoperates with kazoo's ``Queue``.  Use a `ReliableQueue` if a crash of a consumer must
    not lose an item.  If the connection breaks during the deletion of an item that is gone
    afterwards, the item is returned: only then may another consumer have received it as well.
    """

    async def _claim(self, path: str) -> bytes | None:
        found = await self._retrying.get(path)
        if found is None:
            return None
        data, stat = found
        outcome: Deferred[bool] = Deferred()
        # In the background, because a deletion that was sent cannot be cancelled.
        deletion = self._retrying.in_background(path, self._take(path, data, stat.czxid, outcome))
        try:
            return data if await outcome else None
        except CancelledError:
            await self._retrying.wait_briefly(deletion)
            raise

    async def _take(self, path: str, data: bytes, czxid: int, outcome: Deferred[bool]) -> None:
        """Delete an item; if that was cancelled meanwhile, add the item again.

        Args:
            path: of the item.
            data: of the item.
            czxid: of the item's node.
            outcome: fires with whether this client has taken the item.
        """
        try:
            taken = await self._retrying.delete_node(path, czxid, across_sessions=True)
        except ZooKeeperError:
            if outcome.called:  # cancelled
                raise
            outcome.errback(Failure())
            return
        if not outcome.called:
            outcome.callback(taken)
        elif taken:
            await self._put_back(path, data)

    async def _put_back(self, path: str, data: bytes) -> None:
        """Add an item again, after those of the same priority."""
        prefix = path[: path.rindex("-") + 1]  # the server appends another number
        client = self._retrying.client
        await self._retrying.retry_across_sessions(
            lambda: client.create(prefix, data, self._acl, ephemeral=self.ephemeral, sequence=True)
        )


def items(names: Iterable[str]) -> list[str]:
    """The items among the children of a queue, in order."""
    return sorted(name for name in names if name.startswith(PREFIX) and not name.endswith(RESERVED))


def available(names: Iterable[str]) -> list[str]:
    """The items that no consumer has reserved, in order."""
    known = set(names)
    return [name for name in items(known) if name + RESERVED not in known]
