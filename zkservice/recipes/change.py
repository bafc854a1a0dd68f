"""Change a node's data by a function of them, whatever others do meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any

from twisted.internet.defer import Deferred

from zkservice.errors import (
    BadVersionError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
)
from zkservice.recipes.client_protocol import Client, Transaction
from zkservice.recipes.marked import CannotMarkError, MarkedWrites
from zkservice.recipes.retrying import Doubt, RetryingClient
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.records import Stat
from zkservice.znodes import validate

#: Makes new data of the old ones and their Stat, both None if there is no node yet.
Change = Callable[["bytes | None", "Stat | None"], "bytes | Awaitable[bytes]"]

_RACES = (NodeExistsError, NoNodeError, BadVersionError)


def retry_change(
    client: Client,
    path: str,
    change: Change,
    *,
    acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
    reactor: Any = None,
) -> Deferred[bytes]:
    """Change a node's data, and try again if somebody else was faster.

    Args:
        client: connected, or going to be.
        path: the node; it and its parents are made when they are missing.
        change: called with the data and the Stat, or None and None if there is no node;
            answers the new data, or an awaitable of them.  Called again after each race
            that was lost; what it raises is the outcome.
        acl: of what is made.
        reactor: tells the time; the installed one if None.

    Returns:
        Fires with the new data.  Nothing is written if they are the old ones.
        Cancelling it stops the trying; what was sent may be carried out.

    Fails with:
        ConnectionLossError: the connection broke during the write, and others have
            written since: whether it was carried out cannot be found out.
    """
    writer = _DataWriter(client, path, acl, reactor, exact=False)
    return Deferred.fromCoroutine(writer.change(change))


class Counter:
    """A number in a node, as text; kazoo's ``Counter`` on the path counts the same."""

    def __init__(
        self,
        client: Client,
        path: str,
        default: int = 0,
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        """Make it; nothing is asked of the client yet.

        Args:
            client: connected, or going to be.
            path: the node; made at the first change, with its parents.
            default: what it counts from where there is no node, or one without data.
            acl: of what is made.
            reactor: tells the time; the installed one if None.
        """
        self.path = validate(path)
        self.default = default
        self._retrying = RetryingClient(client, reactor)
        self._writer = _DataWriter(client, path, acl, reactor, exact=True)

    def value(self) -> Deferred[int]:
        """What it is now.

        Fails with:
            ValueError: the node's data are no number.
        """
        return Deferred.fromCoroutine(self._value())

    def add(self, amount: int = 1) -> Deferred[int]:
        """Count up, or down if the amount is negative; fires with the new number.

        Fails with:
            ValueError: the node's data are no number.
            ConnectionLossError: the connection broke during the write, and whether it was
                carried out cannot be found out: the session has ended meanwhile, or the ACL
                allows no mark below the node.  It is never carried out twice.
        """

        def change(data: bytes | None, _: Stat | None) -> bytes:
            return b"%d" % (self._number(data) + amount)

        return Deferred.fromCoroutine(self._writer.change(change)).addCallback(int)

    async def _value(self) -> int:
        client = self._retrying.client
        try:
            data, _ = await self._retrying.retry_across_sessions(lambda: client.get(self.path))
        except NoNodeError:
            return self.default
        return self._number(data)

    def _number(self, data: bytes | None) -> int:
        return int(data) if data else self.default


class _DataWriter:
    """Writes what was made of a node's data, if they are still the same."""

    def __init__(
        self, client: Client, path: str, acl: Iterable[ACL], reactor: Any, *, exact: bool
    ) -> None:
        self._path = validate(path)
        self._acl = tuple(acl)
        self._retrying = RetryingClient(client, reactor)
        self._exact = exact  # the same change by somebody else does not count as ours
        self._marked = MarkedWrites(self._retrying, self._path, self._acl) if exact else None

    async def change(self, change: Change) -> bytes:
        while True:
            content, stat = await self._retrying.retry_across_sessions(self._read)
            made = change(content, stat)
            new = await made if isawaitable(made) else made
            if new == content or await self._write(new, stat):
                return new

    async def _read(self) -> tuple[bytes | None, Stat | None]:
        try:
            return await self._retrying.client.get(self._path)
        except NoNodeError:
            return None, None

    async def _write(self, new: bytes, before: Stat | None) -> bool:
        """Write once; False if the node is not as it was before (None: there was none)."""
        if self._marked is not None:
            try:
                return await self._write_marked(self._marked, new, before)
            except CannotMarkError:
                self._marked = None
        return await self._write_unmarked(new, before)

    async def _write_marked(self, marked: MarkedWrites, new: bytes, before: Stat | None) -> bool:
        path, acl = self._path, self._acl

        def add(change: Transaction) -> None:
            if before is None:
                change.create(path, new, acl)
            else:
                change.set(path, new, before.version)

        async def is_the_same() -> None:
            now = await self._retrying.stat_after_sync(path)
            if before is not None and now is not None and now.czxid != before.czxid:
                raise NodeExistsError(path)  # in a new node versions begin anew

        try:
            if before is None:
                await self._retrying.in_parent(path, acl, lambda: marked.run(add))
            else:
                await marked.run(add, is_the_same)
        except _RACES:
            return False
        return True

    async def _write_unmarked(self, new: bytes, before: Stat | None) -> bool:
        async def once(doubt: Doubt) -> bool:
            if doubt.error is not None:
                outcome = await self._find_outcome(new, before, doubt.error)
                if outcome is not None:
                    return outcome
                doubt.clear()
            try:
                await self._send(new, before)
            except _RACES:
                return False
            return True

        return await self._retrying.run(once, across_sessions=True)

    async def _send(self, new: bytes, before: Stat | None) -> None:
        client, path = self._retrying.client, self._path
        if before is not None:
            await client.set(path, new, before.version)
            return
        await self._retrying.in_parent(path, self._acl, lambda: client.create(path, new, self._acl))

    async def _find_outcome(
        self, new: bytes, before: Stat | None, lost: ConnectionLossError
    ) -> bool | None:
        """What became of a write that was perhaps carried out.

        Returns:
            Whether it was; None if it was not, and the node is as it was.

        Raises:
            ConnectionLossError: that cannot be told.
        """
        await self._retrying.client.sync(self._path)
        found, now = await self._read()
        # In a new node versions begin anew.  All is to be done again in any case.
        if now is None or (before is not None and now.czxid != before.czxid):
            return False
        version = -1 if before is None else before.version
        if now.version == version:
            return None
        first = now.version == version + 1
        if first and found != new:
            return False
        if first and not self._exact:
            return True
        raise lost
