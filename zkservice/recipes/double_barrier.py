"""A barrier at which members begin together and end together.

A member that enters creates an ephemeral node below the path.  The member that finds all nodes
creates the node ``ready``, for which the others wait.  A member that leaves deletes its node and
waits for the lowest node; the lowest member waits for the others, deletes ``ready`` and leaves
last.  This is the recipe of ZooKeeper's documentation, with kazoo's names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, FailureGroup, race
from typing_extensions import override

from zkservice.errors import BarrierTimeoutError, LeaseLostError, NodeExistsError, NoNodeError
from zkservice.recipes.blocks import Block, Entering, Held
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.recipe import NamedRecipe
from zkservice.recipes.retrying import RetryingClient, cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join, split

#: The name of the node that exists once all have entered, as in kazoo.
READY: Final = "ready"


class DoubleBarrier(NamedRecipe, Block["Participant"]):
    """Members begin when all have entered, and continue when all have left.

    It interoperates with kazoo's ``DoubleBarrier``.  Each call of `enter` adds a member.
    It can be used for any number of rounds: a member that has left may enter again at once.
    ``async with barrier`` enters and leaves, and so does ``async with barrier.enter(timeout)``.

    Args:
        client: connected, or about to be.
        path: the parent of the members' nodes; created when it is missing.
        members: how many have to enter; the same for all clients that use the path.
        identifier: stored in the nodes, for people who read them.
        acl: the ACL of the nodes, and of the path if it has to be created.
        reactor: tells the time; None is the installed one.

    Raises:
        ValueError: ``members`` is not positive.
        InvalidPathError: the path is invalid.
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
        super().__init__(client, path, identifier, acl=acl, reactor=reactor)
        if members < 1:
            raise ValueError(f"members must be at least 1, got {members}")
        self.members = members
        self._ready = join(self.path, READY)

    def __repr__(self) -> str:
        return f"<DoubleBarrier {self.path} for {self.members}>"

    def enter(self, timeout: float | None = None) -> Entering[Participant]:
        """Wait until all have entered.

        Args:
            timeout: seconds to wait; None is for ever.

        Returns:
            Fires with a `Participant`.  Waits through lost connections.  It enters again if the
            session ends or another client deletes the node.  Cancelling it leaves the
            barrier, even while the connection is lost.

        Fails with:
            BarrierTimeoutError: not all have entered in time; this member has left.
            SessionExpiredError: the session expired, and the client starts no new one.
            ClientClosedError: the client was closed.
            NoAuthError: nodes may not be created there.
        """

        def too_late(seconds: float) -> Exception:
            problem = f"not all {self.members} have entered within {seconds:g} s"
            return BarrierTimeoutError(self.path, problem)

        entered = Deferred.fromCoroutine(self._retrying.retry_until_entered(self._enter_once))
        return Entering(self._retrying.time_limit(timeout, entered, too_late))

    # -- how --------------------------------------------------------------------------

    @override
    def _enter_block(self) -> Entering[Participant]:
        return self.enter()

    async def _enter_once(self) -> Participant | None:
        await self._tidy_up()
        return await self._join()

    async def _tidy_up(self) -> None:
        """Delete ``ready`` if there is no other node: all members of that round have died.

        No round needs it, since a new round needs this member, which has not entered yet.
        """
        if await self._retrying.children(self.path) == [READY]:
            await self._retrying.delete_current(self._ready)

    async def _join(self) -> Participant | None:
        """Create the node and wait; None if the node is gone before all have entered."""
        path = join(self.path, uuid4().hex)
        lease: Lease | None = None

        async def enter() -> Participant | None:
            nonlocal lease
            await self._retrying.create_own(path, self.identifier.encode(), self._acl)
            lease = await hold(self._retrying, path)
            if lease is not None and await self._all_have_entered(lease):
                return Participant(self._retrying, self.path, lease)
            return None

        async def leave() -> None:
            if lease is not None and lease.held:
                await lease.release()
            else:  # it may exist, in a session that the server has not ended yet
                await self._retrying.delete(path)

        return await self._retrying.enter_or_leave(path, enter(), leave)

    async def _all_have_entered(self, lease: Lease) -> bool:
        """Wait for the others; False if this member's node is gone first."""
        client = self._retrying.client
        while lease.held:
            stat, ready = await self._retrying.and_watch(
                lambda: client.exists_and_watch(self._ready)
            )
            try:
                if stat is not None or await self._is_last():
                    return True
                if await _is_first(ready, lease.lost):
                    return True
            finally:
                cancel_watch(ready)
        return False

    async def _is_last(self) -> bool:
        """Whether all others have entered before; then create ``ready``."""
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
            return False  # another client has deleted everything meanwhile
        return True


class Participant(Held):
    """A member that has entered, until it leaves.

    Use it as an asynchronous context manager, or `leave`.
    """

    def __init__(self, retrying: RetryingClient, path: str, lease: Lease) -> None:
        self.path = path
        self._retrying = retrying
        self._lease = lease
        self._mine = split(lease.path)[1]
        self._round: frozenset[str] | None = None  # the members when this one began to leave

    def __repr__(self) -> str:
        return f"<Participant {self._lease.path}>"

    @property
    def lease(self) -> Lease:
        """The lease on the node, whose ``held`` and ``lost`` say whether this is still a member."""
        return self._lease

    def leave(self, timeout: float | None = None) -> Deferred[None]:
        """Leave, and wait until all others have left.

        Args:
            timeout: seconds to wait; None is for ever.

        Returns:
            Fires when all members of the round have left, or their sessions have ended.  Waits
            through lost connections and expired sessions.  Cancelling it stops the waiting;
            this member has left anyway.

        Fails with:
            LeaseLostError: the membership was lost before the call, because the session had
                ended or another client had deleted the node.
            BarrierTimeoutError: not all others have left in time; this member has.
        """

        def too_late(seconds: float) -> Exception:
            return BarrierTimeoutError(self.path, f"not all have left within {seconds:g} s")

        return self._retrying.time_limit(timeout, Deferred.fromCoroutine(self._leave()), too_late)

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Leave; after an error, do not wait for the others."""
        if error is None:
            await self.leave()
        else:
            await self._lease.release()

    # -- how --------------------------------------------------------------------------

    async def _leave(self) -> None:
        if self._round is None and not self._lease.held:
            raise LeaseLostError(self.path)
        try:
            # If the session ends, the server deletes the node, as wanted: keep waiting.
            await self._retrying.retry_across_sessions(self._wait_for_all)
        finally:
            self._lease.release().addErrback(lambda failure: None)  # the session's end deletes it

    async def _wait_for_all(self) -> None:
        while not await self._step():
            pass

    async def _step(self) -> bool:
        """Do the next step; returns whether it was the last one.

        Only members of this round are waited for: others have entered the next one.
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
            await self._delete_mine(left)
            return True
        if self._mine == left[0]:
            await self._retrying.wait_for_change(join(self.path, left[-1]))
        elif self._mine in left:
            await self._delete_mine(left)
        else:
            await self._retrying.wait_for_change(join(self.path, left[0]))
        return False

    async def _delete_mine(self, left: list[str]) -> None:
        if self._lease.held:
            await self._lease.release()
        elif self._mine in left:  # in a session that the server has not ended yet
            await self._retrying.delete(self._lease.path)


async def _is_first(ready: Deferred[Any], lost: Deferred[Any]) -> bool:
    """Wait for one of two Deferreds; returns whether ``ready`` fired first."""
    try:
        which, _ = await race([ready, lost])
    except FailureGroup:  # one of them never fails, so they were cancelled
        raise CancelledError from None
    return which == 0
