"""Hold everybody up until somebody lifts the barrier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred

from zkservice.errors import BarrierTimeoutError, SessionExpiredError
from zkservice.recipes.client_protocol import Client
from zkservice.recipes.retrying import RetryingClient, cancel_watch
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.znodes import validate


class Barrier:
    """A node that is in the way as long as it is there; kazoo's ``Barrier`` on the path is it.

    It is put up and lifted by anybody, and belongs to no session.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        """Make it; nothing is asked of the client yet.

        Args:
            client: connected, or going to be.
            path: the node.
            acl: of the node, and of its parents if they have to be made.
            reactor: tells the time; the installed one if None.

        Raises:
            InvalidPathError: the path is none.
        """
        self.path = validate(path)
        self._acl = tuple(acl)
        self._retrying = RetryingClient(client, reactor)

    def __repr__(self) -> str:
        return f"<Barrier {self.path}>"

    def create(self) -> Deferred[None]:
        """Put it up, if it is not there already."""
        client = self._retrying.client
        ask = self._retrying.retry_across_sessions(lambda: client.ensure_path(self.path, self._acl))
        return Deferred.fromCoroutine(ask)

    def remove(self) -> Deferred[bool]:
        """Lift it; fires with whether it was there.

        It counts as there if the connection breaks during the request and it is gone
        afterwards.  A barrier that another client creates meanwhile is left alone.

        Fails with:
            NotEmptyError: the node has children, and stays.
        """
        return Deferred.fromCoroutine(self._remove())

    def wait(self, timeout: float | None = None) -> Deferred[None]:
        """Wait until it is lifted; one that is not there does not hold anybody up.

        What was done before the call is seen, whatever server we are connected to.  One
        that is lifted and put up again, even while we are cut off, lets us through.

        Args:
            timeout: seconds to wait; None is for ever.

        Returns:
            Fires when it is lifted.  Waits through broken connections and expired
            sessions.  Cancelling it stops the waiting.

        Fails with:
            BarrierTimeoutError: it was not lifted in time.
            SessionExpiredError: and the client begins no other session.
            ClientClosedError: the client was closed.
        """

        def too_late(seconds: float) -> Exception:
            return BarrierTimeoutError(self.path, f"not lifted within {seconds:g} s")

        return self._retrying.time_limit(timeout, Deferred.fromCoroutine(self._wait()), too_late)

    # -- how --------------------------------------------------------------------------

    async def _remove(self) -> bool:
        client = self._retrying.client
        stat = await self._retrying.retry_across_sessions(lambda: client.exists(self.path))
        if stat is None:
            return False
        return await self._retrying.delete_node(self.path, stat.czxid, any_session=True)

    async def _wait(self) -> None:
        client = self._retrying.client
        await self._retrying.retry_across_sessions(lambda: client.sync(self.path))
        awaited = None  # the czxid of the one that we wait for
        while True:
            try:
                stat, watch = await self._retrying.and_watch(
                    lambda: client.exists_and_watch(self.path)
                )
                if stat is None or stat.czxid != (awaited or stat.czxid):
                    return cancel_watch(watch)
                awaited = stat.czxid
                await watch
            except SessionExpiredError:
                await self._retrying.next_session()
