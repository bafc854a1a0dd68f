"""Whose turn it is: who waits for whom, by the names of the nodes.

A contender's node is ``<mark><name><number>``: the mark is its own, the name says what it
wants (``__lock__``, ``__rlock__``), the server appends the number.  Everybody waits for
the nearest lower number that excludes him, and for no one else, so that a release wakes
one contender and not all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

#: What the server appends; a parent with more than 2**31 changes counts from below zero.
_NUMBER = r"(-?\d{10})"


class Turn(NamedTuple):
    """What a contender's node is called, and for whom it waits."""

    name: str
    waits_for: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All whom it is a contender with, itself included."""
        return tuple(dict.fromkeys((self.name, *self.waits_for)))


def in_order(children: Iterable[str], names: Sequence[str]) -> list[str]:
    """The children that are contenders with one of these names, the first one first."""
    pattern = re.compile(f"(?:{'|'.join(map(re.escape, names))}){_NUMBER}$")
    found = [(int(match[1]), child) for child in children if (match := pattern.search(child))]
    return [child for _, child in sorted(found)]


def predecessor(child: str, children: Iterable[str], turn: Turn) -> str | None:
    """The child that has to go before it is this one's turn; None if it is its turn."""
    number = _number(child)
    before = [one for one in in_order(children, turn.waits_for) if _number(one) < number]
    return before[-1] if before else None


def _number(child: str) -> int:
    found = re.search(f"{_NUMBER}$", child)
    assert found is not None, child
    return int(found[1])
