"""Do a thing until it is answered, however often the connection breaks meanwhile.

Reading again is harmless.  A sequence node that was perhaps created is looked for by the
mark in its name before it is created again, as Curator's protected nodes and kazoo's
locks are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zkservice.errors import (
    AuthFailedError,
    ClientClosedError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
    NotReadOnlyError,
    SessionExpiredError,
    ThrottledOpError,
    ZooKeeperError,
)
from zkservice.recipes.needs import Client
from zkservice.wire.acl import ACL
from zkservice.wire.paths import join, parent
from zkservice.wire.watches import WatchEvent

T = TypeVar("T")

#: Seconds between two attempts when the server is overloaded or read-only.
RETRY: Final = 1.0

#: The session is over, and its ephemeral nodes with it.
OVER: Final = (SessionExpiredError, ClientClosedError, AuthFailedError)


class Patient:
    """Operations of a client that outlast broken connections, though not the session.

    They fail with `SessionExpiredError` when the session is over, because what was known
    before need not hold after it; only `outlast` is for what has nothing to do with it.
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

    async def repeat(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer; only for what may be done twice."""
        while True:
            try:
                return await ask()
            except ConnectionLossError:
                continue  # the next call waits for the next connection
            except (ThrottledOpError, NotReadOnlyError):
                await deferLater(self.reactor, RETRY, lambda: None)

    async def outlast(self, ask: Callable[[], Awaitable[T]]) -> T:
        """As `repeat`, and again under another session if this one expires."""
        while True:
            try:
                return await self.repeat(ask)
            except SessionExpiredError:
                await self.next_session()

    async def and_watch(
        self, ask: Callable[[], tuple[Deferred[T], Deferred[WatchEvent]]]
    ) -> tuple[T, Deferred[WatchEvent]]:
        """Read with a watch; who does not wait for it has to `forget` it."""

        async def once() -> tuple[T, Deferred[WatchEvent]]:
            value, watch = ask()
            try:
                return await value, watch
            except BaseException:
                forget(watch)
                raise

        return await self.repeat(once)

    async def wait_for_change(self, path: str) -> None:
        """Until a node is gone, or something else about it has changed."""
        stat, watch = await self.and_watch(lambda: self.client.exists_and_watch(path))
        if stat is None:
            forget(watch)
        else:
            await watch

    def within(
        self, timeout: float | None, waiting: Deferred[T], too_late: Callable[[float], Exception]
    ) -> Deferred[T]:
        """Let it wait for so many seconds, for ever if None; the error says what was due."""
        if timeout is not None:

            def give_up(_: object, seconds: float) -> None:
                raise too_late(seconds)

            waiting.addTimeout(timeout, self.reactor, onTimeoutCancel=give_up)
        return waiting

    async def next_session(self) -> None:
        """Wait until another session has begun.

        Fails with:
            SessionExpiredError: there will be none.
        """
        answer = self.client.exists("/")
        if answer.called:  # a refusal: others have to wait for a connection
            await answer
        try:
            await answer
        except (ConnectionLossError, SessionExpiredError):
            return  # there was one, at least for a moment

    async def in_parent(self, path: str, acl: Sequence[ACL], ask: Callable[[], Awaitable[T]]) -> T:
        """Do what needs the parent of a path; one that is missing is made."""
        while True:
            try:
                return await ask()
            except NoNodeError:
                await self.repeat(lambda: self.client.ensure_path(parent(path), acl))

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
        in_doubt = False

        async def once() -> str:
            nonlocal in_doubt
            found = await self.find(parent(path), mark) if in_doubt else None
            if found is not None:
                return found
            try:
                return await self.client.create(path, data, acl, ephemeral=ephemeral, sequence=True)
            except ConnectionLossError as error:
                in_doubt = in_doubt or error.maybe_applied
                raise

        return await self.in_parent(path, acl, lambda: self.repeat(once))

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
            await self.in_parent(path, above, lambda: self.repeat(once))
        except NodeExistsError:
            return  # by us: the reply was lost

    async def children(self, path: str) -> list[str]:
        """The names of a node's children; none if there is no node."""
        try:
            return await self.repeat(lambda: self.client.get_children(path))
        except NoNodeError:
            return []

    async def find(self, where: str, mark: str) -> str | None:
        """The node with a mark, after all that was sent before has become visible."""
        await self.client.sync(where)
        try:
            names = await self.client.get_children(where)
        except NoNodeError:
            return None
        return next((join(where, name) for name in names if name.startswith(mark)), None)

    async def delete(self, path: str) -> None:
        """See to it that a node is not there; only for a name that nobody else uses.

        If a reply is lost the request is repeated, and would delete what another client has
        created at the path meanwhile: `delete_node` does not.
        """
        try:
            await self.repeat(lambda: self.client.delete(path))
        except NoNodeError:
            return

    async def delete_node(self, path: str, czxid: int, *, any_session: bool = False) -> bool:
        """See to it that one node is not there; a later one at its path is left alone.

        Before a request is repeated the path is read again, after a sync: a server that is
        behind would still show the deleted node.

        Args:
            path: the node's.
            czxid: tells the node from others that were or will be at the path.
            any_session: go on under another session if this one expires.

        Returns:
            False if it was deleted by another client, and certainly not by us.
        """
        repeated = in_doubt = False

        async def once() -> bool:
            nonlocal repeated, in_doubt
            if repeated and not await self._is_node(path, czxid):
                return in_doubt
            repeated = True
            try:
                await self.client.delete(path)
            except NoNodeError:
                return in_doubt
            except ConnectionLossError as error:
                in_doubt = in_doubt or error.maybe_applied
                raise
            return True

        return await (self.outlast(once) if any_session else self.repeat(once))

    async def _is_node(self, path: str, czxid: int) -> bool:
        await self.client.sync(path)
        stat = await self.client.exists(path)
        return stat is not None and stat.czxid == czxid

    async def delete_current(self, path: str) -> None:
        """Delete the node that is at a path now, if there is one; not a later one."""
        stat = await self.repeat(lambda: self.client.exists(path))
        if stat is not None:
            await self.delete_node(path, stat.czxid)

    async def delete_marked(self, where: str, mark: str) -> None:
        """See to it that there is no node with a mark."""
        found = await self.repeat(lambda: self.find(where, mark))
        if found is not None:
            await self.delete(found)

    def clean_up(self, path: str, coroutine: Any) -> None:
        """Let something that nobody waits for take its time; the end of the session ends it."""

        def failed(failure: Any) -> None:
            if failure.check(*OVER):
                return
            level = "warn" if failure.check(ZooKeeperError) else "error"
            getattr(self._log, level)(
                "a node may be left at {path} until the session ends: {error}",
                path=path,
                error=failure.value,
            )

        Deferred.fromCoroutine(coroutine).addErrback(failed)


def forget(watch: Deferred[WatchEvent]) -> None:
    """Take a watch away."""
    watch.addErrback(lambda failure: None)
    watch.cancel()
