"""A lock that several holders can share, up to a limit."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import Deferred
from typing_extensions import override

from zkservice.errors import (
    BadVersionError,
    InconsistentLeasesError,
    LockTimeoutError,
    NodeExistsError,
    NoNodeError,
    TransactionFailedError,
)
from zkservice.recipes.blocks import Block, EnterDeferred
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.lock import LOCK, Lock
from zkservice.recipes.recipe import NamedRecipe
from zkservice.recipes.retrying import cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join

#: The suffix of the path of the waiters' lock, as in kazoo.
_QUEUE: Final = f"-{LOCK}"


class Semaphore(NamedRecipe, Block[Lease]):
    """A number of leases that can be held at a time; interoperates with kazoo's ``Semaphore``.

    A waiter first acquires a lock beside the path, so waiters are served in order, and a
    released lease wakes only the first of them.  ``async with semaphore`` waits and
    releases, and so does ``async with semaphore.acquire(timeout)``.

    Args:
        client: need not be connected yet.
        path: the parent of the holders' nodes; created when it is missing.
        max_leases: the number of leases; the same for all clients that use the path.
        identifier: stored in the nodes, for `holders`.
        acl: the ACL of the nodes, and of the path if it has to be created.
        reactor: schedules timers; the installed one if None.

    Raises:
        ValueError: ``max_leases`` is not positive.
        InvalidPathError: the path is invalid.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        max_leases: int,
        identifier: str = "",
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        super().__init__(client, path, identifier, acl=acl, reactor=reactor)
        if max_leases < 1:
            raise ValueError(f"max_leases must be at least 1, got {max_leases}")
        self.max_leases = max_leases
        self._queue = Lock(client, path + _QUEUE, identifier, acl=self._acl, reactor=reactor)

    def acquire(self, timeout: float | None = None) -> EnterDeferred[Lease]:
        """Wait for a free lease, in turn.

        Args:
            timeout: seconds to wait; None is for ever.

        Returns:
            Fires with a `Lease`.  Cancelling it leaves the queue.  Besides those below, its
            errors are those of `Lock.acquire`.

        Fails with:
            LockTimeoutError: no lease was free in time.
            InconsistentLeasesError: other clients use it with another number of leases.
        """

        def too_late(seconds: float) -> Exception:
            return LockTimeoutError(self.path, f"no lease was free within {seconds:g} s")

        acquired = Deferred.fromCoroutine(self._retrying.retry_until_entered(self._contend))
        return EnterDeferred(self._retrying.time_limit(timeout, acquired, too_late))

    def holders(self) -> Deferred[list[str]]:
        """The identifiers of all holders, in no particular order."""
        return Deferred.fromCoroutine(self._retrying.retry_across_sessions(self._holders))

    # -- internals --------------------------------------------------------------------

    @override
    def _enter_block(self) -> EnterDeferred[Lease]:
        return self.acquire()

    async def _contend(self) -> Lease | None:
        """Wait in the queue, then for a free lease; None if the path or a node was deleted."""
        await self._store_or_compare_limit()
        path = join(self.path, uuid4().hex)
        turn = await self._queue.acquire()

        async def enter() -> Lease | None:
            if await self._wait_for_free_lease() and await self._create_holder(path, turn):
                return await hold(self._retrying, path)
            return None

        async def leave() -> None:
            released = _release(turn)
            await self._retrying.delete(path)
            await released

        lease = await self._retrying.enter_or_leave(path, enter(), leave)
        if lease is not None:
            _release(turn)
        return lease

    async def _store_or_compare_limit(self) -> None:
        """Make sure that the path exists, and that its data are the number of leases."""
        client, path = self._retrying.client, self.path
        number = b"%d" % self.max_leases
        while True:
            try:
                data, stat = await self._retrying.retry(lambda: client.get(path))
                if data:
                    return self._compare(data)
                write = partial(client.set, path, number, stat.version)
                await self._retrying.retry(write)
            except NoNodeError:
                await self._retrying.retry(lambda: client.ensure_path(path, self._acl))
            except BadVersionError:
                continue  # another client was faster: read what it has written

    def _compare(self, data: bytes) -> None:
        if data.isdigit() and int(data) != self.max_leases:
            raise InconsistentLeasesError(self.path, self.max_leases, int(data))

    async def _wait_for_free_lease(self) -> bool:
        """Whether a lease is free now; False if the path has been deleted."""
        client = self._retrying.client
        while True:
            try:
                holders, watch = await self._retrying.read_and_watch(
                    lambda: client.get_children_and_watch(self.path)
                )
            except NoNodeError:
                return False
            if len(holders) < self.max_leases:
                cancel_watch(watch)
                return True
            await watch

    async def _create_holder(self, path: str, turn: Lease) -> bool:
        """Create the holder's node if the lock is still held; False if it is not."""

        async def attempt() -> None:
            transaction = self._retrying.client.transaction()
            transaction.check(turn.path)
            transaction.create(path, self.identifier.encode(), self._acl, ephemeral=True)
            await transaction.commit()

        try:
            await self._retrying.retry(attempt)
        except TransactionFailedError as error:
            if isinstance(error.__cause__, NodeExistsError):
                return True  # by this client: the reply was lost
            if isinstance(error.__cause__, NoNodeError):
                return False  # the lock's node or the path was deleted
            raise error.__cause__ or error from None
        return True

    async def _holders(self) -> list[str]:
        names = await self._retrying.children(self.path)
        found = [await self._retrying.get_text(join(self.path, name)) for name in names]
        return [identifier for identifier in found if identifier is not None]


def _release(turn: Lease) -> Deferred[None]:
    """Release the lock for the next waiter.

    If that fails, the server deletes the lock's node with the session.
    """
    return turn.release().addErrback(lambda failure: None)
