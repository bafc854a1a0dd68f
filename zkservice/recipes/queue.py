"""A queue: what is put in by some is taken out by others, each item once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, fail
from twisted.python.failure import Failure

from zkservice.errors import (
    ConnectionLossError,
    NoAuthError,
    NoNodeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zkservice.recipes.client_protocol import Client, Transaction
from zkservice.recipes.lease import Lease
from zkservice.recipes.lock import Lock
from zkservice.recipes.marked import CannotMarkError, MarkedWrites
from zkservice.recipes.retrying import RetryingClient, cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join, validate

#: What the names of items begin with, as in txzookeeper and kazoo.
PREFIX: Final = "entry-"
#: What is appended to an item's name for the node of who works on it, as in txzookeeper.
RESERVED: Final = "-processing"
#: What is appended to the path for the line of consumers that wait.
LINE: Final = "-consumers"
#: What is appended to the path for the marks of items that are being put in.
MARKS: Final = "-producers"

T = TypeVar("T")


class BaseQueue(Generic[T]):
    """What the queues have in common: items that are put in, counted and waited for."""

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        ephemeral: bool = False,
        reactor: Any = None,
    ) -> None:
        """Make a queue; nothing is asked of the client yet.

        Args:
            client: connected, or going to be.
            path: the parent of the items' nodes; made when it is missing.
            acl: of the items, and of the path if it has to be made.
            ephemeral: items that are put in here go when our session ends.
            reactor: tells the time; the installed one if None.

        Raises:
            InvalidPathError: the path is none.
        """
        self.path = validate(path)
        self.ephemeral = ephemeral
        self._acl = tuple(acl)
        self._retrying = RetryingClient(client, reactor)
        self._one_at_a_time = DeferredLock()
        self._marked: MarkedWrites | None  # None where no mark is allowed
        self._marked = MarkedWrites(self._retrying, self.path + MARKS, self._acl)
        self._line = Lock(client, self.path + LINE, acl=self._acl, reactor=reactor)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def put(self, item: bytes, priority: int = 100) -> Deferred[str]:
        """Add an item, once; fires with its path.

        A mark below ``PATH-producers``, which is gone at once, tells whether it was put in
        when the reply is lost.  Its path ends without a number if it was taken out before
        that was found out.

        Args:
            item: bytes.
            priority: 0 to 999; lower ones are taken out first, equal ones in their order.

        Fails with:
            ConnectionLossError: the item is perhaps in the queue, because the session has
                ended before that was found out, or the ACLs allow no mark beside the queue.
            ValueError: the priority is none, or the item are no bytes.
        """
        if not 0 <= priority <= 999:
            return fail(ValueError(f"a priority is a number from 0 to 999, not {priority}"))
        if not isinstance(item, bytes):
            return fail(ValueError(f"items are bytes, not {type(item).__name__}"))
        return Deferred.fromCoroutine(self._put(item, priority))

    def get(self) -> Deferred[T]:
        """Take the first item out, and wait until there is one.

        Consumers that wait line up below ``PATH-consumers``, and are served in this order.
        Several calls on one queue object are served one after the other.  Cancelling it
        leaves all items in the queue.
        """
        return Deferred.fromCoroutine(self._get())

    def qsize(self) -> Deferred[int]:
        """How many items there are, those that somebody works on included."""
        return Deferred.fromCoroutine(self._qsize())

    # -- how --------------------------------------------------------------------------

    async def _claim(self, path: str) -> T | None:
        """Make an item ours; None if somebody else did."""
        raise NotImplementedError

    async def _put(self, item: bytes, priority: int) -> str:
        path = join(self.path, f"{PREFIX}{priority:03d}-")

        def add(change: Transaction) -> None:
            change.create(path, item, self._acl, ephemeral=self.ephemeral, sequence=True)

        if self._marked is not None:
            marked = self._marked
            try:
                carried = await self._retrying.in_parent(path, self._acl, lambda: marked.run(add))
            except CannotMarkError:
                self._marked = None
            else:
                if carried.results is not None:
                    return str(carried.results[0])
                return await self._retrying.retry_across_sessions(
                    lambda: self._find(path, carried.zxid)
                )
        return await self._put_unmarked(path, item)

    async def _find(self, path: str, zxid: int) -> str:
        """The item that a transaction has created; without a number if it is gone by now."""
        client, prefix = self._retrying.client, path.rpartition("/")[2]
        for name in reversed(items(await self._names())):
            stat = None
            if name.startswith(prefix):
                stat = await client.exists(join(self.path, name))
            if stat is not None and stat.czxid == zxid:
                return join(self.path, name)
            if stat is not None and stat.czxid < zxid:
                break
        return path

    async def _put_unmarked(self, path: str, item: bytes) -> str:
        client = self._retrying.client

        async def once() -> str:
            while True:
                try:
                    return await client.create(
                        path, item, self._acl, ephemeral=self.ephemeral, sequence=True
                    )
                except ConnectionLossError as error:
                    if error.maybe_applied:
                        raise
                except SessionExpiredError:
                    await self._retrying.next_session()

        return await self._retrying.in_parent(path, self._acl, once)

    async def _get(self) -> T:
        await self._one_at_a_time.acquire()
        try:
            while True:
                try:
                    return await self._first()
                except SessionExpiredError:
                    await self._retrying.next_session()
        finally:
            self._one_at_a_time.release()

    async def _first(self) -> T:
        """The first item that can be had, or that comes."""
        for name in available(await self._retrying.retry(self._names)):
            item = await self._claim(join(self.path, name))
            if item is not None:
                return item
        place = await self._line_up()
        try:
            return await self._wait_for_item()
        finally:
            if place is not None:
                place.release().addErrback(lambda failure: None)  # it goes with the session

    async def _line_up(self) -> Lease | None:
        """Wait until no other consumer is before this one.

        Only the first one watches the queue, so that an item that is put in wakes one
        consumer and not all.  None if the ACLs allow no line beside the queue: then this
        consumer waits along with others.
        """
        try:
            return await self._line.acquire()
        except NoAuthError:
            return None

    async def _wait_for_item(self) -> T:
        client = self._retrying.client
        while True:
            names, watch = await self._retrying.in_parent(
                join(self.path, PREFIX),
                self._acl,
                lambda: self._retrying.and_watch(lambda: client.get_children_and_watch(self.path)),
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
    """A queue whose items are deleted when they are taken out; ``get`` fires with the bytes.

    kazoo's ``Queue`` on the path takes part.  Who must not lose an item when he crashes
    takes a `ReliableQueue`.  If the connection breaks while an item is deleted, and it is
    gone afterwards, it is handed out: in that case alone another may have had it, too.
    """

    async def _claim(self, path: str) -> bytes | None:
        try:
            data, stat = await self._retrying.retry(lambda: self._retrying.client.get(path))
        except NoNodeError:
            return None
        outcome: Deferred[bool] = Deferred()
        self._retrying.in_background(path, self._take(path, data, stat.czxid, outcome))
        return data if await outcome else None

    async def _take(self, path: str, data: bytes, czxid: int, outcome: Deferred[bool]) -> None:
        """Delete an item and say so; if nobody listens any more, put it in again."""
        try:
            taken = await self._retrying.delete_node(path, czxid, any_session=True)
        except ZooKeeperError:
            if outcome.called:  # it was cancelled
                raise
            outcome.errback(Failure())
            return
        if not outcome.called:
            outcome.callback(taken)
        elif taken:
            await self._put_back(path, data)

    async def _put_back(self, path: str, data: bytes) -> None:
        """Put an item in again, behind its equals."""
        where = path[: path.rindex("-") + 1]
        client = self._retrying.client
        await self._retrying.retry_across_sessions(
            lambda: client.create(where, data, self._acl, ephemeral=self.ephemeral, sequence=True)
        )


def items(names: Iterable[str]) -> list[str]:
    """The items among the children of a queue, the first one first."""
    return sorted(name for name in names if name.startswith(PREFIX) and not name.endswith(RESERVED))


def available(names: Iterable[str]) -> list[str]:
    """The items that nobody works on."""
    known = set(names)
    return [name for name in items(known) if name + RESERVED not in known]
