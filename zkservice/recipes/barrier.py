"""Block clients until a barrier is removed."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from zkservice.errors import BarrierTimeoutError
from zkservice.recipes.recipe import Recipe
from zkservice.recipes.retrying import cancel_watch


class Barrier(Recipe):
    """A node that blocks clients while it exists; interoperates with kazoo's ``Barrier``.

    Any client may create and remove it; it is a persistent node.

    Args:
        client: need not be connected yet.
        path: the node.
        acl: the ACL of the node, and of its parents if they have to be created.
        reactor: schedules timers; the installed one if None.

    Raises:
        InvalidPathError: the path is invalid.
    """

    def create(self) -> Deferred[None]:
        """Create it, if it does not exist already."""
        client = self._retrying.client
        creation = self._retrying.retry_across_sessions(
            lambda: client.ensure_path(self.path, self._acl)
        )
        return Deferred.fromCoroutine(creation)

    def remove(self) -> Deferred[bool]:
        """Remove it; fires with whether it existed.

        If the connection breaks during the request and the barrier is gone afterwards, it
        counts as having existed.  A barrier that another client creates meanwhile is left alone.

        Fails with:
            NotEmptyError: the node has children, and stays.
        """
        return Deferred.fromCoroutine(self._remove())

    def wait(self, timeout: float | None = None) -> Deferred[None]:
        """Wait until it is removed; fires at once if it does not exist.

        The call syncs first, so it sees all earlier changes, whatever server it is sent to.
        The wait also ends if the barrier is removed and created again, even while the
        connection is lost.

        Args:
            timeout: seconds to wait; None is for ever.

        Returns:
            Fires when it is removed.  Waits through broken connections and expired
            sessions.  Cancelling it stops the waiting.

        Fails with:
            BarrierTimeoutError: it was not removed in time.
            SessionExpiredError: the session expired, and the client starts no new one.
            ClientClosedError: the client was closed.
        """

        def too_late(seconds: float) -> Exception:
            return BarrierTimeoutError(self.path, f"not removed within {seconds:g} s")

        return self._retrying.time_limit(timeout, Deferred.fromCoroutine(self._wait()), too_late)

    # -- internals --------------------------------------------------------------------

    async def _remove(self) -> bool:
        client = self._retrying.client
        stat = await self._retrying.retry_across_sessions(lambda: client.exists(self.path))
        if stat is None:
            return False
        return await self._retrying.delete_node(self.path, stat.czxid, across_sessions=True)

    async def _wait(self) -> None:
        client = self._retrying.client
        await self._retrying.retry_across_sessions(lambda: client.sync(self.path))
        awaited: int | None = None  # the czxid of the barrier that this call waits for

        async def wait_in_session() -> None:
            nonlocal awaited
            while True:
                stat, watch = await self._retrying.read_and_watch(
                    lambda: client.exists_and_watch(self.path)
                )
                if awaited is None and stat is not None:
                    awaited = stat.czxid
                if stat is None or stat.czxid != awaited:
                    return cancel_watch(watch)
                await watch

        await self._retrying.retry_across_sessions(wait_in_session)
