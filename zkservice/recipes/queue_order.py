"""The order of a lock's contenders, from the names of their nodes.

A contender's node is ``<mark><name><number>``: the mark is unique, the name is the kind of lock
(``__lock__``, ``__rlock__``), and the server appends the number.  Each contender waits only for
the nearest lower number that excludes it, so a release wakes one contender: no thundering herd.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

#: Characters that the server appends (``%010d``, PrepRequestProcessor.java).  After 2**31 changes
#: of the parent the numbers are negative, and the lowest of them have one more character.
_WIDTH: Final = 10


class LockKind(NamedTuple):
    """The name in a contender's node, and the names of nodes that it waits for."""

    name: str
    waits_for: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all nodes in the queue, its own included."""
        return tuple(dict.fromkeys((self.name, *self.waits_for)))

    @property
    def exclusive(self) -> bool:
        """Whether it also waits for its own kind, and so for every node before it."""
        return self.name in self.waits_for


def in_order(children: Iterable[str], names: Sequence[str]) -> list[str]:
    """The children with one of these names, in the order of their numbers."""
    known = tuple(names)
    found = []
    for child in children:  # thousands of them, each time a contender joins
        tail = child[-_WIDTH:]
        if tail.isdecimal() and child.endswith(known, 0, -_WIDTH):
            found.append((int(tail), child))
        elif (number := _below_zero(child, known)) is not None:
            found.append((number, child))
    found.sort()
    return [child for _, child in found]


def predecessors(children: Iterable[str], kind: LockKind) -> dict[str, str | None]:
    """The contender that each contender has to wait for; None if it is its turn.

    Args:
        children: the names of all nodes.
        kind: the kind of the contender that is looked up; others may be of another kind.
    """
    queue = in_order(children, kind.names)
    if kind.exclusive:
        return dict(zip(queue, [None, *queue], strict=False))
    waited_for = frozenset(in_order(queue, kind.waits_for))
    found: dict[str, str | None] = {}
    before = None
    for child in queue:
        found[child] = before
        if child in waited_for:
            before = child
    return found


def _below_zero(child: str, names: tuple[str, ...]) -> int | None:
    """The number after one of these names, if it is negative; else None."""
    for width in (_WIDTH, _WIDTH + 1):
        tail = child[-width:]
        if tail[:1] == "-" and tail[1:].isdecimal() and child.endswith(names, 0, -width):
            return int(tail)
    return None
