"""Tests of ``zkservice.retries``; what it does with a server is tested with its users."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.deferreds import Backoff
from zkservice.errors import (
    ConnectionLossError,
    NoNodeError,
    SessionExpiredError,
    ThrottledOpError,
)
from zkservice.retries import Doubt, Retries

LOST = ConnectionLossError(maybe_applied=True)
UNSENT = ConnectionLossError(maybe_applied=False)
EXPIRED = SessionExpiredError()
THROTTLED = ThrottledOpError()


class RetriesTests(SynchronousTestCase):
    """Which errors are retried, and what an attempt gets."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.client = Mock()
        self.doubts: list[bool] = []

    def run_with(
        self, *outcomes: Any, attempts: int | None = None, across_sessions: bool = False
    ) -> Deferred[Any]:
        """Run attempts with these outcomes, errors or values."""
        rest = list(outcomes)

        async def attempt(doubt: Doubt) -> Any:
            self.doubts.append(bool(doubt))
            result = rest.pop(0)
            if isinstance(result, Exception):
                raise result
            return result

        retries = Retries(
            self.client, self.clock, attempts=attempts, make_backoff=lambda: Backoff(1.0, 4.0)
        )
        return Deferred.fromCoroutine(retries.run(attempt, across_sessions=across_sessions))

    def test_an_attempt_gets_the_doubt(self) -> None:
        """A request that was not sent leaves no doubt; one that was lost leaves it for good."""
        self.assertEqual(self.successResultOf(self.run_with(UNSENT, LOST, UNSENT, 1)), 1)
        self.assertEqual(self.doubts, [False, False, True, True])

    def test_pauses_grow_while_the_server_is_overloaded(self) -> None:
        """Each pause is twice the one before, up to the longest."""
        done = self.run_with(*[THROTTLED] * 4, 1)
        for pause in (1, 2, 4, 4):
            count = len(self.doubts)
            self.clock.advance(pause - 0.01)
            self.assertEqual(len(self.doubts), count)
            self.clock.advance(0.02)
        self.assertEqual(self.successResultOf(done), 1)

    def test_attempts_that_are_used_up_say_that_one_was_lost(self) -> None:
        """The last error does not hide that an earlier attempt may have been carried out."""
        for last in (UNSENT, ConnectionLossError()):
            done = self.run_with(LOST, last, attempts=2)
            self.assertIs(self.failureResultOf(done).value, LOST)
        self.failureResultOf(self.run_with(UNSENT, UNSENT, attempts=2), ConnectionLossError)

    def test_raising_the_doubt_ends_the_attempts(self) -> None:
        """An attempt that cannot find out ends the retries."""
        self.assertIs(self.failureResultOf(self.run_with(LOST, LOST, 1)).value, LOST)
        self.assertEqual(self.doubts, [False, True])

    def test_other_errors_end_the_attempts(self) -> None:
        """The server's error fails the call."""
        self.failureResultOf(self.run_with(NoNodeError(), 1), NoNodeError)

    def test_a_session_that_expires_is_outlasted_if_wanted(self) -> None:
        """The attempt waits for the next session, or fails."""
        self.failureResultOf(self.run_with(EXPIRED, 1), SessionExpiredError)
        begun: Deferred[None] = Deferred()
        self.client.exists.return_value = begun
        done = self.run_with(EXPIRED, 1, across_sessions=True)
        self.assertNoResult(done)
        begun.callback(None)
        self.assertEqual(self.successResultOf(done), 1)

    def test_a_session_that_is_lost_at_once_counts_as_one(self) -> None:
        """The next session counts, even if its connection was lost at once."""
        for error in (LOST, EXPIRED):
            begun: Deferred[None] = Deferred()
            self.client.exists.return_value = begun
            done = self.run_with(EXPIRED, 1, across_sessions=True)
            begun.errback(error)
            self.assertEqual(self.successResultOf(done), 1)

    def test_without_a_next_session_it_fails(self) -> None:
        """A client that refuses at once begins no other session."""
        self.client.exists.side_effect = lambda path: fail(SessionExpiredError())
        done = self.run_with(EXPIRED, 1, across_sessions=True)
        self.failureResultOf(done, SessionExpiredError)

    def test_a_session_counts_as_an_attempt(self) -> None:
        """An attempt in another session counts, so limited attempts end."""
        self.client.exists.side_effect = lambda path: succeed(None)
        done = self.run_with(EXPIRED, EXPIRED, attempts=2, across_sessions=True)
        self.failureResultOf(done, SessionExpiredError)

    def test_the_number_of_attempts_must_be_positive(self) -> None:
        """The number of attempts must be positive."""
        self.assertRaises(ValueError, self.run_with, 1, attempts=0)
