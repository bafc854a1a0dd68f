"""Queues that no item is lost from: it stays in the queue until the work on it is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import Deferred, fail
from typing_extensions import override

from zkservice.errors import (
    LeaseLostError,
    NodeExistsError,
    NoNodeError,
    TransactionFailedError,
)
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.lock import Lock
from zkservice.recipes.queue import RESERVED, BaseQueue
from zkservice.recipes.retrying import SESSION_OVER, Doubt, RetryingClient
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join

#: The lock of a `SerializedQueue`, below its path, as in txzookeeper.
_LOCK: Final = "_lock"


class QueueItem:
    """An item that is ours to work on, until it is deleted, given back or lost."""

    def __init__(self, retrying: RetryingClient, path: str, data: bytes, lease: Lease) -> None:
        self.path = path
        self.data = data
        self._retrying = retrying
        self._lease = lease

    def __repr__(self) -> str:
        return f"<QueueItem {self.path}>"

    @property
    def lease(self) -> Lease:
        """Tells by ``held`` and ``lost`` whether it is still ours."""
        return self._lease

    def delete(self) -> Deferred[None]:
        """The work is done: take it out of the queue, and let go of it, in one transaction.

        Returns:
            Fires when it is gone.  Cancelling it stops the waiting, not the deletion.

        Fails with:
            LeaseLostError: it is not ours any more: it is in the queue again, or another
                has got it; or the session ended before we heard that it was deleted.
        """
        if not self._lease.held:
            return fail(LeaseLostError(self.path))
        return self._lease.release_by(self._delete)

    def release(self) -> Deferred[None]:
        """The work is not done: leave it to somebody else, at its place in the queue."""
        return self._lease.release()

    async def _delete(self) -> None:
        try:
            await self._retrying.run(self._delete_once)
        except SESSION_OVER as error:
            raise LeaseLostError(self.path) from error

    async def _delete_once(self, doubt: Doubt) -> None:
        change = self._retrying.client.transaction()
        change.delete(self._lease.path)
        change.delete(self.path)
        try:
            await change.commit()
        except TransactionFailedError as error:
            if not isinstance(error.__cause__, NoNodeError):
                raise error.__cause__ or error from None
            if not doubt or await self._is_there():
                raise LeaseLostError(self.path) from error

    async def _is_there(self) -> bool:
        """Whether the item is in the queue, after all that was sent before is visible."""
        client = self._retrying.client

        async def once() -> bool:
            await client.sync(self.path)
            return await client.exists(self.path) is not None

        return await self._retrying.retry_across_sessions(once)


class ReliableQueue(BaseQueue[QueueItem]):
    """A queue whose items come back when the session of who works on them ends.

    `get` fires with a `QueueItem`; whoever is done with it calls its ``delete``.  An
    ephemeral node beside it says that somebody works on it, as in txzookeeper.
    """

    @override
    async def _claim(self, path: str) -> QueueItem | None:
        reservation, mark = path + RESERVED, uuid4().hex.encode()
        item, perhaps = None, True
        try:
            perhaps = await self._reserve(reservation, mark)
            if perhaps:
                item = await self._read(path, reservation)
            return item
        finally:
            if perhaps and item is None:
                self._retrying.in_background(reservation, self._give_back(reservation, mark))

    async def _reserve(self, reservation: str, mark: bytes) -> bool:
        client = self._retrying.client
        try:
            await self._retrying.retry(
                lambda: client.create(reservation, mark, self._acl, ephemeral=True)
            )
        except NodeExistsError:
            return await self._is_ours(reservation, mark)  # if the reply to a first one was lost
        except NoNodeError:
            return False
        return True

    async def _is_ours(self, reservation: str, mark: bytes) -> bool:
        try:
            data, _ = await self._retrying.retry(lambda: self._retrying.client.get(reservation))
        except NoNodeError:
            return False
        return data == mark

    async def _read(self, path: str, reservation: str) -> QueueItem | None:
        try:
            data, _ = await self._retrying.retry(lambda: self._retrying.client.get(path))
        except NoNodeError:
            return None  # done by somebody else before we came
        lease = await hold(self._retrying, reservation)
        return None if lease is None else QueueItem(self._retrying, path, data, lease)

    async def _give_back(self, reservation: str, mark: bytes) -> None:
        """Delete a reservation if it is the one with the mark, whoever else reserves it."""
        client = self._retrying.client

        async def once() -> None:
            await client.sync(reservation)  # a server that is behind may not show it yet
            try:
                data, _ = await client.get(reservation)
                if data == mark:
                    await client.delete(reservation)
            except NoNodeError:
                return

        await self._retrying.retry(once)


class SerializedQueue(BaseQueue[QueueItem]):
    """A queue whose items are worked on one at a time, strictly in order.

    `get` fires with a `QueueItem`, and nobody gets another one before that is deleted or
    given back, or its holder's session ends.  Whoever gets holds the lock ``_lock`` below
    the path.
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
        """Make a queue; arguments as for `zkservice.recipes.Queue`."""
        super().__init__(client, path, acl=acl, ephemeral=ephemeral, reactor=reactor)
        self._lock = Lock(client, join(self.path, _LOCK), acl=self._acl, reactor=reactor)
        self._turn: Lease | None = None  # of the get that is under way

    @override
    async def _line_up(self) -> None:
        """Whoever gets holds the lock already."""

    @override
    async def _first(self) -> QueueItem:
        while True:
            turn = self._turn = await self._lock.acquire()
            item = None
            try:
                item = await super()._first()
                return item
            except LeaseLostError:
                continue  # somebody deleted the lock's node while we waited for an item
            finally:
                if item is None:
                    turn.release().addErrback(lambda failure: None)  # it goes with the session

    @override
    async def _claim(self, path: str) -> QueueItem | None:
        turn = self._turn
        assert turn is not None
        try:
            data, _ = await self._retrying.retry(lambda: self._retrying.client.get(path))
        except NoNodeError:
            return None
        if not turn.held:
            raise LeaseLostError(path)
        return QueueItem(self._retrying, path, data, turn)
