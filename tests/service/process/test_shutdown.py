"""Tests for `zkservice.service.process.shutdown`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
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

    def test_a_step_that_is_cut_short_is_logged_with_its_reason(self) -> None:
        """A time limit, a second signal and an error."""
        with capturedLogs() as logs:
            step = self.run_to(self.shutdown.step("waiting", Deferred(), 2.0))
            self.clock.advance(2.0)
            self.successResultOf(step)
            step = self.run_to(self.shutdown.step("asking", fail(OSError("no")), 2.0))
            self.successResultOf(step)
            step = self.run_to(self.shutdown.step("closing", Deferred(), 2.0))
            self.shutdown.cut_short()
            self.successResultOf(step)
        self.assertEqual(
            [formatEvent(log) for log in logs],
            [
                "waiting was cut short: it took longer than 2 s",
                "asking was cut short: OSError: no",
                "second signal: stopping at once",
                "closing was cut short: a second signal",
            ],
        )

    def test_cutting_short_ends_everything(self) -> None:
        """A second signal ends the pause, and bounds what follows."""
        paused = self.run_to(self.shutdown.pause("waiting", 2.0))
        self.shutdown.cut_short()
        self.successResultOf(paused)
        step = self.run_to(self.shutdown.step("working", Deferred(), 5.0))
        self.clock.advance(0.1)
        self.successResultOf(step)
