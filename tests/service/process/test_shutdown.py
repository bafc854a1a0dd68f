"""Tests for `zkservice.service.process.shutdown`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zkservice.service.process.shutdown import Shutdown


class PauseTests(SynchronousTestCase):
    """Pauses, and what ends them early."""

    def setUp(self) -> None:
        """A shutdown that has begun."""
        self.clock = Clock()
        self.shutdown = Shutdown(self.clock)
        self.shutdown.begin()

    def run_to(self, step: Coroutine[Any, Any, None]) -> Deferred[None]:
        """A step of it."""
        return Deferred.fromCoroutine(step)

    def test_pause_lasts_as_long_as_it_should(self) -> None:
        """It ends by itself, and leaves nothing behind."""
        paused = self.run_to(self.shutdown.pause("waiting", 2.0))
        self.clock.advance(1.9)
        self.assertNoResult(paused)
        self.clock.advance(0.2)
        self.successResultOf(paused)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_skipped_pauses_leave_the_steps_their_time(self) -> None:
        """This pause ends now, later ones are none; a step may take as long as ever."""
        paused = self.run_to(self.shutdown.pause("waiting", 2.0))
        self.shutdown.skip_pauses()
        self.successResultOf(paused)
        self.successResultOf(self.run_to(self.shutdown.pause("waiting", 2.0)))
        work: Deferred[None] = Deferred()
        step = self.run_to(self.shutdown.step("working", work, 5.0))
        self.clock.advance(4.9)
        self.assertNoResult(step)
        work.callback(None)
        self.successResultOf(step)
        self.shutdown.skip_pauses()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hurry_ends_everything(self) -> None:
        """A second signal ends the pause, and bounds what follows."""
        paused = self.run_to(self.shutdown.pause("waiting", 2.0))
        self.shutdown.hurry()
        self.successResultOf(paused)
        step = self.run_to(self.shutdown.step("working", Deferred(), 5.0))
        self.clock.advance(0.1)
        self.successResultOf(step)
