"""Helpers for Deferreds and timers: waiters, alarms, back-off, reconciling.

All packages that use Twisted may import this module.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

__all__ = ["Alarm", "Backoff", "Reconciler", "Waiters", "limit_in_seconds", "time_limit"]

T = TypeVar("T")


class Waiters(Generic[T]):
    """Deferreds that wait for one event; they fire in the order in which they were added.

    A waiter that is cancelled is removed.  The callbacks of waiters may cancel other waiters
    and add new ones; a waiter that is added while others are fired waits for the next event.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        # A dict: with thousands of waiters, removing one must take constant time.
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
        for waiter in self.remove_all():
            if not waiter.called:  # cancelled in the callback of another one
                waiter.callback(result)

    def fail(self, error: BaseException | Callable[[], BaseException]) -> None:
        """Fail all of them.

        Args:
            error: one error for all, or a function that makes one for each.
        """
        for waiter in self.remove_all():
            if not waiter.called:
                waiter.errback(error if isinstance(error, BaseException) else error())

    def remove_all(self) -> list[Deferred[T]]:
        """Remove and return all of them; the caller must fire those that are not ``called``."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting)

    def add_again(self, waiters: list[Deferred[T]]) -> None:
        """Undo `remove_all`: add these waiters, before those that were added meanwhile."""
        waiting = {waiter: None for waiter in waiters if not waiter.called}
        self._waiting = {**waiting, **self._waiting}

    def _leave(self, waiter: Deferred[T]) -> None:
        self._waiting.pop(waiter, None)


class Alarm:
    """A timer for at most one call.

    Args:
        clock: schedules the call.
        ring: called when the time is up; the alarm is not set any more then.
    """

    __slots__ = ("_call", "_clock", "_ring")

    def __init__(self, clock: IReactorTime, ring: Callable[[], object]) -> None:
        self._clock = clock
        self._ring = ring
        self._call: IDelayedCall | None = None

    @property
    def is_set(self) -> bool:
        """Whether a call is scheduled."""
        return self._call is not None

    def set(self, seconds: float) -> None:
        """Schedule the call in so many seconds, instead of at the time that was set before."""
        self.cancel()
        self._call = self._clock.callLater(seconds, self._time_is_up)

    def set_no_later(self, seconds: float) -> None:
        """Schedule the call in so many seconds, unless it is due earlier already."""
        if self._call is None or self._call.getTime() > self._clock.seconds() + seconds:
            self.set(seconds)

    def cancel(self) -> None:
        """Cancel the call, if one is scheduled."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _time_is_up(self) -> None:
        self._call = None
        self._ring()


class Backoff:
    """Pauses that double from failure to failure, up to the longest.

    Args:
        first: seconds; the pause after the first failure.
        longest: seconds; the pause after many failures.
        random: returns a number from 0 to 1 for the jitter: a pause is shortened by up to a
            half, so that many processes do not retry together.  None: no jitter.
    """

    __slots__ = ("_first", "_longest", "_random", "failures")

    def __init__(
        self, first: float, longest: float, random: Callable[[], float] | None = None
    ) -> None:
        self._first = first
        self._longest = longest
        self._random = random
        self.failures = 0  #: since the last success

    def reset(self) -> None:
        """Begin again with the first pause, after a success."""
        self.failures = 0

    def count_failure(self) -> None:
        """Make the next pause longer without pausing now."""
        self.failures += 1

    def next(self) -> float:
        """Count a failure, and return the seconds to wait after it."""
        # The exponent is bounded, because 2.0 ** 1024 overflows a float.
        pause = min(self._first * 2.0 ** min(self.failures, 64), self._longest)
        self.count_failure()
        return pause if self._random is None else pause * (0.5 + self._random() / 2)


class Reconciler:
    """Runs a pass that compares the actual with the wanted state, whenever it is triggered.

    One pass runs at a time.  A trigger during a pass leads to one more pass, so that no change
    is missed; several triggers lead to one.

    Args:
        reconcile_once: one pass.  It handles the errors that it expects.
        clock: schedules delayed passes.
        crashed: called with the failure of a pass that raised.  No pass runs then.
        ready: returns whether a pass can run now.  If not, the trigger is remembered; the
            owner must call `trigger` again when it can.
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
        """How many passes ran in a row without a pause, including the one that is running."""
        return self._passes

    @property
    def triggered(self) -> bool:
        """Whether there was a trigger since the last pass began."""
        return self._triggered

    @property
    def pass_scheduled(self) -> bool:
        """Whether a pass is scheduled for later."""
        return self._alarm.is_set

    def trigger(self) -> None:
        """Run a pass now, or after the one that is running."""
        self._triggered = True
        if not self._running and self._ready():
            self._running = True
            Deferred.fromCoroutine(self._reconcile()).addErrback(self._failed)

    def trigger_in(self, seconds: float) -> None:
        """Run a pass in so many seconds at the latest."""
        self._alarm.set_no_later(seconds)

    def when_idle(self) -> Deferred[None]:
        """Fires when no pass is running; at once if none is."""
        return self._idle.add() if self._running else succeed(None)

    def cancel_timer(self) -> None:
        """Cancel the pass that is scheduled for later."""
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
    """Cancel a Deferred that has not fired after so many seconds; it fails with an error then.

    Args:
        deferred: is changed and returned.
        seconds: None means no limit; zero and negative numbers mean at once.
        clock: schedules the time-out.
        error: called with the seconds; returns the error.

    Raises:
        TypeError: ``seconds`` is not a number.  The Deferred is cancelled then.
    """
    if seconds is not None:

        def too_late(_: object, limit: float) -> None:
            raise error(limit)

        try:
            limit = limit_in_seconds(seconds)
        except TypeError:
            deferred.addErrback(lambda _: None)
            deferred.cancel()
            raise
        deferred.addTimeout(limit, clock, onTimeoutCancel=too_late)
    return deferred


def limit_in_seconds(seconds: float) -> float:
    """The seconds of a time limit, at least 0.

    Raises:
        TypeError: it is not a number.
    """
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"a time limit must be a number of seconds, not {seconds!r}")
    return max(seconds, 0)
