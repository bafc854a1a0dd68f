"""Callbacks of others: called in order, and never able to break us."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

T = TypeVar("T")


def call_out(log: Logger, callback: Callable[[T], object], value: T) -> None:
    """Call somebody else's function; what goes wrong in it is logged.

    That goes for a coroutine or Deferred that it answers, too.
    """
    try:
        result = callback(value)
    except Exception:  # noqa: BLE001, it is logged, and we have our own work to do
        log.failure("{callback} failed when told {value}", callback=callback, value=value)
        return
    if isinstance(result, Coroutine):
        result = Deferred.fromCoroutine(result)
    if isinstance(result, Deferred):
        result.addErrback(
            lambda failure: log.failure(
                "{callback} failed when told {value}",
                failure=failure,
                callback=callback,
                value=value,
            )
        )


class Subscription:
    """A place among the listeners."""

    def __init__(self, give_up: Callable[[Subscription], None]) -> None:
        self._give_up = give_up

    def cancel(self) -> None:
        """Hear nothing more, not even what has happened already; twice is fine."""
        self._give_up(self)


class Subscribers(Generic[T]):
    """Tell everybody everything, in the order in which it happened.

    If a listener makes something happen, the others hear of it when they have heard what
    came before.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._callbacks: dict[Subscription, Callable[[T], Any]] = {}
        self._news: deque[T] = deque()
        self._telling = False

    def add(self, callback: Callable[[T], Any]) -> Subscription:
        """Tell this one, too, from the next piece of news on."""
        subscription = Subscription(lambda one: self._callbacks.pop(one, None) and None)
        self._callbacks[subscription] = callback
        return subscription

    def tell(self, news: T) -> None:
        """Something happened."""
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
