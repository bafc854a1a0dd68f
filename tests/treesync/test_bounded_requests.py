"""Tests of ``zkservice.treesync.bounded_requests``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from zkservice.treesync.bounded_requests import BoundedRequests


class FlowTests(SynchronousTestCase):
    """Requests in order, a bounded number at a time."""

    def flow(self, count: int, limit: int) -> Deferred[None]:
        """A flow of so many requests, which are answered by ``self.started``."""
        self.started: list[Deferred[Any]] = []

        def start() -> Deferred[Any] | None:
            if len(self.started) == count:
                return None
            self.started.append(Deferred())
            return self.started[-1]

        return BoundedRequests(start, limit).run()

    def test_the_limit_of_requests_is_kept(self) -> None:
        """As many as the limit are under way; each reply starts another."""
        done = self.flow(5, 2)
        self.assertEqual(len(self.started), 2)
        self.started[1].callback(None)
        self.assertEqual(len(self.started), 3)
        self.started[0].callback(None)
        self.started[2].callback(None)
        self.assertEqual(len(self.started), 5)
        self.started[4].callback(None)
        self.assertNoResult(done)
        self.started[3].callback(None)
        self.successResultOf(done)

    def test_no_requests_finish_at_once(self) -> None:
        """Without requests it fires at once."""
        self.successResultOf(self.flow(0, 2))

    def test_replies_at_once_need_no_recursion(self) -> None:
        """100,000 requests that have their replies at once are sent in a loop."""
        left = 100_000

        def start() -> Deferred[Any] | None:
            nonlocal left
            left -= 1
            return succeed(None) if left >= 0 else None

        self.successResultOf(BoundedRequests(start, 3).run())

    def test_a_failure_starts_no_more(self) -> None:
        """It fails when the other requests have their replies."""
        done = self.flow(5, 3)
        self.started[1].errback(ZeroDivisionError())
        self.started[2].errback(KeyError())
        self.assertNoResult(done)
        self.started[0].callback(None)
        self.failureResultOf(done, ZeroDivisionError)
        self.assertEqual(len(self.started), 3)

    def test_a_request_that_cannot_start_is_a_failure(self) -> None:
        """What the function raises is the outcome."""
        done = BoundedRequests(lambda: 1 / 0, 3).run()  # type: ignore[arg-type, return-value]
        self.failureResultOf(done, ZeroDivisionError)

    def test_cancelling_starts_no_more(self) -> None:
        """It fails at once, and sends nothing more."""
        done = self.flow(5, 3)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        for request in self.started:
            request.callback(None)
        self.assertEqual(len(self.started), 3)
