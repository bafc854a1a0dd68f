"""At-least-once queues: an item stays in the queue until the work on it is done."""

from __future__ import annotations

from functools import cached_property
from typing import Final
from uuid import uuid4

from twisted.internet.defer import Deferred, fail
from typing_extensions import override

from zkservice.errors import LeaseLostError, NodeExistsError, NoNodeError, TransactionFailedError
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.lock import Lock
from zkservice.recipes.queue import RESERVED, BaseQueue
from zkservice.recipes.retrying import SESSION_OVER, Doubt, RetryingClient
from zkservice.znodes import join

#: The lock of a `SerializedQueue`, below its path, as in txzookeeper.
_LOCK: Final = "_lock"


class QueueItem:
    """An item that is reserved for this consumer until it is deleted, released or lost."""

    def __init__(self, retrying: RetryingClient, path: str, data: bytes, lease: Lease) -> None:
        self.path = path
        self.data = data
        self._retrying = retrying
        self._lease = lease

    def __repr__(self) -> str:
        return f"<QueueItem {self.path}>"

    @property
    def lease(self) -> Lease:
        """The lease, whose ``held`` and ``lost`` say whether the item is still reserved."""
        return self._lease

    def delete(self) -> Deferred[None]:
        """Delete the item and its reservation in one transaction: the work is done.

        Returns:
            Fires when it is gone.  Cancelling it stops the waiting, not the deletion.

        Fails with:
            LeaseLostError: the reservation is lost, so the item is in the queue again or
                another consumer has it; or the session ended before the deletion was confirmed.
        """
        if not self._lease.held:
            return fail(LeaseLostError(self.path))
        return self._lease.release_with(self._delete)

    def release(self) -> Deferred[None]:
        """Return the item to its place in the queue: the work is not done."""
        return self._lease.release()

    # -- internals --------------------------------------------------------------------

    async def _delete(self) -> None:
        try:
            await self._retrying.run(self._delete_once)
        except SESSION_OVER as error:
            raise LeaseLostError(self.path) from error

    async def _delete_once(self, doubt: Doubt) -> None:
        if doubt:
            # The reservation may be gone, and the next consumer's has the same path.  A repeated
            # transaction would delete that one together with its item: compare the czxid.
            stat = await self._retrying.stat_after_sync(self._lease.path)
            if stat is None or stat.czxid != self._lease.token:
                return await self._check_deleted()
            doubt.clear()
        transaction = self._retrying.client.transaction()
        transaction.delete(self._lease.path)
        transaction.delete(self.path)
        try:
            await transaction.commit()
        except TransactionFailedError as error:
            if isinstance(error.__cause__, NoNodeError):
                raise LeaseLostError(self.path) from error
            raise error.__cause__ or error from None

    async def _check_deleted(self) -> None:
        """The reservation is gone; fail unless the item is gone too, by the same transaction."""
        if await self._retrying.client.exists(self.path) is not None:
            raise LeaseLostError(self.path)


class ReliableQueue(BaseQueue[QueueItem]):
    """A queue to which an item returns if the session of its consumer ends.

    `get` fires with a `QueueItem`; call its ``delete`` when the work is done.  An ephemeral
    node beside the item shows that a consumer has reserved it, as in txzookeeper.
    """

    @override
    async def _claim(self, path: str) -> QueueItem | None:
        reservation, mark = path + RESERVED, uuid4().hex.encode()
        may_be_ours = True

        async def claim() -> QueueItem | None:
            nonlocal may_be_ours
            may_be_ours = await self._reserve(reservation, mark)
            return await self._read(path, reservation) if may_be_ours else None

        async def leave() -> None:
            if may_be_ours:
                await self._delete_reservation(reservation, mark)

        return await self._retrying.enter_or_leave(reservation, claim(), leave)

    async def _reserve(self, reservation: str, mark: bytes) -> bool:
        client = self._retrying.client
        try:
            await self._retrying.retry(
                lambda: client.create(reservation, mark, self._acl, ephemeral=True)
            )
        except NodeExistsError:  # perhaps by this client, if a reply was lost
            found = await self._retrying.get(reservation)
            return found is not None and found[0] == mark
        except NoNodeError:
            return False
        return True

    async def _read(self, path: str, reservation: str) -> QueueItem | None:
        found = await self._retrying.get(path)
        if found is None:
            return None  # another consumer has finished it
        lease = await hold(self._retrying, reservation)
        return None if lease is None else QueueItem(self._retrying, path, found[0], lease)

    async def _delete_reservation(self, reservation: str, mark: bytes) -> None:
        """Delete a reservation if it has the mark; that of another consumer stays."""
        client = self._retrying.client

        async def attempt() -> None:
            await client.sync(reservation)  # a server that is behind may not show it yet
            try:
                data, _ = await client.get(reservation)
                if data == mark:
                    await client.delete(reservation)
            except NoNodeError:
                return

        await self._retrying.retry(attempt)


class SerializedQueue(BaseQueue[QueueItem]):
    """A queue whose items are worked on one at a time, strictly in order.

    `get` fires with a `QueueItem`.  No consumer gets another item before that one is deleted or
    released, or the session of its consumer ends.  A consumer holds the lock ``_lock`` below
    the path.
    """

    _turn: Lease | None = None  # of the `get` in progress

    @cached_property
    def _lock(self) -> Lock:
        retrying = self._retrying
        path = join(self.path, _LOCK)
        return Lock(retrying.client, path, acl=self._acl, reactor=retrying.reactor)

    @override
    async def _first(self) -> QueueItem:
        while True:
            turn = self._turn = await self._lock.acquire()
            try:
                return await self._get_in_turn(turn)
            except LeaseLostError:
                continue  # another client deleted the lock's node while we waited for an item

    async def _get_in_turn(self, turn: Lease) -> QueueItem:
        """Wait for an item, which keeps the lock; release the lock if that fails."""

        async def leave() -> None:
            await turn.release()

        item = await self._retrying.enter_or_leave(turn.path, self._wait_for_item(), leave)
        assert item is not None
        return item

    @override
    async def _claim(self, path: str) -> QueueItem | None:
        turn = self._turn
        assert turn is not None
        found = await self._retrying.get(path)
        if found is None:
            return None
        if not turn.held:
            raise LeaseLostError(path)
        return QueueItem(self._retrying, path, found[0], turn)
