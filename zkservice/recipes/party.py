"""A group whose members join, leave and die."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import Deferred, FirstError, gatherResults
from typing_extensions import override

from zkservice.errors import InvalidPathError
from zkservice.recipes.blocks import Block, EnterDeferred
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.persistent_ephemeral import PersistentEphemeral
from zkservice.recipes.recipe import NamedRecipe
from zkservice.recipes.retrying import cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join, name_problem

#: What kazoo appends to the names of a party's nodes.
PARTY: Final = "__party__"
#: The names of a shallow party's nodes in kazoo: a mark and the identifier.
_SHALLOW: Final = re.compile(r"[0-9a-f]{32}-(.*)", re.DOTALL)


class Party(NamedRecipe, Block["Membership"]):
    """A group of members, each with an identifier; interoperates with kazoo's ``Party``.

    A member stays until it leaves; if its session expires, it rejoins.  A member
    that dies is removed when the server ends its session.  ``async with party`` joins and
    leaves, and so does ``async with party.join()``.

    Args:
        client: need not be connected yet.
        path: the parent of the members' nodes; created when it is missing.
        identifier: the identifier of the members that join with this object.
        acl: the ACL of the nodes, and of the path if it has to be created.
        reactor: schedules timers; the installed one if None.

    Raises:
        InvalidPathError: the path is invalid, or the identifier is (in a `ShallowParty`).
    """

    def __init__(
        self,
        client: Client,
        path: str,
        identifier: str = "",
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        super().__init__(client, path, identifier, acl=acl, reactor=reactor)
        name = self._new_name()
        problem = name_problem(name)
        if problem is not None:
            raise InvalidPathError(name, problem)

    def join(self) -> EnterDeferred[Membership]:
        """Become a member; each call adds a member.

        Returns:
            Fires with a `Membership` when the member is visible to others.  Cancelling it
            leaves, even while the connection is lost.

        Fails with:
            SessionExpiredError: the session expired, and the client starts no new one.
            ClientClosedError: the client was closed.
            NoAuthError: nodes may not be created there.
        """
        return EnterDeferred(Deferred.fromCoroutine(self._join()))

    def members(self) -> Deferred[list[str]]:
        """The identifiers of all members, in the order in which they joined."""
        return Deferred.fromCoroutine(self._retrying.retry_across_sessions(self._members))

    def changed(self, known: Iterable[str]) -> Deferred[list[str]]:
        """Wait until the members differ from those that are known.

        Call it again with its result: then no lasting change is missed, whatever happens to
        the connection and the session.

        Args:
            known: the identifiers, in the order of `members`.

        Returns:
            Fires with the members as soon as they differ.  Cancelling it stops the waiting.
        """
        return Deferred.fromCoroutine(self._changed(list(known)))

    # -- internals --------------------------------------------------------------------

    @override
    def _enter_block(self) -> EnterDeferred[Membership]:
        return self.join()

    async def _join(self) -> Membership:
        return Membership(self._retrying, self.path, await self._enter(), self._enter)

    async def _enter(self) -> Lease:
        """Create a member's node, in this session or a later one."""
        return await self._retrying.retry_until_entered(self._enter_once)

    async def _enter_once(self) -> Lease | None:
        path = join(self.path, self._new_name())

        async def enter() -> Lease | None:
            await self._retrying.create_own(path, self.identifier.encode(), self._acl)
            return await hold(self._retrying, path)

        async def leave() -> None:
            await self._retrying.delete(path)

        return await self._retrying.enter_or_leave(path, enter(), leave)

    def _new_name(self) -> str:
        return uuid4().hex + PARTY

    async def _members(self) -> list[str]:
        return await self._identifiers(await self._retrying.children(self.path))

    async def _changed(self, known: list[str]) -> list[str]:
        while True:
            members = await self._retrying.retry_across_sessions(
                lambda: self._wait_for_change(known)
            )
            if members != known:
                return members

    async def _wait_for_change(self, known: list[str]) -> list[str]:
        """The members, after a change if they were the known ones."""
        client = self._retrying.client
        names, watch = await self._retrying.with_parent(
            join(self.path, PARTY),
            self._acl,
            lambda: self._retrying.read_and_watch(lambda: client.get_children_and_watch(self.path)),
        )
        try:
            members = await self._identifiers(names)
            if members == known:
                await watch
            return members
        finally:
            cancel_watch(watch)

    async def _identifiers(self, names: Iterable[str]) -> list[str]:
        """The identifiers of the members among these nodes, read concurrently."""
        reading = [Deferred.fromCoroutine(self._member(name)) for name in names if PARTY in name]
        try:
            found = await gatherResults(reading, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        return [identifier for _, identifier in sorted(filter(None, found))]

    async def _member(self, name: str) -> tuple[int, str] | None:
        """The czxid of a member's node, which tells when it joined, and its identifier.

        None if it has left meanwhile.
        """
        found = await self._retrying.get(join(self.path, name))
        if found is None:
            return None
        data, stat = found
        return stat.czxid, data.decode(errors="replace")


class ShallowParty(Party):
    """A party whose identifiers are in the names of the nodes, as with kazoo's ``ShallowParty``.

    One request reads all members.  `members` and `changed` return them in alphabetical order.
    The arguments are those of `Party`; the identifier must be valid in the name of a node.
    """

    @override
    def _new_name(self) -> str:
        return f"{uuid4().hex}-{self.identifier}"

    @override
    async def _identifiers(self, names: Iterable[str]) -> list[str]:
        return sorted(found[1] for found in map(_SHALLOW.fullmatch, names) if found)


class Membership(PersistentEphemeral):
    """A member of a party; it rejoins automatically until `leave`.

    Use it as an asynchronous context manager, or `leave`.
    """

    def __repr__(self) -> str:
        return f"<Membership {self.path} {'present' if self.present else 'absent'}>"
