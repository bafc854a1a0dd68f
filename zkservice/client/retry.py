"""Repeat requests after a lost connection, without carrying a write out twice.

A request whose connection broke may have been carried out.  Reading again is harmless, writing
again is not.  So before a write is repeated, a read finds out whether it was carried out.  A node
that is set or deleted is recognized by its version and zxids, a node that is created by its
owner, or by a mark in its name.  If that does not decide it, the call fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from random import Random, SystemRandom
from typing import Any, Final, TypeVar
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from zkservice.client.client import ZooKeeperClient
from zkservice.client.create_request import Data, as_bytes
from zkservice.deferreds import Backoff
from zkservice.errors import (
    ConnectionLossError,
    NodeExistsError,
    ServerError,
    SessionExpiredError,
    ZooKeeperError,
)
from zkservice.retries import Doubt, Retries, cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, acl_entries
from zkservice.wire.records import Stat
from zkservice.wire.session import State
from zkservice.wire.watches import WatchEvent
from zkservice.znodes import parent

T = TypeVar("T")

# Seconds between attempts while a server is overloaded: the first pause, which doubles each
# time, and the longest.
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 10.0


class Retrying:
    """The operations of a client, repeated when the connection breaks under them.

    Each of them waits for the reconnect and tries again, ``attempts`` times in all.  If the
    session expires meanwhile, a request that was not sent is sent in the new session, unless
    it creates an ephemeral node: that would belong to the wrong session.  Errors are the
    client's, and:

    - `ConnectionLossError`: the attempts are used up; or, with ``maybe_applied``, a write
      may have been carried out, and nothing shows whether it was, because others have changed
      the node since.
    - `SessionExpiredError`: the client begins no new session, or the node is ephemeral.

    Args:
        client: sends the requests.
        attempts: how often an operation is tried at most.
        reactor: tells the time; the installed one if None.
        random: jitters the pauses for an overloaded server.

    Raises:
        ValueError: ``attempts`` is less than 1.
    """

    _log = Logger()

    def __init__(
        self,
        client: ZooKeeperClient,
        attempts: int = 5,
        *,
        reactor: Any = None,
        random: Random | None = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: TID251
        jitter = (random or SystemRandom()).random
        self._client = client
        self._retries = Retries(
            client,
            reactor,
            attempts=attempts,
            make_backoff=lambda: Backoff(_FIRST_DELAY, _LONGEST_DELAY, jitter),
        )

    # -- reading -------------------------------------------------------------------------

    def read(self, ask: Callable[[], Awaitable[T]]) -> Deferred[T]:
        """Call a function until it succeeds, even if an earlier call may have been carried out.

        For requests that may be carried out twice, such as ``lambda: client.get(path)``.  These
        are all reads, ``client.ensure_path(path)`` and ``client.add_watch(...)``.
        """
        return Deferred.fromCoroutine(self._retries.run(lambda _: ask(), across_sessions=True))

    def exists_and_watch(self, path: str) -> tuple[Deferred[Stat | None], Deferred[WatchEvent]]:
        """As the client's `exists_and_watch`; the read is repeated.

        Once the first Deferred has fired, the second behaves as the client's: it survives a
        reconnect, and fails with `SessionExpiredError` when the session ends.
        """
        return self._and_watch(lambda: self._client.exists_and_watch(path))

    def get_and_watch(self, path: str) -> tuple[Deferred[tuple[bytes, Stat]], Deferred[WatchEvent]]:
        """As the client's `get_and_watch`; the read is repeated."""
        return self._and_watch(lambda: self._client.get_and_watch(path))

    def get_children_and_watch(self, path: str) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        """As the client's `get_children_and_watch`; the read is repeated."""
        return self._and_watch(lambda: self._client.get_children_and_watch(path))

    def _and_watch(
        self, ask: Callable[[], tuple[Deferred[T], Deferred[WatchEvent]]]
    ) -> tuple[Deferred[T], Deferred[WatchEvent]]:
        client_watch: Deferred[WatchEvent] | None = None  # of the attempt that succeeded

        def cancelled(_: object) -> None:
            if client_watch is not None:
                client_watch.cancel()

        watch: Deferred[WatchEvent] = Deferred(cancelled)

        async def read() -> T:
            nonlocal client_watch
            value, established = await self._retries.read_and_watch(ask, across_sessions=True)
            if watch.called:  # cancelled before there was a value
                cancel_watch(established)
            else:
                client_watch = established
                established.addCallbacks(watch.callback, watch.errback)
            return value

        return Deferred.fromCoroutine(read()), watch

    # -- writing -------------------------------------------------------------------------

    def write(self, ask: Callable[[], Awaitable[T]]) -> Deferred[T]:
        """Call a function that writes, such as ``lambda: client.create(path)``; never twice.

        It is called again only if the request was certainly not carried out.

        Fails with:
            ConnectionLossError: with ``maybe_applied``: it may have been carried out.
        """

        async def attempt(doubt: Doubt) -> T:
            if doubt.error is not None:
                raise doubt.error
            return await ask()

        return Deferred.fromCoroutine(self._write(attempt))

    def set(self, path: str, data: Data, version: int, *, exact: bool = False) -> Deferred[Stat]:
        """Set a node's data if it has this version; never twice.

        After a lost reply, the node is read.  If it has the same bytes in the following version,
        they count as written by this call, unless this session had seen them before.  They may
        be another client's: ZooKeeper does not store which client made a change.  That is no
        problem for a value that both have computed alike.  A counter would lose an increment:
        use ``exact=True``, or `zkservice.recipes.Counter`, which marks its writes.

        Args:
            path: the node.
            data: its new data.
            version: the version that it must have, 0 or more.
            exact: fail after a lost reply if the node has the same bytes, since they may be
                another client's.

        Raises:
            ValueError: the version is negative; -1 would overwrite any version.

        Fails with:
            BadVersionError: another client was faster; nothing was written.
            ConnectionLossError: with ``maybe_applied``: the reply was lost, and nothing shows
                whether it was written, because others have changed the node since.
        """
        if version < 0:
            raise ValueError("a write that is repeated needs a version of 0 or more")
        return Deferred.fromCoroutine(self._set(path, as_bytes(data), version, exact))

    async def _set(self, path: str, data: bytes | None, version: int, exact: bool) -> Stat:
        seen = self._client.last_zxid
        seen_at_loss: int | None = None

        async def attempt(doubt: Doubt) -> Stat:
            nonlocal seen_at_loss
            if doubt.error is not None:
                if seen_at_loss is None:
                    # Until there is another connection, `last_zxid` is that of the lost one.
                    lost = self._client.state is State.SUSPENDED
                    seen_at_loss = self._client.last_zxid if lost else seen
                await self._client.sync(path)
                found, stat = await self._client.get(path)
                if stat.czxid > seen:  # deleted and created again, so its versions began anew
                    raise doubt.error
                # A server sends replies and events in the order of zxids.  So if the lost
                # connection has shown the node's last change, and no reply to our write, then
                # our write came later: the change is not ours.
                if stat.mzxid > seen_at_loss:
                    ours = stat.version == version + 1 and found == (data or b"")
                    if ours and not exact:
                        return stat
                    if ours or stat.version > version + 1:
                        raise doubt.error
                doubt.clear()  # this is the version before ours, or another client's
                seen_at_loss = None
            return await self._client.set(path, data, version)

        return await self._write(attempt)

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        """Delete a node; if it is gone when the request is repeated, that is success.

        Fails with:
            NoNodeError: it did not exist at the first attempt.
            BadVersionError: it has another version; it was not deleted.
            ConnectionLossError: with ``maybe_applied``: the reply was lost, and the node that
                is there now may be a new one of another client.
        """
        return Deferred.fromCoroutine(self._delete(path, version))

    async def _delete(self, path: str, version: int) -> None:
        seen = self._client.last_zxid

        async def attempt(doubt: Doubt) -> None:
            if doubt.error is not None:
                stat = await self._retries.stat_after_sync(path)
                if stat is None:
                    return
                if stat.czxid > seen:
                    raise doubt.error
                doubt.clear()  # it is the same node, so it was not deleted
            await self._client.delete(path, version)

        await self._write(attempt)

    def create_ephemeral(
        self, path: str, data: Data = b"", acl: Iterable[ACL] = OPEN_ACL_UNSAFE
    ) -> Deferred[str]:
        """Create an ephemeral node.

        After a lost reply, a node that exists and that this session owns counts as created.

        Fails with:
            NodeExistsError: the node existed before, or it is another session's.
            ConnectionLossError: with ``maybe_applied``: the reply was lost, and the node was
                deleted since.
        """
        entries = acl_entries(acl)
        return Deferred.fromCoroutine(self._create_ephemeral(path, as_bytes(data), entries))

    async def _create_ephemeral(self, path: str, data: bytes | None, acl: list[ACL]) -> str:
        async def attempt(doubt: Doubt) -> str:
            try:
                return await self._client.create(path, data, acl, ephemeral=True)
            except NodeExistsError:
                if doubt.error is None:
                    raise
                stat = await self._client.exists(path)
                if stat is None:  # deleted since; it may have been ours or another session's
                    raise doubt.error from None
                identity = self._client.client_id
                if identity is None or stat.ephemeral_owner != identity[0]:
                    doubt.clear()
                    raise
                return path

        return await self._write(attempt, across_sessions=False)

    def create_protected(
        self,
        path: str,
        data: Data = b"",
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        *,
        ephemeral: bool = False,
    ) -> Deferred[str]:
        """Create a sequence node whose name has a unique mark, so that it is never created twice.

        After a lost reply the mark shows whether the node was created.  The name is
        ``_c_MARK-NAME0000000001``, as Curator's protected nodes have it.  Cancelling the
        Deferred deletes the node, even if the server creates it later.

        Args:
            path: the parent, and the beginning of the name: ``/locks/lock-``.
            data: bytes; None is a node without data.
            acl: the permissions.
            ephemeral: the node is deleted when the session ends.

        Returns:
            Fires with the actual path.
        """
        slash = path.rindex("/") + 1
        mark = f"_c_{uuid4()}-"
        marked = path[:slash] + mark + path[slash:]
        entries = acl_entries(acl)
        creating = self._create_protected(marked, mark, as_bytes(data), entries, ephemeral)
        return Deferred.fromCoroutine(creating)

    async def _create_protected(
        self, path: str, mark: str, data: bytes | None, acl: list[ACL], ephemeral: bool
    ) -> str:
        async def create(doubt: Doubt) -> str:
            return await self._retries.create_marked(
                path, mark, data, acl, doubt, ephemeral=ephemeral
            )

        try:
            return await self._write(create, across_sessions=not ephemeral)
        except CancelledError:
            Deferred.fromCoroutine(self._clean_up(parent(path), mark))
            raise

    async def _clean_up(self, parent_path: str, mark: str) -> None:
        try:
            find = self._retries.find
            found = await self._retries.run(lambda _: find(parent_path, mark), across_sessions=True)
            if found is not None:
                await self._retries.delete(found, across_sessions=True)
        except ZooKeeperError as error:
            self._log.warn(
                "a node with the mark {mark} may be left in {path}: {error}",
                mark=mark,
                path=parent_path,
                error=error,
            )

    async def _write(
        self, attempt: Callable[[Doubt], Awaitable[T]], *, across_sessions: bool = True
    ) -> T:
        """Repeat a write.

        If an earlier attempt may have been carried out, the error of a later one does not mean
        that nothing was written.  Then the call fails with the earlier attempt's error.
        """
        doubt = Doubt()
        try:
            return await self._retries.run(attempt, across_sessions=across_sessions, doubt=doubt)
        except ServerError as error:
            if doubt.error is None or isinstance(error, ConnectionLossError):
                raise
            if isinstance(error, SessionExpiredError) and not across_sessions:
                raise  # an ephemeral node that was perhaps created is deleted with the session
            raise doubt.error from error
