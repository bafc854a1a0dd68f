"""Tests of ``zkservice.registry.creation_throttle``."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.registry.creation_throttle import CREATE_GAP, CREATE_GAP_MAX, CreationThrottle


class CreationThrottleTests(SynchronousTestCase):
    """How long a creation has to wait."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.throttle = CreationThrottle(self.clock)

    def created(self, *, deleted_by_others: bool = True) -> float:
        """Wait as long as the throttle says, create, and return the seconds waited."""
        waited = 0.0
        while delay := self.throttle.delay(deleted_by_others=deleted_by_others):
            waited += delay
            self.clock.advance(delay)
        self.throttle.created()
        return waited

    def test_the_first_creation_is_made_at_once(self) -> None:
        """Without a deletion there is no delay."""
        self.assertEqual(self.created(deleted_by_others=False), 0)

    def test_the_gap_doubles_with_each_deletion(self) -> None:
        """The delay doubles up to the longest gap."""
        self.created(deleted_by_others=False)
        gaps = [self.created() for _ in range(12)]
        for gap, expected in zip(gaps, (CREATE_GAP, 2 * CREATE_GAP, 4 * CREATE_GAP), strict=False):
            self.assertApproximates(gap, expected, 0.002)
        self.assertApproximates(gaps[-1], CREATE_GAP_MAX, 0.002)

    def test_what_was_not_deleted_by_others_is_created_at_once(self) -> None:
        """Expiries and own deletions do not count for the throttle."""
        for _ in range(5):
            self.created()
        self.assertEqual(self.created(deleted_by_others=False), 0)
        self.assertApproximates(self.created(), CREATE_GAP, 0.002)

    def test_a_znode_that_lasted_ends_the_fight(self) -> None:
        """After a znode has existed for the longest gap, the delay begins anew."""
        for _ in range(5):
            self.created()
        self.clock.advance(CREATE_GAP_MAX + 1)
        self.assertEqual(self.created(), 0)

    def test_a_clock_that_was_set_back_delays_nothing(self) -> None:
        """If the clock was set back, there is no delay."""
        self.created()
        self.created()
        self.clock.rightNow -= 3600
        self.assertEqual(self.created(), 0)

    def test_reset_forgets_the_fight(self) -> None:
        """The next creation is made at once."""
        for _ in range(4):
            self.created()
        self.throttle.reset()
        self.assertEqual(self.created(), 0)
