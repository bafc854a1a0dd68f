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

    def test_bounded(self) -> None:
        """As many as the limit are under way; each answer starts another."""
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

    def test_nothing(self) -> None:
        """Nothing to do is done at once."""
        self.successResultOf(self.flow(0, 2))

    def test_answers_at_once(self) -> None:
        """100,000 requests that are answered before they return need no recursion."""
        left = 100_000

        def start() -> Deferred[Any] | None:
            nonlocal left
            left -= 1
            return succeed(None) if left >= 0 else None

        self.successResultOf(BoundedRequests(start, 3).run())

    def test_failure(self) -> None:
        """After a failure no more are started; it is told when the others are answered."""
        done = self.flow(5, 3)
        self.started[1].errback(ZeroDivisionError())
        self.started[2].errback(KeyError())
        self.assertNoResult(done)
        self.started[0].callback(None)
        self.failureResultOf(done, ZeroDivisionError)
        self.assertEqual(len(self.started), 3)

    def test_failure_to_start(self) -> None:
        """A request that cannot even be started ends the flow in the same way."""
        done = BoundedRequests(lambda: 1 / 0, 3).run()  # type: ignore[arg-type, return-value]
        self.failureResultOf(done, ZeroDivisionError)

    def test_cancel(self) -> None:
        """Cancelling does not wait, and starts no more."""
        done = self.flow(5, 3)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        for request in self.started:
            request.callback(None)
        self.assertEqual(len(self.started), 3)
