"""Keep up with what a path holds: the machinery below live children and properties.

A pass finds out where the path leads, sets watches on everything that this depends on,
and reads the node.  Whatever fires leads to another pass; watches are set before what
they watch over is read, so nothing can change unseen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python import threadable
from twisted.python.failure import Failure

from zkservice.client import Subscription, ZooKeeperClient
from zkservice.errors import (
    ClientClosedError,
    ConnectionLossError,
    NoNodeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zkservice.registry.lookup import look_up, together
from zkservice.tree.links import Resolution, trace
from zkservice.tree.paths import split
from zkservice.wire.session import State

T = TypeVar("T")
Paths = set[str]

#: Seconds between two attempts when the server refuses, from and to.
RETRY: Final = 0.5
RETRY_MAX: Final = 30.0

#: Passes in a row without an end: a tree that changes faster than it can be read.
MOST_PASSES: Final = 100

# There is nobody to talk to at the moment: the session's next state will tell.
_GONE: Final = (ConnectionLossError, SessionExpiredError)
# A server that takes no writes answers all that is asked here.
_CONNECTED: Final = (State.CONNECTED, State.READ_ONLY)


class Watches:
    """One-shot watches that are wanted, each set once and cancelled when not wanted."""

    def __init__(self, client: ZooKeeperClient, fired: Callable[[], None]) -> None:
        self._client = client
        self._fired = fired
        self._over = False
        self._set: dict[tuple[str, str], Deferred[Any]] = {}

    def __len__(self) -> int:
        return len(self._set)

    async def want(self, paths: Iterable[str], keep: tuple[str, str] | None) -> bool:
        """Watch these paths, for whatever happens to their nodes, and no others.

        Args:
            paths: need not have nodes.
            keep: a watch of ``read`` that is wanted too.

        Returns:
            Whether a watch had to be set: then what was read before may be outdated.
        """
        wanted = {("exists", path) for path in paths}
        for key in [key for key in self._set if key not in wanted and key != keep]:
            self._set.pop(key).cancel()
        missing = [path for _, path in sorted(wanted - self._set.keys()) if not self._over]
        await together(self._watch("exists", path) for path in missing)
        return bool(missing)

    def are_set(self, paths: Iterable[str]) -> bool:
        """Whether all these are watched, and nothing has happened to them."""
        return all(("exists", path) in self._set for path in paths)

    def read(self, kind: str, path: str) -> Deferred[Any]:
        """Read a node's data (``get``) or children (``get_children``), with a watch."""
        if self._over or (kind, path) in self._set:
            plain: Deferred[Any] = getattr(self._client, kind)(path)
            return plain
        return self._watch(kind, path)

    def cancel(self) -> None:
        """Want none any more, for ever."""
        self._over = True
        while self._set:
            self._set.popitem()[1].cancel()

    def _watch(self, kind: str, path: str) -> Deferred[Any]:
        key = kind, path
        answer: Deferred[Any]
        answer, watch = getattr(self._client, f"{kind}_and_watch")(path)
        self._set[key] = watch
        watch.addBoth(self._done, key, watch)
        return answer.addErrback(self._not_set, key, watch)

    def _done(self, result: object, key: tuple[str, str], watch: Deferred[Any]) -> None:
        """It fired, the session is over, or it was cancelled."""
        if self._set.get(key) is watch:
            del self._set[key]
            self._fired()

    def _not_set(self, failure: Failure, key: tuple[str, str], watch: Deferred[Any]) -> Failure:
        """The read failed, so there is no watch."""
        if self._set.get(key) is watch:
            del self._set[key]
        watch.cancel()
        return failure


class Follower(Generic[T]):
    """Follows a path; subclasses say what is read there.

    It lives as long as somebody holds it: the client holds it weakly, and its watches go
    with it.  All methods belong to the reactor's thread.
    """

    log = Logger()

    def __init__(self, client: ZooKeeperClient, path: str, reactor: Any) -> None:
        self.path = path
        self.real_path: str | None = None
        self._client = client
        self._reactor = reactor
        self._filled = False
        self._working = False  # a pass is under way
        self._again = False  # something happened since it began
        self._way: Resolution | None = None  # as long as all it depends on is watched
        self._stopped = False
        self._failures = 0  # in a row
        self._timer: IDelayedCall | None = None
        self._waiting: list[Deferred[None]] = []
        poke = _weakly(self, "_poke")
        self._watches = Watches(client, poke)
        self._subscription = client.subscribe(_weakly(self, "_session_changed"))
        end = weakref.finalize(self, _release, reactor, self._watches, self._subscription)
        end.atexit = False

    def when_current(self) -> Deferred[None]:
        """Fires when what is known is at least as new as this call."""
        current: Deferred[None] = Deferred(self._waiting_cancelled)
        self._waiting.append(current)
        self._poke()
        return current

    def _waiting_cancelled(self, current: Deferred[None]) -> None:
        if current in self._waiting:
            self._waiting.remove(current)

    def stop(self) -> None:
        """Follow no more, and remove the watches."""
        self._stopped = True
        _release(None, self._watches, self._subscription)
        self._stop_timer()

    # -- what subclasses say -------------------------------------------------------

    #: The operation that reads the node: ``get`` or ``get_children``.
    kind: str

    async def _digest(self, path: str, answer: Any) -> tuple[T, Paths]:
        """Make sense of what was read; answers it with the paths it depends on."""
        raise NotImplementedError

    def _found(self, value: T) -> None:
        """This is at ``real_path`` now."""
        raise NotImplementedError

    def _lost(self) -> None:
        """Nothing is there any more."""
        raise NotImplementedError

    # -- what causes a pass ---------------------------------------------------------

    def _session_changed(self, state: State) -> None:
        if state in _CONNECTED and self._again:
            self._stop_timer()
            self._poke()
        elif state is State.CLOSED:
            self.stop()
            self._fail(ClientClosedError(self.path))

    def _poke(self) -> None:
        self._again = True
        if not self._working and self._timer is None:
            self._working = True
            Deferred.fromCoroutine(self._catch_up()).addErrback(self._bug)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _retry(self) -> None:
        self._timer = None
        self._poke()

    def _retry_later(self) -> None:
        if self._timer is None:
            seconds = min(RETRY * 2 ** min(self._failures, 16), RETRY_MAX)
            self._failures += 1
            self._timer = self._reactor.callLater(seconds, _weakly(self, "_retry"))

    def _bug(self, failure: Failure) -> None:
        self.log.failure("following {path} failed", failure, path=self.path)
        self._working = False
        if not self._stopped:
            self._retry_later()
        self._fail(failure.value or RuntimeError("unknown"))

    # -- a pass ----------------------------------------------------------------------

    async def _catch_up(self) -> None:
        passes = 0
        while self._again:
            self._again = False
            waiting, self._waiting = self._waiting, []
            passes += 1
            try:
                complete = await self._pass()
            except _GONE as error:
                self._interrupted(error, waiting)
                break
            except ZooKeeperError as error:
                self._refused(error, waiting)
                break
            except BaseException:
                self._waiting[:0] = waiting  # who calls us tells them
                raise
            if not complete:
                self._again = True
                self._waiting[:0] = waiting
            else:
                self._failures = 0
                for current in waiting:
                    if not current.called:  # else it was cancelled during the pass
                        current.callback(None)
            if self._again and passes >= MOST_PASSES:
                self._retry_later()
                break
        self._working = False

    async def _pass(self) -> bool:
        """Look once; False if it has to be done again."""
        way = self._way
        if way is None or not self._watches.are_set(depends_on(way)):
            way = await look_up(self._client, trace(self.path))
        self._way, depends = None, set(depends_on(way))
        if way.path is None:
            if await self._watches.want(depends, None):
                return False
            self._lead_nowhere(way)
            return True
        try:
            answer = await self._watches.read(self.kind, way.path)
        except NoNodeError:
            return False
        value, more = await self._digest(way.path, answer)
        if await self._watches.want(depends | more, (self.kind, way.path)):
            return False
        self._filled, self.real_path, self._way = True, way.path, way
        self._found(value)
        return True

    def _lead_nowhere(self, way: Resolution) -> None:
        if not self._filled:
            raise way.error or NoNodeError(self.path)
        self._lost()

    def _interrupted(self, error: Exception, waiting: list[Deferred[None]]) -> None:
        """The connection is gone: there is another pass when it is back."""
        self._waiting[:0] = waiting
        if self._stopped:
            self._fail(error)
        else:
            self._again = True
            if self._client.state in _CONNECTED:
                self._retry_later()

    def _refused(self, error: ZooKeeperError, waiting: list[Deferred[None]]) -> None:
        """The server will not tell us: whoever waits hears it, and we ask again later."""
        self._waiting[:0] = waiting
        if isinstance(error, ClientClosedError) or not self._filled:
            self.stop()
        elif not self._stopped:
            self.log.error(
                "{path} cannot be followed at the moment: {error}", path=self.path, error=error
            )
            self._retry_later()
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        waiting, self._waiting = self._waiting, []
        for current in waiting:
            if not current.called:
                current.errback(Failure(error))


def depends_on(way: Resolution) -> Iterator[str]:
    """The paths that it depends on where a path leads: links, their holders, what is missing."""
    for path in way.links if way.missing is None else (*way.links, way.missing):
        yield path
        yield split(path)[0]


def _weakly(owner: object, name: str) -> Callable[..., None]:
    """A method of an owner that it does not keep alive."""
    reference = weakref.ref(owner)

    def call(*args: Any) -> None:
        alive = reference()
        if alive is not None:
            getattr(alive, name)(*args)

    return call


def _release(reactor: Any, watches: Watches, subscription: Subscription) -> None:
    """Leave nothing behind; the garbage collector may run this in any thread."""

    def release() -> None:
        watches.cancel()
        subscription.cancel()

    if reactor is None or threadable.isInIOThread() or not hasattr(reactor, "callFromThread"):
        release()
    else:
        reactor.callFromThread(release)
