"""Change a node's data with a function of the old data, retrying after concurrent changes."""

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
from zkservice.recipes.recipe import Recipe
from zkservice.recipes.retrying import Doubt, RetryingClient
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.records import Stat
from zkservice.znodes import validate

#: Returns new data for the old data and their Stat; both are None if there is no node yet.
Change = Callable[["bytes | None", "Stat | None"], "bytes | Awaitable[bytes]"]

#: Another client was faster: the change is made again, from the data that it has written.
_RACES = (NodeExistsError, NoNodeError, BadVersionError)


def retry_change(
    client: Client,
    path: str,
    change: Change,
    *,
    acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
    reactor: Any = None,
) -> Deferred[bytes]:
    """Change a node's data, and retry if another client was faster.

    Args:
        client: need not be connected yet.
        path: the node; it and its parents are created when they are missing.
        change: called with the data and the Stat, or None and None if there is no node;
            returns the new data, or an awaitable of them.  Called again if another client
            has written meanwhile.  If it raises, the call fails with that error.
        acl: the ACL of the nodes that are created.
        reactor: schedules timers; the installed one if None.

    Returns:
        Fires with the new data.  Nothing is written if they are equal to the old data.
        Cancelling it stops the attempts; a request that was sent may be carried out.

    Fails with:
        ConnectionLossError: the connection broke during the write, and other clients have
            written since, so its outcome is unknown.
    """
    retrying = RetryingClient(client, reactor)
    writer = _DataWriter(retrying, validate(path), tuple(acl), exact=False)
    return Deferred.fromCoroutine(writer.change(change))


class Counter(Recipe):
    """A number in a node, as text; interoperates with kazoo's ``Counter``.

    Args:
        client: need not be connected yet.
        path: the node; created at the first change, with its parents.
        default: the number if there is no node, or the node is empty.
        acl: the ACL of the nodes that are created.
        reactor: schedules timers; the installed one if None.

    Raises:
        InvalidPathError: the path is invalid.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        default: int = 0,
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        super().__init__(client, path, acl=acl, reactor=reactor)
        self.default = default
        self._writer = _DataWriter(self._retrying, self.path, self._acl, exact=True)

    def value(self) -> Deferred[int]:
        """The current number.

        Fails with:
            ValueError: the node's data are not a number.
        """
        return Deferred.fromCoroutine(self._value())

    def add(self, amount: int = 1) -> Deferred[int]:
        """Add a whole number, which may be negative; fires with the new number.

        Raises:
            TypeError: the amount is not an int.

        Fails with:
            ValueError: the node's data are not a number.
            ConnectionLossError: the connection broke during the write, and its outcome is
                unknown.  Either the session has ended meanwhile, or the ACL does not allow to
                create below the node the mark that shows the outcome.  The number is never
                added twice.
        """

        if not isinstance(amount, int):
            raise TypeError(f"a counter counts in whole numbers, not by {amount!r}")

        def change(data: bytes | None, _: Stat | None) -> bytes:
            return b"%d" % (self._number(data) + amount)

        return Deferred.fromCoroutine(self._writer.change(change)).addCallback(int)

    # -- internals --------------------------------------------------------------------

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
    """Replaces a node's data with data computed from them, unless they have changed meanwhile.

    Args:
        retrying: sends the requests, and repeats those that are safe to repeat.
        path: the node.
        acl: the ACL of the nodes that are created.
        exact: distinguish this client's write from another client's write of the same data,
            as a counter must.  Each write then creates a mark; see `MarkedWrites`.
    """

    def __init__(
        self, retrying: RetryingClient, path: str, acl: tuple[ACL, ...], *, exact: bool
    ) -> None:
        self._path = path
        self._acl = acl
        self._retrying = retrying
        self._exact = exact
        self._marked = MarkedWrites(retrying, path, acl) if exact else None

    async def change(self, change: Change) -> bytes:
        while True:
            content, stat = await self._retrying.retry_across_sessions(self._read)
            changed = change(content, stat)
            new = await changed if isawaitable(changed) else changed
            if new == content or await self._write(new, stat):
                return new

    async def _read(self) -> tuple[bytes | None, Stat | None]:
        try:
            return await self._retrying.client.get(self._path)
        except NoNodeError:
            return None, None

    async def _write(self, new: bytes, before: Stat | None) -> bool:
        """Write once; return False if another client has changed the node meanwhile.

        Args:
            new: the new data.
            before: the node's Stat when it was read; None if it did not exist.
        """
        if self._marked is not None:
            try:
                return await self._write_marked(self._marked, new, before)
            except CannotMarkError:
                self._marked = None
        return await self._write_unmarked(new, before)

    async def _write_marked(self, marked: MarkedWrites, new: bytes, before: Stat | None) -> bool:
        path, acl = self._path, self._acl

        def add_write(transaction: Transaction) -> None:
            if before is None:
                transaction.create(path, new, acl)
            else:
                transaction.set(path, new, before.version)

        async def check_same_node() -> None:
            now = await self._retrying.stat_after_sync(path)
            if before is not None and now is not None and now.czxid != before.czxid:
                raise NodeExistsError(path)  # the versions of a new node start at 0 again

        try:
            if before is None:
                await self._retrying.with_parent(path, acl, lambda: marked.run(add_write))
            else:
                await marked.run(add_write, check_same_node)
        except _RACES:
            return False
        return True

    async def _write_unmarked(self, new: bytes, before: Stat | None) -> bool:
        async def attempt(doubt: Doubt) -> bool:
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

        return await self._retrying.run(attempt, across_sessions=True)

    async def _send(self, new: bytes, before: Stat | None) -> None:
        client, path = self._retrying.client, self._path
        if before is not None:
            await client.set(path, new, before.version)
            return
        await self._retrying.with_parent(
            path, self._acl, lambda: client.create(path, new, self._acl)
        )

    async def _find_outcome(
        self, new: bytes, before: Stat | None, lost: ConnectionLossError
    ) -> bool | None:
        """Find out whether a write with a lost reply was carried out.

        Returns:
            Whether it was carried out; None if it was not, and the node is as it was.

        Raises:
            ConnectionLossError: the outcome is unknown.
        """
        await self._retrying.client.sync(self._path)
        found, now = await self._read()
        if now is None or (before is not None and now.czxid != before.czxid):
            return False  # deleted, and perhaps created again: its versions start at 0 then
        version = -1 if before is None else before.version  # a creation makes version 0
        if now.version == version:
            return None
        changed_once = now.version == version + 1
        if changed_once and found != new:
            return False  # by another client
        if changed_once and not self._exact:
            return True
        raise lost
