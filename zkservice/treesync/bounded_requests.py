"""Pipeline many requests, with a bounded number under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

#: Requests under way at a time.  Enough to keep a server busy over a slow network: 500 in a
#: round trip of 20 ms are 25,000 a second.
LIMIT: Final = 500

#: Called with the amount that is done, and the total that is known so far.
Progress = Callable[[int, int], object]


def no_progress(done: int, total: int) -> None:
    """Do nothing: the progress is not reported."""


class BoundedRequests:
    """Starts requests in order, a bounded number at a time.

    After a failure no more are started, and ``run`` fails once those under way have their
    replies, so that the outcome of each is known.  Cancelling does not wait for them.

    Args:
        start_next: starts the next request; returns None if there is none now.  It is called
            again after each reply.
        limit: requests under way at a time.
    """

    def __init__(self, start_next: Callable[[], Deferred[Any] | None], limit: int = LIMIT) -> None:
        self._start_next = start_next
        self._limit = limit
        self._under_way = 0
        self._pumping = False
        self._failure: Failure | None = None
        self._done: Deferred[None] = Deferred(self._cancelled)

    def run(self) -> Deferred[None]:
        """Fires when there is nothing more to start and nothing under way."""
        self._pump()
        return self._done

    def _pump(self) -> None:
        if self._pumping:  # called by a request of the loop below whose reply came at once
            return
        self._pumping = True
        while self._failure is None and self._under_way < self._limit:
            try:
                request = self._start_next()
            except Exception:  # noqa: BLE001 - any error ends the run
                self._failure = Failure()
                break
            if request is None:
                break
            self._under_way += 1
            request.addCallbacks(self._replied, self._failed)
        self._pumping = False
        if self._under_way == 0 and not self._done.called:
            if self._failure is None:
                self._done.callback(None)
            else:
                self._done.errback(self._failure)

    def _replied(self, _: object) -> None:
        self._under_way -= 1
        self._pump()

    def _failed(self, failure: Failure) -> None:
        self._failure = self._failure or failure
        self._replied(None)

    def _cancelled(self, _: Deferred[None]) -> None:
        self._failure = Failure(CancelledError())  # so that no more requests are started
