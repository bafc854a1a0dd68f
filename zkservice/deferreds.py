"""What several rooms need of Deferreds and of the clock: waiters, alarms, back-off, reconciling.

It stands below all rooms that use Twisted, so that none of them keeps a copy of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

__all__ = ["Alarm", "Backoff", "Reconciler", "Waiters", "time_limit"]

T = TypeVar("T")


class Waiters(Generic[T]):
    """Deferreds that wait for one event, in the order in which they came.

    A waiter that is cancelled leaves by itself.  Waiters may cancel each other, and come
    back, in their callbacks: those that come while others are served wait for the next event.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        # A dict, because a waiter of thousands must leave in constant time.
        self._waiting: dict[Deferred[T], None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self) -> Deferred[T]:
        """A Deferred that fires with the next event."""
        waiter: Deferred[T] = Deferred(self._leave)
        self._waiting[waiter] = None
        return waiter

    def fire(self, result: T) -> None:
        """Fire all of them with a result."""
        for waiter in self.take():
            if not waiter.called:  # cancelled in the callback of another one
                waiter.callback(result)

    def fail(self, error: BaseException | Callable[[], BaseException]) -> None:
        """Fail all of them.

        Args:
            error: one error for all, or what makes one for each.
        """
        for waiter in self.take():
            if not waiter.called:
                waiter.errback(error if isinstance(error, BaseException) else error())

    def take(self) -> list[Deferred[T]]:
        """Remove all of them; the caller fires each that is not ``called`` by then."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting)

    def put_back(self, waiters: list[Deferred[T]]) -> None:
        """Let those that were taken wait again, before all others."""
        waiting = {waiter: None for waiter in waiters if not waiter.called}
        self._waiting = {**waiting, **self._waiting}

    def _leave(self, waiter: Deferred[T]) -> None:
        self._waiting.pop(waiter, None)


class Alarm:
    """One call that is due later, or none.

    Args:
        clock: tells the time.
        ring: called when the time has come; the alarm is off by then.
    """

    __slots__ = ("_call", "_clock", "_ring")

    def __init__(self, clock: IReactorTime, ring: Callable[[], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._call: IDelayedCall | None = None

    @property
    def is_set(self) -> bool:
        """Whether it is going to ring."""
        return self._call is not None

    def set(self, seconds: float) -> None:
        """Ring in so many seconds, instead of what was due."""
        self.cancel()
        self._call = self._clock.callLater(seconds, self._rang)

    def set_no_later(self, seconds: float) -> None:
        """Ring in so many seconds, unless it is due before that."""
        if self._call is None or self._call.getTime() > self._clock.seconds() + seconds:
            self.set(seconds)

    def cancel(self) -> None:
        """Do not ring."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _rang(self) -> None:
        self._call = None
        self._ring()


class Backoff:
    """Pauses that double from failure to failure, up to the longest.

    Args:
        first: seconds; the pause after the first failure.
        longest: seconds.
        random: returns a number from 0 to 1, and makes each pause anything from half of it to
            all of it, so that many processes do not retry together; None: no jitter.
    """

    __slots__ = ("_first", "_longest", "_random", "failures")

    def __init__(
        self, first: float, longest: float, random: Callable[[], float] | None = None
    ) -> None:
        self._first = first
        self._longest = longest
        self._random = random
        self.failures = 0  #: in a row

    def reset(self) -> None:
        """It worked."""
        self.failures = 0

    def count_failure(self) -> None:
        """Make the next pause longer, without one now."""
        self.failures += 1

    def next(self) -> float:
        """Count a failure, and return the seconds to wait after it."""
        # The exponent is bounded: a float has no power of two for weeks of failures.
        pause = min(self._first * 2.0 ** min(self.failures, 64), self._longest)
        self.count_failure()
        return pause if self._random is None else pause * (0.5 + self._random() / 2)


class Reconciler:
    """Compares what is with what is wanted, again whenever something may have changed.

    One pass runs at a time.  A trigger during a pass leads to another pass, so nothing that
    happens is missed; many triggers lead to one.  What the pass does is its owner's business.

    Args:
        reconcile_once: one pass.  It handles the errors that it expects.
        clock: tells the time.
        crashed: called with the failure of a pass that raised; the reconciler is idle then.
        ready: says whether a pass makes sense now; a trigger is kept until it does, and the
            owner triggers again then.
    """

    def __init__(
        self,
        reconcile_once: Callable[[], Awaitable[None]],
        clock: IReactorTime,
        crashed: Callable[[Failure], object],
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._reconcile_once = reconcile_once
        self._crashed = crashed
        self._ready = ready
        self._running = False
        self._triggered = False
        self._passes = 0
        self._alarm = Alarm(clock, self.trigger)
        self._idle: Waiters[None] = Waiters()

    @property
    def passes(self) -> int:
        """How many passes were made in a row, the one that runs included."""
        return self._passes

    @property
    def triggered(self) -> bool:
        """Whether something has happened that no pass has looked at yet."""
        return self._triggered

    @property
    def waits(self) -> bool:
        """Whether a pass is due later."""
        return self._alarm.is_set

    def trigger(self) -> None:
        """Make a pass now, or after the one that runs."""
        self._triggered = True
        if not self._running and self._ready():
            self._running = True
            Deferred.fromCoroutine(self._reconcile()).addErrback(self._failed)

    def trigger_in(self, seconds: float) -> None:
        """Make a pass in so many seconds, or before."""
        self._alarm.set_no_later(seconds)

    def when_idle(self) -> Deferred[None]:
        """Fires when no pass is running; at once if none is."""
        return self._idle.add() if self._running else succeed(None)

    def cancel_timer(self) -> None:
        """Forget a pass that is due later."""
        self._alarm.cancel()

    async def _reconcile(self) -> None:
        self._passes = 0
        while self._triggered and self._ready():
            self._triggered = False
            self._passes += 1
            await self._reconcile_once()
        self._running = False
        self._idle.fire(None)

    def _failed(self, failure: Failure) -> None:
        self._running = False
        self._idle.fire(None)
        self._crashed(failure)


def time_limit(
    deferred: Deferred[T],
    seconds: float | None,
    clock: Any,
    error: Callable[[float], BaseException],
) -> Deferred[T]:
    """Let a Deferred take so many seconds; then cancel it, and let it fail with an error.

    Args:
        deferred: is changed, and returned.
        seconds: None is without a limit; what is not positive is at once.
        clock: tells the time.
        error: makes the error of the seconds.
    """
    if seconds is not None:

        def too_late(_: object, limit: float) -> None:
            raise error(limit)

        deferred.addTimeout(max(seconds, 0), clock, onTimeoutCancel=too_late)
    return deferred
