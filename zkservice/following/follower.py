"""Follow the contents of a path: the base of live children and properties.

A pass resolves the path, sets watches on everything that the result depends on, and reads
the node.  Each watch that fires causes another pass.  Watches are set before the watched data
are read, so no change is missed.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python import threadable
from twisted.python.failure import Failure
from typing_extensions import ParamSpec

from zkservice.client import Subscription, ZooKeeperClient
from zkservice.deferreds import Backoff, Reconciler, Waiters
from zkservice.errors import (
    ClientClosedError,
    ConnectionLossError,
    NoNodeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zkservice.following.lookup import look_up
from zkservice.following.watch_set import WatchedRead, WatchSet
from zkservice.tree.links import Resolution, trace
from zkservice.wire.session import State
from zkservice.znodes import parent

__all__ = ["Follower", "depends_on"]

A = TypeVar("A")  # the reply of the server for the node
T = TypeVar("T")  # the value that a subclass makes of the reply
P = ParamSpec("P")
R = TypeVar("R")
Paths = set[str]

#: Seconds: the shortest and the longest pause between two attempts when the server refuses.
RETRY: Final = 0.5
RETRY_MAX: Final = 30.0

#: Passes in a row without a pause; a tree may change faster than it can be read.
MAX_PASSES: Final = 100

# The connection or the session is lost: its next state causes the next pass.
_LOST: Final = (ConnectionLossError, SessionExpiredError)
# A read-only server serves every request that is sent here.
_CONNECTED: Final = (State.CONNECTED, State.READ_ONLY)


class Follower(Generic[A, T]):
    """Follows a path; subclasses define what is read there.

    It lives as long as it is referenced: the client and the reactor reference it weakly, and
    its watches go with it.  All methods belong to the reactor's thread.

    Attributes:
        path: the path, which may lead through symbolic links.
        real_path: the path after following links; None until it is known.
    """

    log = Logger()

    def __init__(self, client: ZooKeeperClient, path: str, reactor: Any) -> None:
        self.path = path
        self.real_path: str | None = None
        self._client = client
        # Whether the path was read once, or need not exist.  Then errors are retried.
        self._filled = not self.must_exist
        self._stopped = False
        self._interrupted = False  # whether the last pass ended because the connection was lost
        self._resolution: Resolution | None = None  # kept while everything it depends on is watched
        self._waiting: Waiters[None] = Waiters()
        self._backoff = Backoff(RETRY, RETRY_MAX)
        done: Awaitable[None] = succeed(None)
        self._reconciler = Reconciler(
            _weakly(self._reconcile, done),
            reactor,
            _weakly(self._crashed, None),
            _weakly(self._can_reconcile, False),
        )
        self._watches = WatchSet(client, self._reconciler.trigger)
        self._subscription = client.subscribe(_weakly(self._session_changed, None))
        finalizer = weakref.finalize(
            self, _release, reactor, self._watches, self._subscription, self._reconciler
        )
        finalizer.atexit = False

    def when_current(self) -> Deferred[None]:
        """Fires when the contents are at least as new as this call."""
        current = self._waiting.add()
        self._reconciler.trigger()
        return current

    def stop(self) -> None:
        """Stop following, and remove the watches."""
        self._stopped = True
        _release(None, self._watches, self._subscription, self._reconciler)

    # -- for subclasses ------------------------------------------------------------

    #: How the node is read.
    operation: WatchedRead[A]

    #: Whether to end with an error if the path cannot be resolved or read in the first pass.
    must_exist = True

    async def _interpret(self, path: str, reply: A) -> tuple[T, Paths]:
        """Return the value of a reply, and the paths of other nodes that it depends on."""
        raise NotImplementedError

    def _value_watches(self, path: str) -> set[tuple[WatchedRead[Any], str]]:
        """The watches that `operation` and `_interpret` have set on what they have read."""
        return {(self.operation, path)}

    def _found(self, value: T) -> None:
        """Store the value that is at ``real_path`` now."""
        raise NotImplementedError

    def _lost(self) -> None:
        """Called when the path does not lead to a node any more."""
        raise NotImplementedError

    # -- what causes a pass ---------------------------------------------------------

    def _session_changed(self, state: State) -> None:
        if state in _CONNECTED and (self._interrupted or self._reconciler.triggered):
            # A new connection ends the pause after an error.
            self._reconciler.cancel_timer()
            self._reconciler.trigger()
        elif state is State.CLOSED:
            self.stop()
            self._waiting.fail(ClientClosedError(self.path))

    def _can_reconcile(self) -> bool:
        """Whether a pass may start: not during a pause after an error.

        A pass may start without a connection: the client queues its requests, and fails them
        if it will not connect again.
        """
        return not self._reconciler.pass_scheduled

    def _retry_later(self) -> None:
        if not self._reconciler.pass_scheduled:
            self._reconciler.trigger_in(self._backoff.next())

    # -- a pass ----------------------------------------------------------------------

    async def _reconcile(self) -> None:
        self._interrupted = False
        try:
            await self._reconcile_once()
        except _LOST as error:
            self._connection_lost(error)
        except ZooKeeperError as error:
            self._refused(error)
        else:
            if self._reconciler.triggered and self._reconciler.passes >= MAX_PASSES:
                self._retry_later()

    async def _reconcile_once(self) -> None:
        """Read, and fire the Deferreds that waited when the pass began.

        If the data were outdated, the Deferreds wait for the next pass.
        """
        waiting, complete = self._waiting.remove_all(), False
        try:
            complete = await self._read_once()
        finally:
            if not complete:
                self._waiting.add_again(waiting)
        if not complete:
            self._reconciler.trigger()
            return
        self._backoff.reset()
        for current in waiting:
            if not current.called:  # else it was cancelled during the pass
                current.callback(None)

    async def _read_once(self) -> bool:
        """Read once; False if the data may be older than the watches that were set afterwards."""
        resolution = self._resolution
        if resolution is None or not self._watches.all_watched(depends_on(resolution)):
            resolution = await look_up(self._client, trace(self.path))
        self._resolution, depends = None, set(depends_on(resolution))
        if resolution.path is None:
            if await self._watches.watch_only(depends):
                return False
            self._nothing_found(resolution)
            return True
        try:
            reply = await self._watches.read(self.operation, resolution.path)
        except NoNodeError:
            return False
        value, others = await self._interpret(resolution.path, reply)
        if await self._watches.watch_only(
            depends | others, keep=self._value_watches(resolution.path)
        ):
            return False
        self._filled, self.real_path, self._resolution = True, resolution.path, resolution
        self._found(value)
        return True

    def _nothing_found(self, resolution: Resolution) -> None:
        if not self._filled:
            raise resolution.error or NoNodeError(self.path)
        self._lost()

    def _connection_lost(self, error: BaseException) -> None:
        """Postpone the next pass until there is a connection."""
        if self._stopped:
            self._waiting.fail(error)
            return
        self._interrupted = True
        if self._client.state in _CONNECTED:
            self._retry_later()

    def _refused(self, error: ZooKeeperError) -> None:
        """Fail the waiting Deferreds; another pass retries later."""
        if isinstance(error, ClientClosedError) or not self._filled:
            self.stop()
        elif not self._stopped:
            self.log.error("cannot follow {path}: {error}; retrying", path=self.path, error=error)
            self._retry_later()
        self._waiting.fail(error)

    def _crashed(self, failure: Failure) -> None:
        self.log.failure("following {path} failed", failure, path=self.path)
        if not self._stopped:
            self._retry_later()
        self._waiting.fail(failure.value or RuntimeError("unknown"))


def depends_on(resolution: Resolution) -> Iterator[str]:
    """The paths whose nodes decide where a path leads: links, their parents, a missing node.

    A link is stored in the properties of its parent.  A node at the link's own path hides it.
    """
    paths = resolution.links
    if resolution.missing is not None:
        paths = (*paths, resolution.missing)
    for path in paths:
        yield path
        yield parent(path)


def _weakly(method: Callable[P, R], otherwise: R) -> Callable[P, R]:
    """Wrap a bound method so that it does not keep its object alive.

    Args:
        method: called while its object is alive.
        otherwise: returned afterwards.
    """
    reference = weakref.WeakMethod(method)

    def call(*args: P.args, **named: P.kwargs) -> R:
        alive = reference()
        return otherwise if alive is None else alive(*args, **named)

    return call


def _release(
    reactor: Any, watches: WatchSet, subscription: Subscription, reconciler: Reconciler
) -> None:
    """Remove watches, subscription and timer.

    A finalizer calls it in any thread, so it does its work in the reactor's.
    """

    def release() -> None:
        watches.cancel()
        subscription.cancel()
        reconciler.cancel_timer()

    if reactor is None or threadable.isInIOThread() or not hasattr(reactor, "callFromThread"):
        release()
    else:
        reactor.callFromThread(release)
