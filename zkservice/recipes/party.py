"""Who takes part: a group whose members come, go and die."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import Deferred, FirstError, gatherResults
from typing_extensions import override

from zkservice.errors import InvalidPathError, NoNodeError, SessionExpiredError
from zkservice.recipes.blocks import Block, Entering
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lease import Lease, hold
from zkservice.recipes.persistent_ephemeral import PersistentEphemeral
from zkservice.recipes.retrying import RetryingClient, cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import join, validate

#: What kazoo appends to the names of a party's nodes.
PARTY: Final = "__party__"
#: The names of a shallow party's nodes in kazoo: a mark and the identifier.
_SHALLOW: Final = re.compile(r"[0-9a-f]{32}-(.*)", re.DOTALL)


class Party(Block["Membership"]):
    """A group of members, each with an identifier; kazoo's ``Party`` on the path is the same.

    Who joins is a member until he leaves, and joins again by himself when his session has
    expired.  Who dies is out as soon as the server ends his session.  ``async with party`` joins
    and leaves, and so does ``async with party.join()``.
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
        """Make it; nothing is asked of the client yet.

        Args:
            client: connected, or going to be.
            path: the parent of the members' nodes; made when it is missing.
            identifier: what we are called among the members.
            acl: of the nodes, and of the path if it has to be made.
            reactor: tells the time; the installed one if None.

        Raises:
            InvalidPathError: the path is none.
        """
        super().__init__()
        self.path = validate(path)
        self.identifier = identifier
        self._acl = tuple(acl)
        self._retrying = RetryingClient(client, reactor)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def join(self) -> Entering[Membership]:
        """Become a member; each call is a member of its own.

        Returns:
            Fires with a `Membership` when the others can see us.  Cancelling it takes us
            out, even if the connection is gone at the moment.

        Fails with:
            SessionExpiredError: and the client begins no other session.
            ClientClosedError: the client was closed.
            NoAuthError: nodes may not be created there.
        """
        return Entering(Deferred.fromCoroutine(self._join()))

    def members(self) -> Deferred[list[str]]:
        """The identifiers of all members, who joined first comes first."""
        return Deferred.fromCoroutine(self._retrying.retry_across_sessions(self._read))

    def changed(self, known: Iterable[str]) -> Deferred[list[str]]:
        """Wait until the members are other ones than those that are known.

        Call it again with its result, and no change that lasts is ever missed, whatever
        happens to the connection and the session.

        Args:
            known: the identifiers, in the order of `members`.

        Returns:
            Fires with the members as soon as they are not these.  Cancelling it stops the
            waiting.
        """
        return Deferred.fromCoroutine(self._changed(list(known)))

    # -- how --------------------------------------------------------------------------

    @override
    def _enter_block(self) -> Entering[Membership]:
        return self.join()

    async def _join(self) -> Membership:
        return Membership(self._retrying, self.path, await self._enter(), self._enter)

    async def _enter(self) -> Lease:
        """Our node, under this session or a later one."""
        while True:
            lease = await self._retrying.retry_across_sessions(self._enter_once)
            if lease is not None:
                return lease

    async def _enter_once(self) -> Lease | None:
        path = join(self.path, self._new_name())

        async def enter() -> Lease | None:
            await self._retrying.create_own(path, self.identifier.encode(), self._acl)
            return await hold(self._retrying, path)

        return await self._retrying.enter_or_leave(
            path, enter(), lambda: self._retrying.delete(path)
        )

    def _new_name(self) -> str:
        return uuid4().hex + PARTY

    async def _read(self) -> list[str]:
        return await self._identifiers(await self._retrying.children(self.path))

    async def _changed(self, known: list[str]) -> list[str]:
        while True:
            try:
                members = await self._wait_for_change(known)
            except SessionExpiredError:
                await self._retrying.next_session()
            else:
                if members != known:
                    return members

    async def _wait_for_change(self, known: list[str]) -> list[str]:
        """Members; either other ones than are known, or there may be others by now."""
        client = self._retrying.client
        names, watch = await self._retrying.in_parent(
            join(self.path, PARTY),
            self._acl,
            lambda: self._retrying.and_watch(lambda: client.get_children_and_watch(self.path)),
        )
        try:
            members = await self._identifiers(names)
            if members == known:
                await watch
            return members
        finally:
            cancel_watch(watch)

    async def _identifiers(self, names: Iterable[str]) -> list[str]:
        """Of the members among these nodes; all are asked for at once."""
        reading = [Deferred.fromCoroutine(self._member(name)) for name in names if PARTY in name]
        try:
            found = await gatherResults(reading, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        return [identifier for _, identifier in sorted(filter(None, found))]

    async def _member(self, name: str) -> tuple[int, str] | None:
        """When he joined, and what he is called; None if he has left meanwhile."""
        path = join(self.path, name)
        try:
            data, stat = await self._retrying.retry(lambda: self._retrying.client.get(path))
        except NoNodeError:
            return None
        return stat.czxid, data.decode(errors="replace")


class ShallowParty(Party):
    """A party whose identifiers are in the names of the nodes; kazoo's is the same.

    All members are read with one request, however many there are.  `members` and
    `changed` have them in alphabetical order.
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
        """Make it; arguments as for `Party`.

        Raises:
            InvalidPathError: the path is none, or the identifier cannot be part of a name.
        """
        super().__init__(client, path, identifier, acl=acl, reactor=reactor)
        name = self._new_name()
        if "/" in name:
            raise InvalidPathError(name, "a name has no slash")
        validate(join(self.path, name))

    @override
    def _new_name(self) -> str:
        return f"{uuid4().hex}-{self.identifier}"

    @override
    async def _identifiers(self, names: Iterable[str]) -> list[str]:
        return sorted(found[1] for found in map(_SHALLOW.fullmatch, names) if found)


class Membership(PersistentEphemeral):
    """Somebody's place in a party, until he leaves; comes back by itself if it is lost.

    Use it as an asynchronous context manager, or `leave`.
    """

    def __repr__(self) -> str:
        return f"<Membership {self.path} {'present' if self.present else 'absent'}>"
