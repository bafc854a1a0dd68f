"""Call the application's callbacks in order, and log their errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

T = TypeVar("T")


def call_and_log_errors(log: Logger, callback: Callable[[T], object], value: T) -> None:
    """Call a function of the application, and log the exception that it raises.

    If it returns a coroutine or Deferred, the failure of that is logged, too.
    """
    try:
        result = callback(value)
    except Exception:  # noqa: BLE001, it is logged; the other callbacks must be called
        log.failure("{callback} failed when called with {value}", callback=callback, value=value)
        return
    if isinstance(result, Coroutine):
        result = Deferred.fromCoroutine(result)
    if isinstance(result, Deferred):
        result.addErrback(
            lambda failure: log.failure(
                "{callback} failed when called with {value}",
                failure=failure,
                callback=callback,
                value=value,
            )
        )


class Subscription:
    """The handle of one callback."""

    def __init__(self, remove: Callable[[Subscription], None]) -> None:
        self._remove = remove

    def cancel(self) -> None:
        """Make no further call, not even for values that wait to be delivered.

        It may be called several times.
        """
        self._remove(self)


class Subscribers(Generic[T]):
    """Calls all callbacks with each value, in the order of the calls of `notify`.

    A callback may cause another call of `notify`.  That value is delivered after all callbacks
    have got the current one, so each callback sees the values in the same order.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._callbacks: dict[Subscription, Callable[[T], Any]] = {}
        self._undelivered: deque[T] = deque()
        self._delivering = False

    def add(self, callback: Callable[[T], Any]) -> Subscription:
        """Call this callback, too, from the next value on."""
        subscription = Subscription(self._remove)
        self._callbacks[subscription] = callback
        return subscription

    def _remove(self, subscription: Subscription) -> None:
        self._callbacks.pop(subscription, None)

    def notify(self, value: T) -> None:
        """Call all callbacks with a value; from within a callback, as soon as it is its turn."""
        self._undelivered.append(value)
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._undelivered:
                self._call_all(self._undelivered.popleft())
        finally:
            self._delivering = False

    def _call_all(self, value: T) -> None:
        for subscription, callback in list(self._callbacks.items()):
            if subscription in self._callbacks:  # not cancelled by a callback before it
                call_and_log_errors(self._log, callback, value)
