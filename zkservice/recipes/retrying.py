"""Do a thing until it is answered, however often the connection breaks meanwhile.

How that is done safely is said in `zkservice.retries`.  A sequence node that was perhaps
created is looked for by the mark in its name before it is created again, as Curator's
protected nodes and kazoo's locks are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zkservice.deferreds import Backoff
from zkservice.deferreds import time_limit as limit_time
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

#: Seconds for which who gives up waits until his node is gone.
LEAVE_TIMEOUT: Final = 1.0

#: The session is over, and its ephemeral nodes with it.
SESSION_OVER: Final = (SessionExpiredError, ClientClosedError, AuthFailedError)


class RetryingClient:
    """Operations of a client that outlast broken connections, though not the session.

    They fail with `SessionExpiredError` when the session is over, because what was known
    before need not hold after it; `retry_across_sessions` is for what does not depend on it.
    """

    _log = Logger()

    def __init__(self, client: Client, reactor: Any = None) -> None:
        """Put it around a client.

        Args:
            client: does the work.
            reactor: tells the time; the installed one if None.
        """
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

    async def run(
        self, once: Callable[[Doubt], Awaitable[T]], *, across_sessions: bool = False
    ) -> T:
        """Try until there is an answer; ``once`` finds out what an earlier attempt has done."""
        return await self._retries.run(once, across_sessions=across_sessions)

    async def retry(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer; only for what may be done twice."""
        return await self._retries.run(lambda _: ask())

    async def retry_across_sessions(self, ask: Callable[[], Awaitable[T]]) -> T:
        """As `retry`, and again under another session if this one expires."""
        return await self._retries.run(lambda _: ask(), across_sessions=True)

    async def and_watch(
        self, ask: Callable[[], tuple[Deferred[T], Deferred[WatchEvent]]]
    ) -> tuple[T, Deferred[WatchEvent]]:
        """Read with a watch; who does not wait for it has to `cancel_watch` it."""
        return await self._retries.and_watch(ask)

    async def wait_for_change(self, path: str) -> bool:
        """Until a node is gone, or something else about it has changed; whether it is gone."""
        stat, watch = await self.and_watch(lambda: self.client.exists_and_watch(path))
        if stat is None:
            cancel_watch(watch)
            return True
        return (await watch).type is EventType.DELETED

    def time_limit(
        self, timeout: float | None, waiting: Deferred[T], too_late: Callable[[float], Exception]
    ) -> Deferred[T]:
        """Let it wait for so many seconds, for ever if None; the error says what was due."""
        return limit_time(waiting, timeout, self.reactor, too_late)

    async def next_session(self) -> None:
        """Wait until another session has begun.

        Fails with:
            SessionExpiredError: there will be none.
        """
        await self._retries.next_session()

    async def in_parent(self, path: str, acl: Sequence[ACL], ask: Callable[[], Awaitable[T]]) -> T:
        """Do what needs the parent of a path; one that is missing is made."""
        while True:
            try:
                return await ask()
            except NoNodeError:
                await self.retry(lambda: self.client.ensure_path(parent(path), acl))

    async def create(
        self, path: str, mark: str, data: bytes, acl: Sequence[ACL], *, ephemeral: bool
    ) -> str:
        """Create a sequence node once, and its parents as far as they are missing.

        Args:
            path: without the number; its name begins with the mark.
            mark: occurs in no other node's name.
            data: the node's.
            acl: the node's and that of parents that have to be made.
            ephemeral: it goes when the session ends.

        Returns:
            The actual path.
        """

        async def once(doubt: Doubt) -> str:
            create = self._retries.create_marked
            return await create(path, mark, data, acl, doubt, ephemeral=ephemeral)

        return await self.in_parent(path, acl, lambda: self.run(once))

    async def create_own(
        self,
        path: str,
        data: bytes,
        acl: Sequence[ACL],
        parents_acl: Sequence[ACL] | None = None,
    ) -> None:
        """Create an ephemeral node with a name that only we use, and parents as needed.

        Args:
            path: the node.
            data: the node's.
            acl: the node's.
            parents_acl: that of parents that have to be made; None is the node's.
        """
        above = acl if parents_acl is None else parents_acl

        async def once() -> None:
            await self.client.create(path, data, acl, ephemeral=True)

        try:
            await self.in_parent(path, above, lambda: self.retry(once))
        except NodeExistsError:
            return  # by us: the reply was lost

    async def children(self, path: str) -> list[str]:
        """The names of a node's children; none if there is no node."""
        try:
            return await self.retry(lambda: self.client.get_children(path))
        except NoNodeError:
            return []

    async def delete(self, path: str) -> None:
        """See to it that a node is not there; only for a name that nobody else uses.

        If a reply is lost the request is repeated, and would delete what another client has
        created at the path meanwhile: `delete_node` does not.
        """
        await self._retries.delete(path)

    async def delete_node(self, path: str, czxid: int, *, any_session: bool = False) -> bool:
        """See to it that one node is not there; a later one at its path is left alone.

        Args:
            path: the node's.
            czxid: tells the node from others that were or will be at the path.
            any_session: go on under another session if this one expires.

        Returns:
            False if it was deleted by another client, and certainly not by us.
        """
        return await self._retries.delete(path, czxid, across_sessions=any_session)

    async def stat_after_sync(self, path: str) -> Stat | None:
        """A node's Stat, after all that was sent before has become visible; one attempt."""
        return await self._retries.stat_after_sync(path)

    async def delete_current(self, path: str) -> None:
        """Delete the node that is at a path now, if there is one; not a later one."""
        stat = await self.retry(lambda: self.client.exists(path))
        if stat is not None:
            await self.delete_node(path, stat.czxid)

    async def delete_marked(self, where: str, mark: str) -> None:
        """See to it that there is no node with a mark."""
        found = await self.retry(lambda: self._retries.find(where, mark))
        if found is not None:
            await self.delete(found)

    async def enter_or_leave(
        self,
        path: str,
        enter: Awaitable[T | None],
        leave: Callable[[], Coroutine[Any, Any, object]],
    ) -> T | None:
        """Stand somewhere with a node, or leave nothing behind.

        Args:
            path: where, for the log.
            enter: what creates the node; a failure, a cancellation and None mean that we do not
                stay.
            leave: what deletes the node then.  It is waited for, so that the caller does not
                find the node still there; but for `LEAVE_TIMEOUT` seconds only, since there
                may be no connection, and not when the session is over.  It goes on all the same.
        """
        try:
            entered = await enter
        except SESSION_OVER:
            self.in_background(path, leave())  # a server that does not know yet still has the node
            raise
        except Exception:
            await self._wait_for_leaving(path, leave())
            raise
        if entered is None:
            await self._wait_for_leaving(path, leave())
        return entered

    async def _wait_for_leaving(self, path: str, leaving: Coroutine[Any, Any, object]) -> None:
        done = self.in_background(path, leaving)
        await done.addTimeout(LEAVE_TIMEOUT, self.reactor, onTimeoutCancel=lambda *_: None)

    def in_background(self, path: str, coroutine: Coroutine[Any, Any, object]) -> Deferred[None]:
        """Let something take its time; the end of the session ends it.

        Returns:
            Fires when it has ended, well or not.  Cancelling it stops the waiting only.
        """
        done: Deferred[None] = Deferred()

        def ended(_: object) -> None:
            if not done.called:
                done.callback(None)

        def failed(failure: Any) -> None:
            if failure.check(*SESSION_OVER):
                return
            level = "warn" if failure.check(ZooKeeperError) else "error"
            getattr(self._log, level)(
                "a node may be left at {path} until the session ends: {error}",
                path=path,
                error=failure.value,
            )

        Deferred.fromCoroutine(coroutine).addErrback(failed).addCallback(ended)
        return done
