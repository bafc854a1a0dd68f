"""Repeat what is safe to repeat, and find out about what is not.

A request whose connection broke may have been carried out.  Reading again is harmless.
Writing again is not, so nothing here writes blindly: what has a version is compared, what
is created carries a mark by which it is found again, and what cannot be found out is raised.
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
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.records import Stat
from zkservice.wire.session import State
from zkservice.wire.watches import WatchEvent
from zkservice.znodes import parent

T = TypeVar("T")

#: Seconds before the first repetition for a server that is overloaded; then twice as long.
_FIRST_DELAY: Final = 0.1
#: Seconds; of the longest of these pauses.
_LONGEST_DELAY: Final = 10.0


class Retrying:
    """The operations of a client, repeated when the connection breaks under them.

    Each of them waits for the reconnect and tries again, ``attempts`` times in all.  If the
    session expires meanwhile, a request that was not sent is sent in the new session,
    unless it is about an ephemeral node: that belongs to the session in which it was asked
    for.  Errors are the client's, and:

    - `ConnectionLossError`: the attempts are used up; or, with ``maybe_applied``, a write
      may have been carried out, and that cannot be found out, because others have changed
      the node since.
    - `SessionExpiredError`: the client begins no new session, or the node is ephemeral.
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
        """Put it around a client.

        Args:
            client: does the work.
            attempts: how often an operation is tried at most.
            reactor: tells the time; the installed one if None.
            random: spreads the waits for an overloaded server.

        Raises:
            ValueError: ``attempts`` is less than 1.
        """
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
        """Do what may be done twice, such as ``lambda: client.get(path)``.

        That is all that reads, ``client.ensure_path(path)`` and ``client.add_watch(...)``.
        """
        return Deferred.fromCoroutine(self._retries.run(lambda _: ask(), across_sessions=True))

    def exists_and_watch(self, path: str) -> tuple[Deferred[Stat | None], Deferred[WatchEvent]]:
        """As the client's.

        The first Deferred is repeated like `read`.  From then on the watch is the client's:
        it survives a reconnect, and fails with `SessionExpiredError` when the session ends.
        """
        return self._and_watch(lambda: self._client.exists_and_watch(path))

    def get_and_watch(self, path: str) -> tuple[Deferred[tuple[bytes, Stat]], Deferred[WatchEvent]]:
        """As the client's, and repeated as `exists_and_watch` is."""
        return self._and_watch(lambda: self._client.get_and_watch(path))

    def get_children_and_watch(self, path: str) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        """As the client's, and repeated as `exists_and_watch` is."""
        return self._and_watch(lambda: self._client.get_children_and_watch(path))

    def _and_watch(
        self, ask: Callable[[], tuple[Deferred[T], Deferred[WatchEvent]]]
    ) -> tuple[Deferred[T], Deferred[WatchEvent]]:
        established: list[Deferred[WatchEvent]] = []

        def cancelled(_: object) -> None:
            for one in established:
                one.cancel()

        watch: Deferred[WatchEvent] = Deferred(cancelled)

        async def read() -> T:
            value, found = await self._retries.and_watch(ask, across_sessions=True)
            if watch.called:  # cancelled before there was a value
                cancel_watch(found)
            else:
                established.append(found)
                found.addCallbacks(watch.callback, watch.errback)
            return value

        return Deferred.fromCoroutine(read()), watch

    # -- writing -------------------------------------------------------------------------

    def write(self, ask: Callable[[], Awaitable[T]]) -> Deferred[T]:
        """Do anything once, such as ``lambda: client.create(path)``.

        It is repeated only as long as it was certainly not carried out.

        Fails with:
            ConnectionLossError: with ``maybe_applied``: it may have been carried out.
        """

        async def once(doubt: Doubt) -> T:
            if doubt.error is not None:
                raise doubt.error
            return await ask()

        return Deferred.fromCoroutine(self._write(once))

    def set(self, path: str, data: Data, version: int, *, exact: bool = False) -> Deferred[Stat]:
        """Set a node's data if it has this version; never twice.

        After a lost reply, the same bytes in the following version count as written, unless
        this session had seen them before.  Another client may have written them meanwhile:
        nothing that ZooKeeper stores tells who made a change.  That does not matter for a
        value that both have computed alike.  It does for a counter, which would lose an
        increment: use ``exact=True``, or `zkservice.recipes.Counter`, which leaves a mark.

        Args:
            path: the node.
            data: its new data.
            version: the version that it must have, 0 or more.
            exact: do not take the same bytes for this write after a lost reply; fail instead.

        Fails with:
            ValueError: the version is -1, which guards nothing.
            BadVersionError: another client was faster; nothing was written.
            ConnectionLossError: with ``maybe_applied``: the reply was lost, and whether it
                was written cannot be found out, because others have changed the node since.
        """
        if version < 0:
            raise ValueError("a write that is repeated needs a version of 0 or more")
        return Deferred.fromCoroutine(self._set(path, as_bytes(data), version, exact))

    async def _set(self, path: str, data: bytes | None, version: int, exact: bool) -> Stat:
        seen = self._client.last_zxid
        seen_at_loss: int | None = None

        async def once(doubt: Doubt) -> Stat:
            nonlocal seen_at_loss
            if doubt.error is not None:
                if seen_at_loss is None:
                    # While there is no other connection yet, this is what the lost one showed.
                    lost = self._client.state is State.SUSPENDED
                    seen_at_loss = self._client.last_zxid if lost else seen
                await self._client.sync(path)
                found, stat = await self._client.get(path)
                if stat.czxid > seen:  # versions count anew in a node that was created again
                    raise doubt.error
                # A server replies and notifies in the order of zxids.  If a later change than
                # ours had been seen on the lost connection, our reply would have come before.
                if stat.mzxid > seen_at_loss:
                    ours = stat.version == version + 1 and found == (data or b"")
                    if ours and not exact:
                        return stat
                    if ours or stat.version > version + 1:
                        raise doubt.error
                doubt.clear()  # this is the version before ours, or another client's
                seen_at_loss = None
            return await self._client.set(path, data, version)

        return await self._write(once)

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        """Delete a node; if it is gone when the request is repeated, that is success.

        Fails with:
            NoNodeError: it was not there in the first place.
            BadVersionError: it has another version; it was not deleted.
            ConnectionLossError: with ``maybe_applied``: the reply was lost, and the node that
                is there now may be a new one of another client.
        """
        return Deferred.fromCoroutine(self._delete(path, version))

    async def _delete(self, path: str, version: int) -> None:
        seen = self._client.last_zxid

        async def once(doubt: Doubt) -> None:
            if doubt.error is not None:
                stat = await self._retries.stat_after_sync(path)
                if stat is None:
                    return
                if stat.czxid > seen:
                    raise doubt.error
                doubt.clear()  # it is the same node still
            await self._client.delete(path, version)

        await self._write(once)

    def create_ephemeral(
        self, path: str, data: Data = b"", acl: Iterable[ACL] = OPEN_ACL_UNSAFE
    ) -> Deferred[str]:
        """Create an ephemeral node; an existing one that this session owns is success.

        Fails with:
            NodeExistsError: it is another session's.
        """
        return Deferred.fromCoroutine(self._create_ephemeral(path, as_bytes(data), list(acl)))

    async def _create_ephemeral(self, path: str, data: bytes | None, acl: list[ACL]) -> str:
        async def once(doubt: Doubt) -> str:
            try:
                return await self._client.create(path, data, acl, ephemeral=True)
            except NodeExistsError:
                if doubt.error is None:
                    raise
                stat = await self._client.exists(path)
                if stat is None:  # gone since, whosever it was
                    raise doubt.error from None
                identity = self._client.client_id
                if identity is None or stat.ephemeral_owner != identity[0]:
                    doubt.clear()
                    raise
                return path

        return await self._write(once, across_sessions=False)

    def create_protected(
        self,
        path: str,
        data: Data = b"",
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        *,
        ephemeral: bool = False,
    ) -> Deferred[str]:
        """Create a sequence node whose name has a mark, so that it is never created twice.

        The name is ``_c_MARK-NAME0000000001``, as Curator's protected nodes have it.
        Cancelling it deletes the node, if it was or will be created.

        Args:
            path: the parent, and the beginning of the name: ``/locks/lock-``.
            data: bytes; None is a node without data.
            acl: the permissions.
            ephemeral: it goes when the session ends.

        Returns:
            Fires with the actual path.
        """
        slash = path.rindex("/") + 1
        mark = f"_c_{uuid4()}-"
        marked = path[:slash] + mark + path[slash:]
        creating = self._create_protected(marked, mark, as_bytes(data), list(acl), ephemeral)
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

    async def _clean_up(self, where: str, mark: str) -> None:
        try:
            find = self._retries.find
            found = await self._retries.run(lambda _: find(where, mark), across_sessions=True)
            if found is not None:
                await self._retries.delete(found, across_sessions=True)
        except ZooKeeperError as error:
            self._log.warn(
                "a node with the mark {mark} may be left in {path}: {error}",
                mark=mark,
                path=where,
                error=error,
            )

    async def _write(
        self, once: Callable[[Doubt], Awaitable[T]], *, across_sessions: bool = True
    ) -> T:
        """Repeat a write; an error after a doubtful attempt does not decide the doubt."""
        doubt = Doubt()
        try:
            return await self._retries.run(once, across_sessions=across_sessions, doubt=doubt)
        except ServerError as error:
            if doubt.error is None or isinstance(error, ConnectionLossError):
                raise
            if isinstance(error, SessionExpiredError) and not across_sessions:
                raise  # and what was perhaps created is gone with it
            raise doubt.error from error
