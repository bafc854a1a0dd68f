"""Repeat a client's operations until there is a reply, however often the connection breaks.

`zkservice.retries` describes how that is safe.  A sequence node that may have been created is
searched by the mark in its name before it is created again, as with Curator's protected nodes
and kazoo's locks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from zkservice.deferreds import Backoff, time_limit
from zkservice.errors import (
    AuthFailedError,
    ClientClosedError,
    NodeExistsError,
    NoNodeError,
    NotReadOnlyError,
    SessionExpiredError,
    ThrottledOpError,
    ZooKeeperError,
)
from zkservice.recipes.client_protocol import Client
from zkservice.retries import Doubt, Retries, cancel_watch
from zkservice.wire.acl import ACL
from zkservice.wire.records import Stat
from zkservice.wire.watches import EventType, WatchEvent
from zkservice.znodes import parent

__all__ = [
    "LEAVE_TIMEOUT",
    "RETRY_DELAY",
    "SESSION_OVER",
    "Doubt",
    "RetryingClient",
    "cancel_watch",
]

T = TypeVar("T")

#: Seconds between two attempts when the server is overloaded or read-only.
RETRY_DELAY: Final = 1.0

#: Seconds for which a cancelled waiter waits for the deletion of its node.
LEAVE_TIMEOUT: Final = 1.0

#: The session has ended, and its ephemeral nodes with it.
SESSION_OVER: Final = (SessionExpiredError, ClientClosedError, AuthFailedError)


class RetryingClient:
    """Operations of a client that survive lost connections, but not the session.

    They fail with `SessionExpiredError` when the session ends, because knowledge of its nodes
    may be outdated then; `retry_across_sessions` is for operations that do not depend on it.

    Args:
        client: sends the requests.
        reactor: schedules timers; the installed one if None.
    """

    _log = Logger()

    def __init__(self, client: Client, reactor: Any = None) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: TID251
        self.client = client
        self.reactor = reactor
        self._retries = Retries(
            client,
            reactor,
            attempts=None,
            make_backoff=lambda: Backoff(RETRY_DELAY, RETRY_DELAY),
            overloaded=(ThrottledOpError, NotReadOnlyError),
        )

    # -- repeating ----------------------------------------------------------------------

    async def run(
        self, attempt: Callable[[Doubt], Awaitable[T]], *, across_sessions: bool = False
    ) -> T:
        """Repeat ``attempt`` until it returns.

        Its argument tells it whether an earlier attempt may have been carried out.
        """
        return await self._retries.run(attempt, across_sessions=across_sessions)

    async def retry(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Repeat an idempotent request until there is a reply."""
        return await self._retries.run(lambda _: ask())

    async def retry_across_sessions(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Like `retry`, and again in the next session if this one expires."""
        return await self._retries.run(lambda _: ask(), across_sessions=True)

    async def retry_until_entered(self, enter: Callable[[], Awaitable[T | None]]) -> T:
        """Like `retry_across_sessions`, and again while the result is None."""
        while True:
            entered = await self.retry_across_sessions(enter)
            if entered is not None:
                return entered

    def time_limit(
        self, timeout: float | None, waiting: Deferred[T], error: Callable[[float], Exception]
    ) -> Deferred[T]:
        """Cancel a Deferred after ``timeout`` seconds (None: never); it fails with ``error``."""
        return time_limit(waiting, timeout, self.reactor, error)

    async def with_parent(
        self, path: str, acl: Sequence[ACL], ask: Callable[[], Awaitable[T]]
    ) -> T:
        """Call ``ask`` until it finds the parent of a path; create the parent if it is missing."""
        while True:
            try:
                return await ask()
            except NoNodeError:
                await self.retry(lambda: self.client.ensure_path(parent(path), acl))

    # -- reading ------------------------------------------------------------------------

    async def read_and_watch(
        self, ask: Callable[[], tuple[Deferred[T], Deferred[WatchEvent]]]
    ) -> tuple[T, Deferred[WatchEvent]]:
        """Read with a watch; a caller that does not wait for the watch must `cancel_watch` it."""
        return await self._retries.read_and_watch(ask)

    async def wait_for_change(self, path: str) -> bool:
        """Wait until a node is changed or deleted; returns whether it is gone."""
        stat, watch = await self.read_and_watch(lambda: self.client.exists_and_watch(path))
        if stat is None:
            cancel_watch(watch)
            return True
        return (await watch).type is EventType.DELETED

    async def children(self, path: str) -> list[str]:
        """The names of a node's children; an empty list if there is no node."""
        try:
            return await self.retry(lambda: self.client.get_children(path))
        except NoNodeError:
            return []

    async def get(self, path: str) -> tuple[bytes, Stat] | None:
        """A node's data and Stat; None if there is no node."""
        try:
            return await self.retry(lambda: self.client.get(path))
        except NoNodeError:
            return None

    async def get_text(self, path: str) -> str | None:
        """A node's data as text; None if there is no node."""
        found = await self.get(path)
        return None if found is None else found[0].decode(errors="replace")

    async def stat_after_sync(self, path: str) -> Stat | None:
        """A node's Stat after a sync, so that earlier writes are visible; one attempt."""
        return await self._retries.stat_after_sync(path)

    # -- creating -----------------------------------------------------------------------

    async def create(
        self, path: str, mark: str, data: bytes, acl: Sequence[ACL], *, ephemeral: bool
    ) -> str:
        """Create a sequence node once, and its parents as far as they are missing.

        Args:
            path: without the number; its name begins with the mark.
            mark: occurs in no other node's name.
            data: the node's.
            acl: the ACL of the node, and of parents that have to be created.
            ephemeral: it is deleted when the session ends.

        Returns:
            The actual path.
        """

        async def attempt(doubt: Doubt) -> str:
            create = self._retries.create_marked
            return await create(path, mark, data, acl, doubt, ephemeral=ephemeral)

        return await self.with_parent(path, acl, lambda: self.run(attempt))

    async def create_own(
        self,
        path: str,
        data: bytes,
        acl: Sequence[ACL],
        parents_acl: Sequence[ACL] | None = None,
    ) -> None:
        """Create an ephemeral node that may exist already, and parents as needed.

        A node that exists counts as created by this call, whose reply may have been lost.  Callers
        use names that no other client uses, or look at the node's owner afterwards.

        Args:
            path: the node.
            data: the node's.
            acl: the node's.
            parents_acl: of parents that have to be created; None is the node's.
        """
        acl_above = acl if parents_acl is None else parents_acl

        async def attempt() -> None:
            await self.client.create(path, data, acl, ephemeral=True)

        try:
            await self.with_parent(path, acl_above, lambda: self.retry(attempt))
        except NodeExistsError:
            return

    # -- deleting -----------------------------------------------------------------------

    async def delete(self, path: str) -> None:
        """Make sure that a node does not exist; only for names that no other client uses.

        Repeated after a lost reply, it could delete a node that another client has created
        at the path meanwhile; `delete_node` does not.
        """
        await self._retries.delete(path)

    async def delete_node(self, path: str, czxid: int, *, across_sessions: bool = False) -> bool:
        """Make sure that one node does not exist; a later one at its path is left alone.

        Args:
            path: the node's path.
            czxid: the node's czxid; earlier and later nodes at the path have other ones.
            across_sessions: continue in the next session if this one expires.

        Returns:
            False if another client, and certainly not this one, has deleted it.
        """
        return await self._retries.delete(path, czxid, across_sessions=across_sessions)

    async def delete_current(self, path: str) -> None:
        """Delete the node that is at a path now; a later one is left alone."""
        stat = await self.retry(lambda: self.client.exists(path))
        if stat is not None:
            await self.delete_node(path, stat.czxid)

    async def delete_marked(self, parent_path: str, mark: str) -> None:
        """Make sure that there is no node with a mark."""
        found = await self.retry(lambda: self._retries.find(parent_path, mark))
        if found is not None:
            await self.delete(found)

    # -- cleaning up --------------------------------------------------------------------

    async def enter_or_leave(
        self,
        path: str,
        enter: Awaitable[T | None],
        leave: Callable[[], Coroutine[Any, Any, object]],
    ) -> T | None:
        """Create a node and wait for something; delete the node unless that succeeds.

        Args:
            path: the path of the node, for the log.
            enter: creates the node and waits; a failure, a cancellation or None as the result
                means that the node must be deleted.
            leave: deletes the node.  It is awaited, so that the node is gone when the caller
                continues, but only for `LEAVE_TIMEOUT` seconds, since there may be no
                connection, and not after the end of the session.  It continues afterwards.
        """
        try:
            entered = await enter
        except SESSION_OVER:
            # The client may give up a session earlier than the server, which still has the node.
            self.in_background(path, leave())
            raise
        except Exception:
            await self.wait_briefly(self.in_background(path, leave()))
            raise
        if entered is None:
            await self.wait_briefly(self.in_background(path, leave()))
        return entered

    async def wait_briefly(self, done: Deferred[None]) -> None:
        """Wait for a clean-up for at most `LEAVE_TIMEOUT` seconds."""
        await done.addTimeout(LEAVE_TIMEOUT, self.reactor, onTimeoutCancel=lambda *_: None)

    def in_background(self, path: str, work: Coroutine[Any, Any, object]) -> Deferred[None]:
        """Run a clean-up, until the end of the session at most; errors are logged.

        Returns:
            Fires when it has ended, successfully or not.  Cancelling it only stops the waiting.
        """
        done: Deferred[None] = Deferred()

        def ended(_: object) -> None:
            if not done.called:
                done.callback(None)

        Deferred.fromCoroutine(work).addErrback(self._log_leftover, path).addCallback(ended)
        return done

    def _log_leftover(self, failure: Failure, path: str) -> None:
        if failure.check(*SESSION_OVER):
            return
        level = LogLevel.warn if failure.check(ZooKeeperError) else LogLevel.error
        self._log.emit(
            level,
            "a node may be left at {path} until the session ends: {error}",
            path=path,
            error=failure.value,
        )
