"""A lock that one at a time can hold, in the order in which it was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import Deferred
from typing_extensions import override

from zkservice.errors import LockTimeoutError, NoNodeError, SessionExpiredError
from zkservice.recipes.blocks import Block, Entering, Trying
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.lock_queue import LockQueue
from zkservice.recipes.queue_order import LockKind, in_order
from zkservice.recipes.retrying import RetryingClient
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join, split, validate

#: What kazoo calls the nodes of its locks.
LOCK: Final = "__lock__"


class Lock(Block[Lease]):
    """An exclusive lock, fair and not re-entrant; kazoo's ``Lock`` on the path excludes it.

    Each `acquire` is a contender of its own, so one object serves any number of them.  A
    contender is an ephemeral sequence node below the path, and waits for the one before
    it only.  It waits through lost connections, expired sessions (at the end of the queue
    again, its node went with the session), and the deletion of the path.

    ``async with lock`` waits and releases, and so does ``async with lock.acquire(timeout)``.
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
        """Make a lock; nothing is asked of the client yet.

        Args:
            client: connected, or going to be.
            path: the parent of the contenders' nodes; made when it is missing.
            identifier: stored in the nodes, for `contenders`.
            names: the first is what nodes are called, and nodes called so by others are
                contenders too: ``("__lock__", "lock-")`` respects locks of Curator,
                go-zookeeper and txzookeeper, ``("lock-",)`` is respected by them.
            acl: of the nodes, and of the path if it has to be made.
            reactor: tells the time; the installed one if None.

        Raises:
            InvalidPathError: the path is none.
        """
        super().__init__()
        known = tuple(names)
        self.path = validate(path)
        self.identifier = identifier
        self._acl = tuple(acl)
        self._retrying = RetryingClient(client, reactor)
        self._stand_as(LockKind(known[0], known))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {self._turn.name}>"

    def acquire(self, timeout: float | None = None) -> Entering[Lease]:
        """Wait for our turn.

        Args:
            timeout: seconds to wait; None is for ever.

        Returns:
            Fires with a `Lease`.  Cancelling it takes us out of the queue, even if the
            connection is gone at the moment.  It fails when our node is gone, or a second
            later if there is no connection.

        Fails with:
            LockTimeoutError: it was not our turn in time; we are out of the queue.
            SessionExpiredError: and the client begins no other session.
            ClientClosedError: the client was closed.
            NoAuthError: nodes may not be created there.
        """

        def too_late(seconds: float) -> Exception:
            return LockTimeoutError(self.path, f"not our turn within {seconds:g} s")

        acquired: Deferred[Any] = Deferred.fromCoroutine(self._acquire(wait=True))
        return Entering(self._retrying.time_limit(timeout, acquired, too_late))

    def try_acquire(self) -> Trying[Lease]:
        """As `acquire`, but fires with None if others are before us, once our node is gone.

        As a block, which has to be protected, it fails with `LockTimeoutError` then.
        """
        return Trying(Deferred.fromCoroutine(self._acquire(wait=False)), self.path)

    def contenders(self) -> Deferred[list[str]]:
        """The identifiers of those who hold it or wait for it, the holder first.

        One that gave none is an empty string.
        """
        return Deferred.fromCoroutine(self._retrying.retry_across_sessions(self._contenders))

    # -- how --------------------------------------------------------------------------

    @override
    def _enter_block(self) -> Entering[Lease]:
        return self.acquire()

    async def _acquire(self, *, wait: bool) -> Lease | None:
        while True:
            try:
                return await self._contend(wait)
            except SessionExpiredError:  # and the node is gone with it
                await self._retrying.next_session()

    async def _contend(self, wait: bool) -> Lease | None:
        """Enter the queue and wait; leave it again unless that ends with a lease."""
        mark = uuid4().hex
        path: str | None = None  # of our node, once we know

        async def line_up() -> Lease | None:
            nonlocal path
            while True:
                path = None
                path = await self._enter(mark)
                if not await self._line.wait_for_turn(split(path)[1], wait=wait):
                    return None
                lease = await hold(self._retrying, path)
                if lease is not None:
                    return lease

        async def leave() -> None:
            if path is None:
                await self._retrying.delete_marked(self.path, mark)
            else:
                await self._retrying.delete(path)

        return await self._retrying.enter_or_leave(self.path, line_up(), leave)

    def _stand_as(self, turn: LockKind) -> None:
        self._turn = turn
        self._line = LockQueue(self._retrying, self.path, turn)

    async def _enter(self, mark: str) -> str:
        path = join(self.path, mark + self._turn.name)
        data = self.identifier.encode()
        return await self._retrying.create(path, mark, data, self._acl, ephemeral=True)

    async def _contenders(self) -> list[str]:
        children = await self._retrying.children(self.path)
        found = [
            await self._identifier(join(self.path, child))
            for child in in_order(children, self._turn.names)
        ]
        return [identifier for identifier in found if identifier is not None]

    async def _identifier(self, path: str) -> str | None:
        try:
            data, _ = await self._retrying.retry(lambda: self._retrying.client.get(path))
        except NoNodeError:
            return None  # left meanwhile
        return data.decode(errors="replace")
