"""Tests for `zkservice.recipes.order`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zkservice.recipes.order import Turn, in_order, predecessor


class OrderTests(SynchronousTestCase):
    """Who waits for whom, by names alone."""

    NAMES = (
        "b__rlock__0000000002",
        "a__lock__0000000003",
        "c__rlock__0000000004",
        "d__rlock__0000000005",
        "x__lock__12",
        "something-else",
    )

    def test_in_order(self) -> None:
        """By number, whatever the marks, and without those who are no contenders."""
        self.assertEqual(
            in_order(self.NAMES, ("__lock__", "__rlock__")),
            [self.NAMES[0], self.NAMES[1], self.NAMES[2], self.NAMES[3]],
        )

    def test_readers_wait_for_writers(self) -> None:
        """A reader waits for the nearest writer before it, a writer for the nearest of all."""
        read, write = Turn("__rlock__", ("__lock__",)), Turn("__lock__", ("__lock__", "__rlock__"))
        expected = {
            (self.NAMES[0], read): None,
            (self.NAMES[1], write): self.NAMES[0],
            (self.NAMES[2], read): self.NAMES[1],
            (self.NAMES[3], read): self.NAMES[1],
        }
        for (child, turn), before in expected.items():
            self.assertEqual(predecessor(child, self.NAMES, turn), before, child)

    def test_numbers_below_zero(self) -> None:
        """A number that has wrapped around is a number."""
        names = ["a__lock__-2147483648", "b__lock__-2147483647"]
        turn = Turn("__lock__", ("__lock__",))
        self.assertEqual(predecessor(names[1], names, turn), names[0])
        self.assertIsNone(predecessor(names[0], names, turn))
