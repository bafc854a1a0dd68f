"""A barrier at which members begin together and end together.

A member that enters creates an ephemeral node below the path.  The member that finds all nodes
creates the node ``ready``, for which the others wait.  A member that leaves deletes its node and
waits for the lowest node; the lowest member waits for the others, deletes ``ready`` and leaves
last.  This is the recipe of ZooKeeper's documentation, with kazoo's names.

There is one addition.  A member can come before an earlier round has ended, if it was lost, or did
not wait for the others.  The node ``ready`` of that round must not let it in, and the members of
that round must not wait for it.  The transactions that created the nodes tell them apart: the
members of a round are older than its ``ready``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred, FailureGroup, race
from typing_extensions import override

from zkservice.errors import (
    BarrierTimeoutError,
    LeaseLostError,
    NodeExistsError,
    NoNodeError,
    TransactionFailedError,
)
from zkservice.recipes.blocks import AlreadyEntered, Block, EnterDeferred
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
        client: need not be connected yet.
        path: the parent of the members' nodes; created when it is missing.
        members: how many have to enter; the same for all clients that use the path.
        identifier: stored in the nodes, for people who read them.
        acl: the ACL of the nodes, and of the path if it has to be created.
        reactor: schedules timers; the installed one if None.

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

    def enter(self, timeout: float | None = None) -> EnterDeferred[Participant]:
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

        entered = Deferred.fromCoroutine(self._retrying.retry_until_entered(self._join))
        return EnterDeferred(self._retrying.time_limit(timeout, entered, too_late))

    # -- internals --------------------------------------------------------------------

    @override
    def _enter_block(self) -> EnterDeferred[Participant]:
        return self.enter()

    async def _join(self) -> Participant | None:
        """Create this member's node and wait; None if it is deleted before all have entered."""
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
            else:  # it may still exist, if its session has ended here but not on the server
                await self._retrying.delete(path)

        return await self._retrying.enter_or_leave(path, enter(), leave)

    async def _all_have_entered(self, lease: Lease) -> bool:
        """Wait for the others; False if this member's node is deleted first."""
        client = self._retrying.client
        while lease.held:
            stat, ready = await self._retrying.read_and_watch(
                lambda: client.exists_and_watch(self._ready)
            )
            try:
                if stat is None:
                    if await self._complete_entry() or await _fires_first(ready, lease.lost):
                        return True
                elif stat.czxid > lease.token:
                    return True
                else:
                    await self._wait_for_earlier_round(stat.czxid, lease)
            finally:
                cancel_watch(ready)
        return False

    async def _wait_for_earlier_round(self, ready_czxid: int, lease: Lease) -> None:
        """Wait until a member of an earlier round has left.

        If the round has no member any more, delete its ``ready`` instead.

        Args:
            ready_czxid: of the earlier round's ``ready``.
            lease: this member's; the wait ends when it is lost.
        """
        members = await _members_before(self._retrying, self.path, ready_czxid)
        if not members:  # their sessions have ended, so no other client deletes it
            await self._retrying.delete_node(self._ready, ready_czxid)
            return
        gone = self._retrying.wait_for_change(join(self.path, min(members)))
        await _fires_first(Deferred.fromCoroutine(gone), lease.lost)

    async def _complete_entry(self) -> bool:
        """Create ``ready`` if all members have entered; return whether they have."""
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


class Participant(AlreadyEntered):
    """A member that has entered, until it leaves.

    Use it as an asynchronous context manager, or `leave`.
    """

    def __init__(self, retrying: RetryingClient, path: str, lease: Lease) -> None:
        self.path = path
        self._retrying = retrying
        self._lease = lease
        self._own_name = split(lease.path)[1]
        # The names of the members' nodes when this one began to leave.
        self._round: frozenset[str] | None = None
        self._ready_czxid = 0  # of the round's ``ready``; 0 if it did not exist then

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

    # -- internals --------------------------------------------------------------------

    async def _leave(self) -> None:
        if self._round is None and not self._lease.held:
            raise LeaseLostError(self.path)
        try:
            # If the session ends, the server deletes the node, so this member has left: wait on.
            await self._retrying.retry_across_sessions(self._wait_for_all)
        finally:
            # If that fails, the server deletes the node with the session.
            self._lease.release().addErrback(lambda failure: None)

    async def _wait_for_all(self) -> None:
        while not await self._step():
            pass

    async def _step(self) -> bool:
        """Do one step of the recipe, which may wait; return whether it was the last one.

        Nodes of other members than those of this round belong to the next round.
        """
        names = frozenset(await self._retrying.children(self.path))
        if self._round is None:
            if self._own_name not in names:
                raise LeaseLostError(self.path)
            self._round = await self._find_round(names)
        remaining = sorted(names & self._round)
        if remaining == [self._own_name] and READY in names:
            await self._end_round()
            return True
        if remaining in ([], [self._own_name]):
            if names == {READY}:  # the sessions of the others have ended
                await self._retrying.delete_node(join(self.path, READY), self._ready_czxid)
            await self._delete_own_node(remaining)
            return True
        if self._own_name == remaining[0]:
            await self._retrying.wait_for_change(join(self.path, remaining[-1]))
        elif self._own_name in remaining:
            await self._delete_own_node(remaining)
        else:
            await self._retrying.wait_for_change(join(self.path, remaining[0]))
        return False

    async def _find_round(self, names: frozenset[str]) -> frozenset[str]:
        """The names of this round's members among the nodes below the path."""
        ready = join(self.path, READY)
        stat = await self._retrying.retry(lambda: self._retrying.client.exists(ready))
        if stat is None:  # another client has deleted it
            return names - {READY}
        self._ready_czxid = stat.czxid
        return await _members_before(self._retrying, self.path, stat.czxid)

    async def _end_round(self) -> None:
        """Delete ``ready`` and this member's node, the last one of the round."""
        if self._lease.held:
            await self._lease.release_with(self._delete_with_ready)
        else:  # its session has ended here but not on the server
            await self._delete_with_ready()

    async def _delete_with_ready(self) -> None:
        """Delete both in one transaction, so that the next round does not count this member.

        No other node ever has its name, so a repeated transaction cannot delete a later ``ready``.
        """

        async def delete(_: object) -> None:
            transaction = self._retrying.client.transaction()
            transaction.delete(join(self.path, READY))
            transaction.delete(self._lease.path)
            try:
                await transaction.commit()
            except TransactionFailedError as error:
                if not isinstance(error.__cause__, NoNodeError):
                    raise error.__cause__ or error from None
                await self._retrying.delete(self._lease.path)

        await self._retrying.run(delete)

    async def _delete_own_node(self, remaining: list[str]) -> None:
        if self._lease.held:
            await self._lease.release()
        elif self._own_name in remaining:  # its session has ended here but not on the server
            await self._retrying.delete(self._lease.path)


async def _members_before(retrying: RetryingClient, path: str, czxid: int) -> frozenset[str]:
    """The names of the members' nodes that are older than a ``ready`` with this czxid."""

    async def is_before(name: str) -> bool:
        stat = await retrying.retry(lambda: retrying.client.exists(join(path, name)))
        return stat is not None and stat.czxid < czxid

    return frozenset([name for name in await retrying.children(path) if await is_before(name)])


async def _fires_first(ready: Deferred[Any], lost: Deferred[Any]) -> bool:
    """Wait for one of two Deferreds; returns whether ``ready`` fired first."""
    try:
        which, _ = await race([ready, lost])
    except FailureGroup:  # one of them never fails, so they were cancelled
        raise CancelledError from None
    return which == 0
