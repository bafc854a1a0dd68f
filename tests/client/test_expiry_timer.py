"""Tests for `zkservice.client.expiry_timer`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.client.expiry_timer import ExpiryTimer
from zkservice.client.session import Session


class ExpiryTimerTests(SynchronousTestCase):
    """A session of 9 s, which no server can have after a silence of 12 s."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.expired: list[Session] = []
        self.timer = ExpiryTimer(self.clock, self.expired.append)
        self.session = Session(9.0, timeout=9.0, last_received=100.0)

    def test_a_session_expires_four_thirds_of_its_timeout_after_the_last_bytes(self) -> None:
        """The 12 s begin with the last bytes, not with the loss of the connection."""
        self.clock.advance(3)
        self.timer.start(self.session)
        self.clock.advance(8.9)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.2)
        self.assertEqual(self.expired, [self.session])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_session_that_is_overdue_expires_at_the_next_turn(self) -> None:
        """For example after the machine was suspended; never inside `start`."""
        self.clock.advance(1000)
        self.timer.start(self.session)
        self.assertEqual(self.expired, [])
        self.clock.advance(0)
        self.assertEqual(self.expired, [self.session])

    def test_a_session_that_a_server_has_accepted_meanwhile_gets_its_whole_time(self) -> None:
        """While its watches are set again the session is not connected yet, but it lives."""
        self.timer.start(self.session)
        self.clock.advance(10)
        self.session.last_received = 110.0
        self.clock.advance(11.9)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.2)
        self.assertEqual(self.expired, [self.session])

    def test_a_cancelled_timer_never_fires(self) -> None:
        """It leaves nothing in the reactor, and can be started again."""
        self.timer.start(self.session)
        self.timer.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(100)
        self.assertEqual(self.expired, [])
        self.timer.start(self.session)
        self.clock.advance(0)
        self.assertEqual(self.expired, [self.session])

    def test_another_session_replaces_the_one_that_was_watched(self) -> None:
        """Only the session of the last `start` can expire."""
        self.timer.start(self.session)
        following = Session(9.0, timeout=9.0, last_received=105.0)
        self.timer.start(following)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(100)
        self.assertEqual(self.expired, [following])
