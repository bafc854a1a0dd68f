"""Callbacks of the application: called in order, their errors logged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

T = TypeVar("T")


def call_out(log: Logger, callback: Callable[[T], object], value: T) -> None:
    """Call a function of the application; what goes wrong in it is logged.

    That includes the failure of a coroutine or Deferred that it returns.
    """
    try:
        result = callback(value)
    except Exception:  # noqa: BLE001, it is logged; the caller must go on
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

    def __init__(self, give_up: Callable[[Subscription], None]) -> None:
        self._give_up = give_up

    def cancel(self) -> None:
        """Make no further call, not even for what has happened already; repeating it is fine."""
        self._give_up(self)


class Subscribers(Generic[T]):
    """Calls all callbacks with every piece of news, in the order in which it happened.

    If a callback makes something happen, that is delivered after what came before.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._callbacks: dict[Subscription, Callable[[T], Any]] = {}
        self._news: deque[T] = deque()
        self._telling = False

    def add(self, callback: Callable[[T], Any]) -> Subscription:
        """Call this one, too, from the next piece of news on."""
        subscription = Subscription(lambda one: self._callbacks.pop(one, None) and None)
        self._callbacks[subscription] = callback
        return subscription

    def tell(self, news: T) -> None:
        """Deliver a piece of news."""
        self._news.append(news)
        if self._telling:
            return
        self._telling = True
        try:
            while self._news:
                self._tell_all(self._news.popleft())
        finally:
            self._telling = False

    def _tell_all(self, news: T) -> None:
        for subscription, callback in list(self._callbacks.items()):
            if subscription in self._callbacks:
                call_out(self._log, callback, news)
