"""Begin together and end together.

Who enters is an ephemeral node below the path.  The one who finds that all are there
creates the node ``ready``, for which the others wait.  Who leaves deletes his node and
waits for the lowest one; the lowest waits for the others, takes ``ready`` away and goes
last.  This is the recipe of ZooKeeper's documentation, with kazoo's names.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, FailureGroup, race
from typing_extensions import Self, override

from zkservice.errors import (
    BarrierTimeoutError,
    LeaseLostError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from zkservice.recipes.blocks import Block, Entering
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.retrying import RetryingClient, cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join, validate

#: The node that says that all have entered, as in kazoo.
READY: Final = "ready"


class DoubleBarrier(Block["Participant"]):
    """Members begin when all have entered, and go on when all are done.

    kazoo's ``DoubleBarrier`` on the path takes part.  Each `enter` is a member of its own.
    It is good for any number of rounds: who has left may enter again at once.  ``async with
    barrier`` enters and leaves, and so does ``async with barrier.enter(timeout)``.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        members: int,
        identifier: str = "",
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        """Make it; nothing is asked of the client yet.

        Args:
            client: connected, or going to be.
            path: the parent of the members' nodes; made when it is missing.
            members: how many have to enter; the same for all who use the path.
            identifier: stored in the nodes, for who looks at them.
            acl: of the nodes, and of the path if it has to be made.
            reactor: tells the time; the installed one if None.

        Raises:
            ValueError: nobody is to enter.
            InvalidPathError: the path is none.
        """
        super().__init__()
        if members < 1:
            raise ValueError(f"a barrier is for one member or more, not {members}")
        self.path = validate(path)
        self.members = members
        self._ready = join(self.path, READY)
        self._data = identifier.encode()
        self._acl = tuple(acl)
        self._retrying = RetryingClient(client, reactor)

    def __repr__(self) -> str:
        return f"<DoubleBarrier {self.path} for {self.members}>"

    def enter(self, timeout: float | None = None) -> Entering[Participant]:
        """Wait until all have entered.

        Args:
            timeout: seconds to wait; None is for ever.

        Returns:
            Fires with a `Participant`.  Waits through broken connections; after the end of a
            session, and after somebody has deleted our node, we enter again.  Cancelling
            it takes us out, even if the connection is gone at the moment.

        Fails with:
            BarrierTimeoutError: not all were there in time; we are out again.
            SessionExpiredError: and the client begins no other session.
            ClientClosedError: the client was closed.
            NoAuthError: nodes may not be created there.
        """

        def too_late(seconds: float) -> Exception:
            problem = f"not all {self.members} have entered within {seconds:g} s"
            return BarrierTimeoutError(self.path, problem)

        entered = Deferred.fromCoroutine(self._enter())
        return Entering(self._retrying.time_limit(timeout, entered, too_late))

    # -- how --------------------------------------------------------------------------

    @override
    def _enter_block(self) -> Entering[Participant]:
        return self.enter()

    async def _enter(self) -> Participant:
        while True:
            try:
                await self._tidy_up()
                member = await self._join()
            except SessionExpiredError:
                await self._retrying.next_session()
            else:
                if member is not None:
                    return member

    async def _tidy_up(self) -> None:
        """Remove what says that all are there when nobody is: all of a round have died.

        Nobody can be about to need it: we are one of those who are waited for.
        """
        if await self._retrying.children(self.path) == [READY]:
            await self._retrying.delete_current(self._ready)

    async def _join(self) -> Participant | None:
        """Enter once; None if our node is gone before all are there."""
        path = join(self.path, uuid4().hex)
        lease: Lease | None = None

        async def enter() -> Participant | None:
            nonlocal lease
            await self._retrying.create_own(path, self._data, self._acl)
            lease = await hold(self._retrying, path)
            if lease is not None and await self._all_are_here(lease):
                return Participant(self._retrying, self.path, lease)
            return None

        async def leave() -> None:
            if lease is not None and lease.held:
                await lease.release()
            else:  # it may be there, under a session that the server does not know is over
                await self._retrying.delete(path)

        return await self._retrying.enter_or_leave(path, enter(), leave)

    async def _all_are_here(self, lease: Lease) -> bool:
        """Wait for the others; False if our own node is gone first."""
        client = self._retrying.client
        while lease.held:
            stat, ready = await self._retrying.and_watch(
                lambda: client.exists_and_watch(self._ready)
            )
            try:
                if stat is not None or await self._are_we_the_last():
                    return True
                if await _is_first(ready, lease.lost):
                    return True
            finally:
                cancel_watch(ready)
        return False

    async def _are_we_the_last(self) -> bool:
        """Whether all others were there before us; then we say so."""
        names = frozenset(await self._retrying.children(self.path))
        if len(names - {READY}) < self.members:
            return False
        try:
            await self._retrying.retry(
                lambda: self._retrying.client.create(self._ready, b"", self._acl)
            )
        except NodeExistsError:
            return True
        except NoNodeError:
            return False  # somebody has deleted everything meanwhile
        return True


class Participant:
    """One who has entered, until he leaves.

    Use it as an asynchronous context manager, or `leave`.
    """

    def __init__(self, retrying: RetryingClient, path: str, lease: Lease) -> None:
        self.path = path
        self._retrying = retrying
        self._lease = lease
        self._mine = lease.path.rpartition("/")[2]
        self._round: frozenset[str] | None = None  # who was there when we began to leave

    def __repr__(self) -> str:
        return f"<Participant {self._lease.path}>"

    @property
    def lease(self) -> Lease:
        """Tells by ``held`` and ``lost`` whether the others still count on us."""
        return self._lease

    def leave(self, timeout: float | None = None) -> Deferred[None]:
        """Be done, and wait until all others are.

        Args:
            timeout: seconds to wait; None is for ever.

        Returns:
            Fires when all who had entered have left, or their sessions have ended.  Waits
            through broken connections and expired sessions.  Cancelling it stops the
            waiting: we have left.

        Fails with:
            LeaseLostError: we were out before we called this, because our session had
                ended or somebody had deleted our node.
            BarrierTimeoutError: not all have left in time; we have.
        """

        def too_late(seconds: float) -> Exception:
            return BarrierTimeoutError(self.path, f"not all have left within {seconds:g} s")

        return self._retrying.time_limit(timeout, Deferred.fromCoroutine(self._leave()), too_late)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave; after an error without waiting for the others."""
        if error is None:
            await self.leave()
        else:
            await self._lease.release()

    # -- how --------------------------------------------------------------------------

    async def _leave(self) -> None:
        if self._round is None and not self._lease.held:
            raise LeaseLostError(self.path)
        try:
            while True:
                try:
                    if await self._all_are_done():
                        return
                except SessionExpiredError:  # which takes our node away, as we want it
                    await self._retrying.next_session()
        finally:
            self._lease.release().addErrback(lambda failure: None)  # it goes with the session

    async def _all_are_done(self) -> bool:
        """Do the next step; whether it was the last one.

        Only who was there at first is waited for: others are in the next round already.
        """
        names = frozenset(await self._retrying.children(self.path))
        if self._round is None:
            if self._mine not in names:
                raise LeaseLostError(self.path)
            self._round = names - {READY}
        left = sorted(names & self._round)
        if left in ([], [self._mine]):
            if READY in names and names <= {READY, self._mine}:
                await self._retrying.delete_current(join(self.path, READY))
            await self._go(left)
            return True
        if self._mine == left[0]:
            await self._retrying.wait_for_change(join(self.path, left[-1]))
        elif self._mine in left:
            await self._go(left)
        else:
            await self._retrying.wait_for_change(join(self.path, left[0]))
        return False

    async def _go(self, left: list[str]) -> None:
        if self._lease.held:
            await self._lease.release()
        elif self._mine in left:  # under a session that the server does not know is over
            await self._retrying.delete(self._lease.path)


async def _is_first(ready: Deferred[Any], lost: Deferred[Any]) -> bool:
    """Whether the first of two fires, or the other one."""
    try:
        which, _ = await race([ready, lost])
    except FailureGroup:  # one of them never fails, so we have cancelled them
        raise CancelledError from None
    return which == 0
