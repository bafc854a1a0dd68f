"""Tests of `zkservice.discovery.mass_loss`, on a clock."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.discovery.test_health import providers
from zkservice.discovery import MassLoss
from zkservice.discovery.mass_loss import MassLossGuard
from zkservice.discovery.provider import Registered


class MassLossTests(SynchronousTestCase):
    """Lost providers, and which of them are kept."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[float] = []
        self.guard = MassLossGuard(
            MassLoss(), "/svc", self.clock, lambda: self.expired.append(self.clock.seconds())
        )

    def now(self, hosts: str, stopping: str = "") -> str:
        """The doubtful providers when these are registered."""
        self.guard.update(Registered(providers(hosts), providers(stopping)))
        return "".join(one.host for one in self.guard.doubtful.values())

    def test_most_that_vanish_at_once_are_kept(self) -> None:
        """Three of four are kept for a minute, then dropped; both is logged."""
        self.now("abcd")
        with capturedLogs() as events:
            self.assertEqual(self.now("d"), "abc")
            self.clock.advance(59)
            self.assertEqual(self.now("d"), "abc")
            self.clock.advance(1)
        self.assertEqual(self.expired, [60])
        self.assertEqual(self.now("d"), "")
        self.assertEqual(len(events), 2)

    def test_half_may_go(self) -> None:
        """A loss of only half is not kept."""
        self.now("abcd")
        self.assertEqual(self.now("cd"), "")

    def test_few_may_go(self) -> None:
        """A service of two providers is too small."""
        self.now("ab")
        self.assertEqual(self.now(""), "")

    def test_small_service_that_is_replaced_stays_small(self) -> None:
        """A few losses of many providers are not kept."""
        for hosts in ("a", "", "b", "", "c", "", "d"):
            self.assertEqual(self.now(hosts), "")

    def test_losses_in_quick_succession_count_together(self) -> None:
        """Losses within a few seconds are counted together."""
        self.now("abcd")
        self.assertEqual(self.now("bcd"), "")
        self.clock.advance(1)
        self.assertEqual(self.now("cd"), "")
        self.clock.advance(1)
        self.assertEqual(self.now("d"), "abc")
        self.assertEqual(self.now(""), "abcd")

    def test_losses_far_apart_do_not(self) -> None:
        """Losses that are further apart are not counted together."""
        self.now("abcd")
        for left in ("bcd", "cd", "d", ""):
            self.clock.advance(6)
            self.assertEqual(self.now(left), "")

    def test_replacement_is_believed(self) -> None:
        """If as many providers came as were lost, none is kept."""
        self.now("abcd")
        self.now("abcdefgh")
        self.assertEqual(self.now("efgh"), "")

    def test_stopping_ones_have_not_vanished(self) -> None:
        """A provider that announced its stop does not count as lost."""
        self.now("abcd")
        self.assertEqual(self.now("d", "abc"), "")
        self.assertEqual(self.now("d"), "")

    def test_those_that_come_back_are_not_doubtful(self) -> None:
        """When enough are back, the others are dropped, and no timer is left."""
        self.now("abcd")
        self.now("")
        self.assertEqual(self.now("a"), "bcd")
        self.assertEqual(self.now("ab"), "")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_invalid_rules_are_refused(self) -> None:
        """Invalid rules raise `ValueError`."""
        for wrong in ({"at_least": 0}, {"within": -1}, {"keep": -1}):
            with self.assertRaises(ValueError):
                MassLoss(**wrong)
