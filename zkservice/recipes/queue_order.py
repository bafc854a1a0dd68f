"""Whose turn it is: who waits for whom, by the names of the nodes.

A contender's node is ``<mark><name><number>``: the mark is its own, the name says what it
wants (``__lock__``, ``__rlock__``), the server appends the number.  Everybody waits for
the nearest lower number that excludes him, and for no one else, so that a release wakes
one contender and not all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

#: Characters that the server appends (``%010d``, PrepRequestProcessor.java).  A parent with more
#: than 2**31 changes counts from below zero, and the lowest of those numbers take one more.
_WIDTH: Final = 10


class LockKind(NamedTuple):
    """What a contender's node is called, and for whom it waits."""

    name: str
    waits_for: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All whom it is a contender with, itself included."""
        return tuple(dict.fromkeys((self.name, *self.waits_for)))

    @property
    def exclusive(self) -> bool:
        """Whether it waits for all whom it is a contender with."""
        return self.name in self.waits_for


def in_order(children: Iterable[str], names: Sequence[str]) -> list[str]:
    """The children that are contenders with one of these names, the first one first."""
    known = tuple(names)
    found = []
    for child in children:  # thousands of them, each time somebody gets in line
        tail = child[-_WIDTH:]
        if tail.isdecimal() and child.endswith(known, 0, -_WIDTH):
            found.append((int(tail), child))
        elif (number := _below_zero(child, known)) is not None:
            found.append((number, child))
    found.sort()
    return [child for _, child in found]


def predecessors(children: Iterable[str], turn: LockKind) -> dict[str, str | None]:
    """Who has to go before it is each contender's turn; None for those whose turn it is.

    Args:
        children: the names of all nodes.
        turn: of the contender that is looked up; the others may have another one.
    """
    line = in_order(children, turn.names)
    if turn.exclusive:
        return dict(zip(line, [None, *line], strict=False))
    waited_for = frozenset(in_order(line, turn.waits_for))
    found: dict[str, str | None] = {}
    before = None
    for child in line:
        found[child] = before
        if child in waited_for:
            before = child
    return found


def _below_zero(child: str, names: tuple[str, ...]) -> int | None:
    """What the server has appended to one of these names; None if that has no minus."""
    for width in (_WIDTH, _WIDTH + 1):
        tail = child[-width:]
        if tail[:1] == "-" and tail[1:].isdecimal() and child.endswith(names, 0, -width):
            return int(tail)
    return None
