"""Repeat what is safe to repeat, and find out about what is not.

A request whose connection broke may have been carried out.  Reading again is harmless.
Writing again is not, so here is nothing that writes blindly: what has a version is
compared, and what is created carries a mark by which it is found again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from random import Random, SystemRandom
from typing import Any, Final, TypeVar
from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zkservice.client.client import ZooKeeperClient
from zkservice.client.creation import Data, as_bytes
from zkservice.errors import (
    BadVersionError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
    ThrottledOpError,
    ZooKeeperError,
)
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.paths import join, parent
from zkservice.wire.records import Stat

T = TypeVar("T")

#: Seconds before the first repetition for a server that is overloaded; then twice as long.
_FIRST_DELAY: Final = 0.1


class Retrying:
    """The operations of a client, repeated when the connection breaks under them.

    Each of them waits for the reconnect and tries again, ``attempts`` times in all; an
    expired session is not survived, because what was checked before it need not hold
    after it.  Errors are the client's; `ConnectionLossError` comes when the attempts are
    used up.
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
        """
        if reactor is None:
            from twisted.internet import reactor  # noqa: TID251
        self._client = client
        self._attempts = attempts
        self._reactor = reactor
        self._random = random or SystemRandom()

    def read(self, ask: Callable[[], Awaitable[T]]) -> Deferred[T]:
        """Do something that changes nothing, such as ``lambda: client.get(path)``."""
        return Deferred.fromCoroutine(self._repeat(lambda _: ask()))

    def set(self, path: str, data: Data, version: int) -> Deferred[Stat]:
        """Set a node's data if it has this version, exactly once.

        Fails with:
            ValueError: the version is -1, which guards nothing.
            BadVersionError: somebody else was faster.
        """
        if version < 0:
            raise ValueError("a write that is repeated needs a version of 0 or more")
        return Deferred.fromCoroutine(self._set(path, as_bytes(data), version))

    async def _set(self, path: str, data: bytes | None, version: int) -> Stat:
        async def once(in_doubt: bool) -> Stat:
            try:
                return await self._client.set(path, data, version)
            except BadVersionError:
                if not in_doubt:
                    raise
                # Was it we?  Only if nobody has set it since; then it says so itself.
                found, stat = await self._client.get(path)
                if stat.version != version + 1 or found != (data or b""):
                    raise
                return stat

        return await self._repeat(once)

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        """Delete a node; that it is gone when we ask again is success.

        Fails with:
            NoNodeError: it was not there in the first place.
        """
        return Deferred.fromCoroutine(self._delete(path, version))

    async def _delete(self, path: str, version: int) -> None:
        async def once(in_doubt: bool) -> None:
            try:
                await self._client.delete(path, version)
            except NoNodeError:
                if not in_doubt:
                    raise

        await self._repeat(once)

    def create_ephemeral(
        self, path: str, data: Data = b"", acl: Iterable[ACL] = OPEN_ACL_UNSAFE
    ) -> Deferred[str]:
        """Create an ephemeral node; one that is there is ours if our session owns it.

        Fails with:
            NodeExistsError: it is another session's.
        """
        return Deferred.fromCoroutine(self._create_ephemeral(path, as_bytes(data), list(acl)))

    async def _create_ephemeral(self, path: str, data: bytes | None, acl: list[ACL]) -> str:
        async def once(in_doubt: bool) -> str:
            try:
                return await self._client.create(path, data, acl, ephemeral=True)
            except NodeExistsError:
                stat = await self._client.exists(path) if in_doubt else None
                identity = self._client.client_id
                if stat is None or identity is None or stat.ephemeral_owner != identity[0]:
                    raise
                return path

        return await self._repeat(once)

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
            acl: who may do what.
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
        async def once(in_doubt: bool) -> str:
            found = await self._find(parent(path), mark) if in_doubt else None
            if found is not None:
                return found
            return await self._client.create(path, data, acl, ephemeral=ephemeral, sequence=True)

        try:
            return await self._repeat(once)
        except CancelledError:
            Deferred.fromCoroutine(self._clean_up(parent(path), mark))
            raise

    async def _find(self, where: str, mark: str) -> str | None:
        """The node with a mark, after everything that we did has become visible."""
        await self._client.sync(where)
        names = await self._client.get_children(where)
        return next((join(where, name) for name in names if name.startswith(mark)), None)

    async def _clean_up(self, where: str, mark: str) -> None:
        async def once(_: bool) -> None:
            found = await self._find(where, mark)
            if found is not None:
                await self._delete(found, -1)

        try:
            await self._repeat(once)
        except ZooKeeperError as error:
            self._log.warn(
                "a node with the mark {mark} may be left in {path}: {error}",
                mark=mark,
                path=where,
                error=error,
            )

    async def _repeat(self, once: Callable[[bool], Awaitable[T]]) -> T:
        """Try, and try again while it makes sense.

        ``once`` is told whether an earlier attempt may have been carried out.
        """
        in_doubt = False
        delay = _FIRST_DELAY
        for remaining in reversed(range(self._attempts)):
            try:
                return await once(in_doubt)
            except ConnectionLossError as error:
                in_doubt = in_doubt or error.maybe_applied
                if not remaining:
                    raise
            except ThrottledOpError:
                if not remaining:
                    raise
                wait = delay * self._random.uniform(0.5, 1.0)
                await deferLater(self._reactor, wait, lambda: None)
                delay *= 2
        raise ValueError("there must be at least one attempt")
