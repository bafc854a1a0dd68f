"""Retry operations on ZooKeeper, for `zkservice.client.Retrying` and the recipes.

A request whose connection broke may have been carried out.  Reading again is harmless, writing
again is not.  So each attempt to write receives a `Doubt`.  If an earlier attempt may have been
carried out, the next one must read first, to find out whether it was.  If it cannot find out, it
must fail.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from zkservice.deferreds import Backoff
from zkservice.errors import (
    ConnectionLossError,
    NoNodeError,
    ServerError,
    SessionExpiredError,
    ThrottledOpError,
)
from zkservice.wire.acl import ACL
from zkservice.wire.records import Stat
from zkservice.wire.watches import WatchEvent
from zkservice.znodes import join, parent

__all__ = ["Doubt", "RetriedClient", "Retries", "cancel_watch"]

T = TypeVar("T")

#: Errors after which a request is retried on the same connection, after a pause.
_OVERLOADED: Final = (ThrottledOpError,)


class RetriedClient(Protocol):
    """The part of a client that `Retries` uses; its calls wait for a connection."""

    def create(
        self,
        path: str,
        data: bytes | None,
        acl: Iterable[ACL],
        *,
        ephemeral: bool = False,
        sequence: bool = False,
    ) -> Deferred[str]:
        """Create a node; fires with the actual path."""

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        """Delete a node."""

    def exists(self, path: str) -> Deferred[Stat | None]:
        """The node's Stat; None if it does not exist."""

    def get_children(self, path: str) -> Deferred[list[str]]:
        """The names of the node's children."""

    def sync(self, path: str) -> Deferred[str]:
        """Make the server catch up with the leader."""


class Doubt:
    """Whether an earlier attempt of an operation may have been carried out.

    It is true while an attempt may have been carried out.  An operation that finds out that none
    was calls `clear`.  One that cannot find out raises `error`, which ends the retries.
    """

    __slots__ = ("error",)

    def __init__(self) -> None:
        #: The error of the first attempt that may have been carried out.
        self.error: ConnectionLossError | None = None

    def __bool__(self) -> bool:
        return self.error is not None

    def clear(self) -> None:
        """Note that no attempt was carried out."""
        self.error = None

    def connection_lost(self, error: ConnectionLossError) -> None:
        """Note that the connection broke during an attempt."""
        if error.maybe_applied and self.error is None:
            self.error = error


class Retries:
    """Retries operations of one client.

    Args:
        client: sends the requests.
        clock: schedules the pauses.
        attempts: the most attempts of an operation; None: no limit.
        make_backoff: makes the pauses of one operation while the server is overloaded.
        overloaded: the errors that mean that the server is overloaded.

    Raises:
        ValueError: ``attempts`` is less than 1.
    """

    def __init__(
        self,
        client: RetriedClient,
        clock: Any,
        *,
        attempts: int | None,
        make_backoff: Callable[[], Backoff],
        overloaded: tuple[type[ServerError], ...] = _OVERLOADED,
    ) -> None:
        if attempts is not None and attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {attempts}")
        self._client = client
        self._clock = clock
        self._attempts = attempts
        self._make_backoff = make_backoff
        self._overloaded = overloaded

    async def run(
        self,
        attempt: Callable[[Doubt], Awaitable[T]],
        *,
        across_sessions: bool = False,
        doubt: Doubt | None = None,
    ) -> T:
        """Retry an operation when the connection breaks or the server is overloaded.

        Args:
            once: one attempt.
            across_sessions: retry it in the next session when this one expires, too.  A
                request that fails with `SessionExpiredError` was not carried out; it was
                waiting for a connection.
            doubt: is passed to ``attempt``; the caller can see whether it was cleared.

        Raises:
            ConnectionLossError: all attempts are used up, or ``attempt`` raised the doubt's.
            SessionExpiredError: the session has expired.  What the operation has read in it may
                be outdated.
        """
        doubt = Doubt() if doubt is None else doubt
        backoff: Backoff | None = None
        attempts = 0
        while True:
            attempts += 1
            try:
                return await attempt(doubt)
            except ConnectionLossError as error:
                if error is doubt.error:  # the attempt could not find out
                    raise
                doubt.connection_lost(error)
                if attempts == self._attempts:
                    raise doubt.error or error from None
            except SessionExpiredError:
                if attempts == self._attempts or not across_sessions:
                    raise
                await self.next_session()
            except self._overloaded:
                if attempts == self._attempts:
                    raise
                backoff = backoff or self._make_backoff()
                await deferLater(self._clock, backoff.next(), lambda: None)

    async def next_session(self) -> None:
        """Wait until another session has begun.

        Raises:
            SessionExpiredError: the client will not begin another session.
        """
        reply = self._client.exists("/")  # waits for a connection, which only a session has
        if reply.called:  # at once only if the client refuses calls, so this raises
            await reply
        try:
            await reply
        except (ConnectionLossError, SessionExpiredError):
            return  # there was another session, at least for a moment

    async def read_and_watch(
        self,
        ask: Callable[[], tuple[Deferred[T], Deferred[WatchEvent]]],
        *,
        across_sessions: bool = False,
    ) -> tuple[T, Deferred[WatchEvent]]:
        """Read with a watch; returns the value, and the Deferred of the watch.

        A caller that does not need the event must call `cancel_watch`.
        """

        async def attempt(_: Doubt) -> tuple[T, Deferred[WatchEvent]]:
            value, watch = ask()
            try:
                return await value, watch
            except BaseException:
                cancel_watch(watch)
                raise

        return await self.run(attempt, across_sessions=across_sessions)

    async def create_marked(
        self,
        path: str,
        mark: str,
        data: bytes | None,
        acl: Iterable[ACL],
        doubt: Doubt,
        *,
        ephemeral: bool,
    ) -> str:
        """Make one attempt to create a sequence node, for `run`; returns the actual path.

        Args:
            path: without the number; its name begins with the mark.
            mark: occurs in no other node's name.
            data: the node's.
            acl: the node's.
            doubt: if an earlier attempt may have created it, look for it first.
            ephemeral: it is deleted when the session ends.
        """
        found = await self.find(parent(path), mark) if doubt else None
        if found is not None:
            return found
        return await self._client.create(path, data, acl, ephemeral=ephemeral, sequence=True)

    async def find(self, parent_path: str, mark: str) -> str | None:
        """The path of the child with a mark; None if there is none.

        It finds a node that an earlier request of this client has created.
        """
        await self._client.sync(parent_path)
        try:
            names = await self._client.get_children(parent_path)
        except NoNodeError:
            return None
        return next((join(parent_path, name) for name in names if name.startswith(mark)), None)

    async def delete(
        self, path: str, czxid: int | None = None, *, across_sessions: bool = False
    ) -> bool:
        """Delete a node, but not one that another client creates in its place meanwhile.

        Args:
            path: the node's.
            czxid: identifies the node; None if no other client uses its name.
            across_sessions: as for `run`.

        Returns:
            False if it did not exist, and this call certainly did not delete it.
        """
        sent_before = False

        async def attempt(doubt: Doubt) -> bool:
            nonlocal sent_before
            if sent_before and czxid is not None:
                stat = await self.stat_after_sync(path)
                if stat is None or stat.czxid != czxid:
                    return bool(doubt)
            sent_before = True
            try:
                await self._client.delete(path)
            except NoNodeError:
                return bool(doubt)
            return True

        return await self.run(attempt, across_sessions=across_sessions)

    async def stat_after_sync(self, path: str) -> Stat | None:
        """A node's Stat, in which all earlier requests of this client are visible.

        This includes requests that were sent on an earlier connection.  One that is not visible
        now will never be carried out: the leader refuses requests that come from a server that
        had the session before (``checkSession`` in PrepRequestProcessor).
        """
        await self._client.sync(path)
        return await self._client.exists(path)


def cancel_watch(watch: Deferred[WatchEvent]) -> None:
    """Stop waiting for a watch's event."""
    watch.addErrback(lambda failure: None)
    watch.cancel()
