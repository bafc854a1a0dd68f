"""Something that is held until it is released or lost."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.deferreds import Waiters
from zkservice.errors import ClientClosedError, LeaseLostError, ZooKeeperError
from zkservice.recipes.blocks import AlreadyEntered
from zkservice.recipes.retrying import SESSION_OVER, RetryingClient, cancel_watch
from zkservice.wire.records import Stat
from zkservice.wire.session import State
from zkservice.wire.watches import WatchEvent

#: Fraction of the session's time-out for which the session certainly lasts after the last
#: reply.  The client gives up a connection at the same time, as ClientCnxn.java does; the
#: last third remains for finishing work.
_CERTAIN: Final = 2 / 3


class Lease(AlreadyEntered):
    """A lock, a leadership or a share of a semaphore that is held.

    Use it as an asynchronous context manager, or `release` it.

    While the connection is lost, and after the process or the machine was suspended, it is
    unknown whether the server has ended the session: `held` is still True then, `certain` is
    False.  Work that two holders must never do at the same time needs the `token` as a fencing
    token: the resource refuses a token that is lower than one it has seen.
    """

    _log = Logger()

    def __init__(
        self, retrying: RetryingClient, path: str, token: int, watch: Deferred[WatchEvent]
    ) -> None:
        self.path = path  #: the path of the ephemeral node
        self.token = token  #: the node's czxid, higher than that of every earlier lease
        self._retrying = retrying
        self._reason: Exception | None = None  # why it is lost
        self._loss_waiters: Waiters[Exception] = Waiters()
        self._release: _Release | None = None
        self._watching: Deferred[None] = Deferred.fromCoroutine(self._watch_over(watch))
        self._watching.addErrback(self._log_bug)

    def __repr__(self) -> str:
        state = "held" if self._reason is None else "lost"
        if self._release is not None:
            state = "released"
        return f"<Lease {self.path} token {self.token:#x} {state}>"

    @property
    def held(self) -> bool:
        """Whether it is neither lost nor released, as far as is known here."""
        return self._reason is None and self._release is None

    @property
    def certain(self) -> bool:
        """Whether it is held, and the server has replied recently enough to be sure.

        The last request or ping that got a reply was sent at most 2/3 of the session's time-out
        ago.  Time in which the process was suspended counts.
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
        `LeaseLostError` when the node was deleted.  It never fires once the lease is
        released.  It can be cancelled.
        """
        return self._loss_waiters.add() if self._reason is None else succeed(self._reason)

    def release(self) -> Deferred[None]:
        """Release it.  You can call it again, and after the lease is lost.

        Returns:
            Fires when the node is gone; without a connection it waits for one.  Cancelling it
            stops the waiting, not the release.

        Fails with:
            NoAuthError: the node may not be deleted; the server deletes it with the session.
        """
        return self.release_with(self._delete)

    def release_with(
        self, delete: Callable[[], Coroutine[Any, Any, LeaseLostError | None]]
    ) -> Deferred[None]:
        """Like `release`, with another way to delete the node.

        Args:
            delete: deletes the node.  It returns an error if the lease may have been lost before
                that, else None.
        """
        if self._release is None:
            self._release = _Release()
            self._watching.cancel()
            self._loss_waiters.remove_all()
            if self._reason is None:
                Deferred.fromCoroutine(delete()).addBoth(self._release.finish)
            else:
                self._release.finish(None)
        return self._release.wait()

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Release it.

        Raises:
            LeaseLostError: it was lost before the end of the block; or it may have been,
                because the session ended before the server confirmed the release.
        """
        await self.release()
        possible_loss = None if self._release is None else self._release.possible_loss
        reason = self._reason or possible_loss
        if reason is not None and error is None:
            raise LeaseLostError(self.path) from reason

    # -- internals --------------------------------------------------------------------

    async def _delete(self) -> LeaseLostError | None:
        deleted = await self._retrying.delete_node(self.path, self.token)
        return None if deleted else LeaseLostError(self.path)

    async def _watch_over(self, watch: Deferred[WatchEvent]) -> None:
        try:
            while True:
                await watch
                watch = await self._check_node()
        except CancelledError:
            return  # released
        except ZooKeeperError as error:
            self._lose(error)

    async def _check_node(self) -> Deferred[WatchEvent]:
        client = self._retrying.client
        stat, watch = await self._retrying.read_and_watch(
            lambda: client.exists_and_watch(self.path)
        )
        if stat is None or stat.czxid != self.token:
            cancel_watch(watch)
            raise LeaseLostError(self.path)
        return watch

    def _lose(self, reason: Exception) -> None:
        self._reason = reason
        if not isinstance(reason, ClientClosedError):  # its owner closed the client itself
            self._log.warn("lost the lease on {path}: {reason}", path=self.path, reason=reason)
        self._loss_waiters.fire(reason)

    def _log_bug(self, failure: Failure) -> None:
        self._log.failure(
            "watching the lease on {path} failed; it counts as lost", failure, path=self.path
        )
        self._lose(LeaseLostError(self.path, str(failure.value)))


class _Release:
    """The deletion of a lease's node, its outcome, and the Deferreds that wait for it."""

    def __init__(self) -> None:
        #: Why the lease may have been lost before the release; None if it was not.
        self.possible_loss: BaseException | None = None
        self._waiting: Waiters[None] = Waiters()
        self._finished = False
        self._error: BaseException | None = None

    def wait(self) -> Deferred[None]:
        """Fires when the deletion has ended; cancelling it only stops the waiting."""
        if not self._finished:
            return self._waiting.add()
        return succeed(None) if self._error is None else fail(self._error)

    def finish(self, result: LeaseLostError | Failure | None) -> None:
        """Fire the waiters.

        Args:
            result: None after a deletion; an error if the node was deleted, but the lease may
                have been lost before; a failure if the deletion failed.
        """
        self._finished = True
        if not isinstance(result, Failure):
            self.possible_loss = result
        elif result.check(*SESSION_OVER):  # the server deletes the node with the session
            self.possible_loss = result.value
        else:
            assert result.value is not None
            self._error = result.value
            return self._waiting.fail(result.value)
        return self._waiting.fire(None)


async def hold(retrying: RetryingClient, path: str) -> Lease | None:
    """A lease on a node of this session; None if there is no node, or it is another session's."""
    client = retrying.client
    found: tuple[Stat | None, Deferred[WatchEvent]]
    found = await retrying.read_and_watch(lambda: client.exists_and_watch(path))
    stat, watch = found
    identity = client.client_id
    if stat is None or identity is None or stat.ephemeral_owner != identity[0]:
        cancel_watch(watch)
        return None
    return Lease(retrying, path, stat.czxid, watch)
