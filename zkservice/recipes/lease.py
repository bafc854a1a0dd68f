"""Something that is held until it is released, or lost."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import Self

from zkservice.errors import LeaseLostError, ZooKeeperError
from zkservice.recipes.retrying import SESSION_OVER, RetryingClient, cancel_watch
from zkservice.wire.records import Stat
from zkservice.wire.session import State
from zkservice.wire.watches import WatchEvent

#: Of the session's time-out: so long after the last sign of life it is certainly not over.  It
#: is when the client gives up a connection (ClientCnxn.java), too; a third is left to act in.
_CERTAIN: Final = 2 / 3


class Lease:
    """A lock, a leadership or a share of a semaphore that is held.

    Use it as an asynchronous context manager, or `release` it.

    While the connection is broken, and after the process or the machine was suspended, nobody
    knows whether the server has ended the session: then `held` is still True and `certain`
    is not.  What must never be done by two at a
    time carries the `token` along, and the one who does it refuses a token that is lower
    than one he has seen.
    """

    _log = Logger()

    def __init__(
        self, retrying: RetryingClient, path: str, token: int, watch: Deferred[WatchEvent]
    ) -> None:
        self.path = path  #: of the ephemeral node that stands for it
        self.token = token  #: the node's czxid: higher than that of every lease before
        self._retrying = retrying
        self._reason: Exception | None = None  # why it is lost
        self._asking: list[Deferred[Exception]] = []  # who waits for its loss
        self._released = False
        self._outcome: Failure | None = None  # of the release
        self._deleting = False
        self._unheard: BaseException | None = None  # why it was perhaps lost before the release
        self._leaving: list[Deferred[None]] = []  # who waits for the release
        self._guard: Deferred[None] = Deferred.fromCoroutine(self._watch_over(watch))
        self._guard.addErrback(self._log_bug)

    def __repr__(self) -> str:
        state = "released" if self._released else "held" if self._reason is None else "lost"
        return f"<Lease {self.path} token {self.token:#x} {state}>"

    @property
    def held(self) -> bool:
        """Whether it is neither lost nor released, as far as is known here."""
        return self._reason is None and not self._released

    @property
    def certain(self) -> bool:
        """Whether it is held, and a server has heard us so lately that it still says so.

        It asks the clock, too: a request or a ping that the server has answered was sent no
        longer ago than 2/3 of the session's time-out.
        """
        client = self._retrying.client
        return (
            self.held
            and client.state is State.CONNECTED
            and client.silence <= client.session_timeout * _CERTAIN
        )

    @property
    def lost(self) -> Deferred[Exception]:
        """A new Deferred that fires when it is lost, with the reason.

        The reason is a `SessionExpiredError` or another end of the session, or a
        `LeaseLostError` when the node was deleted.  It does not fire any more once the
        lease is released.  It can be cancelled.
        """
        if self._reason is not None:
            return succeed(self._reason)
        lost: Deferred[Exception] = Deferred(self._asking.remove)
        self._asking.append(lost)
        return lost

    def release(self) -> Deferred[None]:
        """Give it back; twice is fine, and so is one that is lost.

        Returns:
            Fires when the node is gone; waits for a connection, if there is none.
            Cancelling it stops the waiting, not the release.

        Fails with:
            NoAuthError: the node may not be deleted; it goes when the session ends.
        """
        return self.release_by(self._delete)

    def release_by(self, delete: Callable[[], Coroutine[Any, Any, None]]) -> Deferred[None]:
        """As `release`, by something that deletes the node along with others."""
        if not self._released:
            self._released = True
            self._guard.cancel()
            self._asking = []  # not emptied: those who ask may still cancel
            if self._reason is None:
                self._deleting = True
                Deferred.fromCoroutine(delete()).addBoth(self._gone)
        if not self._deleting:
            return succeed(None) if self._outcome is None else fail(self._outcome)
        done: Deferred[None] = Deferred(self._leaving.remove)
        self._leaving.append(done)
        return done

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it.

        Raises:
            LeaseLostError: it was lost before the block had come to its end, or perhaps:
                the session has ended before the server heard of the release.
        """
        await self.release()
        reason = self._reason or self._unheard
        if reason is not None and error is None:
            raise LeaseLostError(self.path) from reason

    # -- how --------------------------------------------------------------------------

    async def _delete(self) -> None:
        if not await self._retrying.delete_node(self.path, self.token):
            self._unheard = LeaseLostError(self.path)

    async def _watch_over(self, watch: Deferred[WatchEvent]) -> None:
        try:
            while True:
                await watch
                watch = await self._look()
        except CancelledError:
            return  # released
        except ZooKeeperError as error:
            self._lose(error)

    async def _look(self) -> Deferred[WatchEvent]:
        client = self._retrying.client
        stat, watch = await self._retrying.and_watch(lambda: client.exists_and_watch(self.path))
        if stat is None or stat.czxid != self.token:
            cancel_watch(watch)
            raise LeaseLostError(self.path)
        return watch

    def _lose(self, reason: Exception) -> None:
        self._reason = reason
        self._log.warn("lost {path}: {reason}", path=self.path, reason=reason)
        asking, self._asking = self._asking, []
        for lost in asking:
            lost.callback(reason)

    def _gone(self, result: object) -> None:
        self._deleting = False
        if isinstance(result, Failure):
            if result.check(*SESSION_OVER):
                self._unheard = result.value
            else:
                self._outcome = result
        leaving, self._leaving = self._leaving, []
        for done in leaving:
            done.callback(None) if self._outcome is None else done.errback(self._outcome)

    def _log_bug(self, failure: Failure) -> None:
        self._log.failure("watching over {path} failed", failure, path=self.path)
        self._lose(LeaseLostError(self.path, str(failure.value)))


async def hold(retrying: RetryingClient, path: str) -> Lease | None:
    """A lease on a node of this session; None if the node is not there, or not ours."""
    client = retrying.client
    found: tuple[Stat | None, Deferred[WatchEvent]]
    found = await retrying.and_watch(lambda: client.exists_and_watch(path))
    stat, watch = found
    identity = client.client_id
    if stat is None or identity is None or stat.ephemeral_owner != identity[0]:
        cancel_watch(watch)
        return None
    return Lease(retrying, path, stat.czxid, watch)
