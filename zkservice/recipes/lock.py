"""A fair, exclusive lock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import Deferred
from typing_extensions import override

from zkservice.errors import LockTimeoutError
from zkservice.recipes.blocks import Block, EnterDeferred, TryEnterDeferred
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.lock_queue import LockQueue
from zkservice.recipes.queue_order import LockKind, in_order
from zkservice.recipes.recipe import NamedRecipe
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join, split

#: What kazoo calls the nodes of its locks.
LOCK: Final = "__lock__"


class Lock(NamedRecipe, Block[Lease]):
    """An exclusive lock, fair and not re-entrant; interoperates with kazoo's ``Lock``.

    Each call of `acquire` is one contender, so one object serves any number of them.  A
    contender is an ephemeral sequence node below the path, and waits only for its predecessor.
    It waits through lost connections, expired sessions and the deletion of the path.  After an
    expiry it rejoins at the end of the queue, since its node was deleted with the session.

    ``async with lock`` waits and releases, and so does ``async with lock.acquire(timeout)``.

    Args:
        client: need not be connected yet.
        path: the parent of the contenders' nodes; created when it is missing.
        identifier: stored in the nodes, for `contenders`.
        names: the middle parts of the nodes' names.  This lock's nodes have the first one.
            Nodes with any of these names are contenders.  ``("__lock__", "lock-")`` waits for
            locks of Curator, go-zookeeper and txzookeeper as well; these wait for nodes that
            are named with ``("lock-",)``.
        acl: the ACL of the nodes, and of the path if it has to be created.
        reactor: schedules timers; the installed one if None.

    Raises:
        InvalidPathError: the path is invalid.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        identifier: str = "",
        *,
        names: Iterable[str] = (LOCK,),
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        super().__init__(client, path, identifier, acl=acl, reactor=reactor)
        known = tuple(names)
        self._set_kind(LockKind(known[0], known))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {self._kind.name}>"

    def acquire(self, timeout: float | None = None) -> EnterDeferred[Lease]:
        """Wait for the lock.

        Args:
            timeout: seconds to wait; None is for ever.

        Returns:
            Fires with a `Lease`.  Cancelling it leaves the queue, even while the connection is
            lost.  A cancelled call fails when its node is gone, or after a second if there is
            no connection.

        Fails with:
            LockTimeoutError: it was not acquired in time; it has left the queue.
            SessionExpiredError: the session expired, and the client starts no new one.
            ClientClosedError: the client was closed.
            NoAuthError: nodes may not be created there.
        """

        def too_late(seconds: float) -> Exception:
            return LockTimeoutError(self.path, f"not acquired within {seconds:g} s")

        acquired: Deferred[Any] = Deferred.fromCoroutine(self._acquire(wait=True))
        return EnterDeferred(self._retrying.time_limit(timeout, acquired, too_late))

    def try_acquire(self) -> TryEnterDeferred[Lease]:
        """Like `acquire`, but fires with None if it would have to wait.

        Before that, it deletes its node again.  An ``async with`` block fails with
        `LockTimeoutError` instead, because it would not be protected.
        """
        return TryEnterDeferred(Deferred.fromCoroutine(self._acquire(wait=False)), self.path)

    def contenders(self) -> Deferred[list[str]]:
        """The identifiers of the holder and of all waiting contenders, in order.

        A contender without an identifier has an empty string.
        """
        return Deferred.fromCoroutine(self._retrying.retry_across_sessions(self._contenders))

    # -- internals --------------------------------------------------------------------

    @override
    def _enter_block(self) -> EnterDeferred[Lease]:
        return self.acquire()

    async def _acquire(self, *, wait: bool) -> Lease | None:
        # When a session expires, the node is gone with it: contend again in the next one.
        return await self._retrying.retry_across_sessions(lambda: self._contend(wait))

    async def _contend(self, wait: bool) -> Lease | None:
        """Join the queue and wait; leave it again unless that ends with a lease."""
        mark = uuid4().hex
        path: str | None = None  # of the node, once it is known

        async def join_queue() -> Lease | None:
            nonlocal path
            while True:
                path = None  # unknown while it is created; `leave` then searches for the mark
                path = await self._create(mark)
                if not await self._queue.wait_for_turn(split(path)[1], wait=wait):
                    return None
                lease = await hold(self._retrying, path)
                if lease is not None:
                    return lease

        async def leave() -> None:
            if path is None:
                await self._retrying.delete_marked(self.path, mark)
            else:
                await self._retrying.delete(path)

        return await self._retrying.enter_or_leave(self.path, join_queue(), leave)

    def _set_kind(self, kind: LockKind) -> None:
        self._kind = kind
        self._queue = LockQueue(self._retrying, self.path, kind)

    async def _create(self, mark: str) -> str:
        path = join(self.path, mark + self._kind.name)
        data = self.identifier.encode()
        return await self._retrying.create(path, mark, data, self._acl, ephemeral=True)

    async def _contenders(self) -> list[str]:
        children = await self._retrying.children(self.path)
        found = [
            await self._retrying.get_text(join(self.path, child))
            for child in in_order(children, self._kind.names)
        ]
        return [identifier for identifier in found if identifier is not None]
