"""Keep an ephemeral node: create it again when it is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.errors import LeaseLostError, ZooKeeperError
from zkservice.recipes.blocks import AlreadyEntered
from zkservice.recipes.lease import Lease
from zkservice.recipes.retrying import RETRY_DELAY, SESSION_OVER, RetryingClient


class PersistentEphemeral(AlreadyEntered):
    """Keeps an ephemeral node alive: creates it again when it is lost, until `leave`.

    It is not a `zkservice.deferreds.Reconciler`, because `leave` has to cancel an attempt that
    is in progress.

    Args:
        retrying: creates and watches the node.
        where: a path for log lines; the node's own path may change.
        lease: on the node, which exists already.
        enter: creates the node again.
        ended: called when the session has ended and the client starts no new one.
    """

    _log = Logger()

    def __init__(
        self,
        retrying: RetryingClient,
        where: str,
        lease: Lease,
        enter: Callable[[], Awaitable[Lease]],
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self.where = where
        self._retrying = retrying
        self._lease = lease
        self._enter = enter
        self._ended = ended
        self._keeping: Deferred[None] = Deferred.fromCoroutine(self._keep())
        self._keeping.addErrback(self._log_end)

    @property
    def path(self) -> str:
        """The path of the node, which may change in a new session."""
        return self._lease.path

    @property
    def present(self) -> bool:
        """Whether the node exists, as far as is known here."""
        return self._lease.held

    def leave(self) -> Deferred[None]:
        """Delete the node, and do not create it again.  You can call it again.

        Returns:
            Fires when the node is gone, and at once if it is not `present`.  Without a
            connection it waits for one.  Cancelling it stops the waiting, not the deletion.

        Fails with:
            NoAuthError: the node may not be deleted; the server deletes it with the session.
        """
        self._keeping.cancel()
        return self._lease.release()

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Leave."""
        await self.leave()

    # -- internals --------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            reason = await self._lease.lost
            if isinstance(reason, LeaseLostError):
                # Another client has deleted it, and may do so again: do not compete with it.
                await self._pause()
            self._lease = await self._enter_again()

    async def _enter_again(self) -> Lease:
        logged = False
        while True:
            try:
                return await self._enter()
            except SESSION_OVER:
                raise
            except ZooKeeperError as error:
                if not logged:
                    self._log.warn(
                        "cannot create the node at {where}: {error}; retrying every {delay} s",
                        where=self.where,
                        error=error,
                        delay=RETRY_DELAY,
                    )
                logged = True
                await self._pause()

    def _pause(self) -> Deferred[None]:
        return deferLater(self._retrying.reactor, RETRY_DELAY, lambda: None)

    def _log_end(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # `leave` was called
        self._ended()
        error = failure.value
        if isinstance(error, SESSION_OVER):
            self._log.info(
                "the node at {where} will not be created again: {error}",
                where=self.where,
                error=error.detail or error.summary,  # without the path
            )
        else:
            self._log.failure("keeping the node at {where} failed", failure, where=self.where)
