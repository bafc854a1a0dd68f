"""Be there until we say otherwise, whatever happens to the session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import Self

from zkservice.errors import LeaseLostError, ZooKeeperError
from zkservice.recipes.lease import Lease
from zkservice.recipes.retrying import RETRY_DELAY, SESSION_OVER, RetryingClient


class PersistentEphemeral:
    """An ephemeral node that is made again when it is lost, until we leave.

    Use it as an asynchronous context manager, or `leave`.
    """

    _log = Logger()

    def __init__(
        self,
        retrying: RetryingClient,
        where: str,
        lease: Lease,
        enter: Callable[[], Awaitable[Lease]],
    ) -> None:
        self.where = where  #: the path that we stay at
        self._retrying = retrying
        self._lease = lease
        self._enter = enter
        self._staying: Deferred[None] = Deferred.fromCoroutine(self._stay())
        self._staying.addErrback(self._log_end)

    @property
    def path(self) -> str:
        """Of the node that stands for us; it may be another one after an expiry."""
        return self._lease.path

    @property
    def present(self) -> bool:
        """Whether the others can see us, as far as is known here."""
        return self._lease.held

    def leave(self) -> Deferred[None]:
        """Be no member any more; twice is fine.

        Returns:
            Fires when the node is gone; waits for a connection, if there is none.  At
            once while we are not `present`.  Cancelling it stops the waiting: we leave.

        Fails with:
            NoAuthError: the node may not be deleted; it goes when the session ends.
        """
        self._staying.cancel()
        return self._lease.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave."""
        await self.leave()

    # -- how --------------------------------------------------------------------------

    async def _stay(self) -> None:
        while True:
            reason = await self._lease.lost
            if isinstance(reason, LeaseLostError):  # deleted by somebody, who may go on with it
                await deferLater(self._retrying.reactor, RETRY_DELAY, lambda: None)
            self._lease = await self._join_again()

    async def _join_again(self) -> Lease:
        told = False
        while True:
            try:
                return await self._enter()
            except SESSION_OVER:
                raise
            except ZooKeeperError as error:
                if not told:
                    self._log.warn(
                        "not at {where} at the moment: {error}", where=self.where, error=error
                    )
                told = True
                await deferLater(self._retrying.reactor, RETRY_DELAY, lambda: None)

    def _log_end(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # we left
        if failure.check(*SESSION_OVER):
            self._log.info(
                "not at {where} any more: {error}", where=self.where, error=failure.value
            )
        else:
            self._log.failure("staying at {where} failed", failure, where=self.where)
