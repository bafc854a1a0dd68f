"""Tests for `zkservice.recipes.queue_order`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.recipes.queue_order import LockKind, in_order, predecessors


class OrderTests(SynchronousTestCase):
    """Which contender waits for which, by the znodes' names alone."""

    NAMES = (
        "b__rlock__0000000002",
        "a__lock__0000000003",
        "c__rlock__0000000004",
        "d__rlock__0000000005",
        "x__lock__12",
        "something-else",
    )

    def test_contenders_are_ordered_by_number(self) -> None:
        """Sorted by sequence number, whatever the marks; other names are left out."""
        self.assertEqual(
            in_order(self.NAMES, ("__lock__", "__rlock__")),
            [self.NAMES[0], self.NAMES[1], self.NAMES[2], self.NAMES[3]],
        )

    def test_readers_wait_for_writers(self) -> None:
        """A reader waits for the nearest writer before it, a writer for the nearest of all."""
        read, write = (
            LockKind("__rlock__", ("__lock__",)),
            LockKind("__lock__", ("__lock__", "__rlock__")),
        )
        expected = {
            (self.NAMES[0], read): None,
            (self.NAMES[1], write): self.NAMES[0],
            (self.NAMES[2], read): self.NAMES[1],
            (self.NAMES[3], read): self.NAMES[1],
        }
        for (child, turn), before in expected.items():
            self.assertEqual(predecessors(self.NAMES, turn)[child], before, child)

    def test_numbers_below_zero(self) -> None:
        """A number that has wrapped around is a number."""
        names = ["a__lock__-2147483648", "b__lock__-2147483647"]
        turn = LockKind("__lock__", ("__lock__",))
        self.assertEqual(predecessors(names, turn), {names[0]: None, names[1]: names[0]})

    def test_numbers_of_all_widths_are_read(self) -> None:
        """Numbers are as Java's %010d writes them, also behind a name that ends with a dash."""
        numbers = [-(2**31), -(10**9), -(10**9) + 1, -5, -1, 0, 5, 2**31 - 1]
        for name in ("__lock__", "lock-"):
            names = [f"m{name}{number:010d}" for number in numbers]
            self.assertEqual(in_order(reversed(names), (name,)), names)

    @given(st.permutations(range(12)), st.lists(st.booleans(), min_size=12, max_size=12))
    def test_each_contender_waits_for_the_nearest(
        self, order: list[int], writers: list[bool]
    ) -> None:
        """The result equals that of a search through all nodes for each contender."""
        nodes = {
            f"{n:x}{'__lock__' if writers[n] else '__rlock__'}{number:010d}": (number, writers[n])
            for n, number in enumerate(order)
        }
        for turn, only_writers in (
            (LockKind("__rlock__", ("__lock__",)), True),
            (LockKind("__lock__", ("__lock__", "__rlock__")), False),
        ):
            found = predecessors(nodes, turn)
            for child, (number, _) in nodes.items():
                lower = [
                    (other, name)
                    for name, (other, writes) in nodes.items()
                    if other < number and (writes or not only_writers)
                ]
                self.assertEqual(found[child], max(lower)[1] if lower else None)
