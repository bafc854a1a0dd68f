"""What to do about the znodes that are found where a registration wants its own.

This is the whole judgement of a registration, without a connection: what was read goes
in, what to change comes out.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple


class ObservedNode(NamedTuple):
    """One wanted path, and what is there."""

    path: str
    owner: int | None  # session id; 0 is a persistent znode, None is no znode at all
    version: int = -1  # of the data


class ReconcilePlan(NamedTuple):
    """What to change, all at once, and what stands in the way."""

    create: tuple[str, ...] = ()
    replace: tuple[ObservedNode, ...] = ()
    write: tuple[ObservedNode, ...] = ()
    conflict: ObservedNode | None = None

    @property
    def changes(self) -> bool:
        """Whether there is anything to change."""
        return bool(self.create or self.replace or self.write)

    @property
    def creates(self) -> bool:
        """Whether a znode is to be created."""
        return bool(self.create or self.replace)


def decide(
    found: Sequence[ObservedNode],
    *,
    session: int,
    earlier: Set[int],
    replace: bool,
    partly: bool,
    write: bool,
) -> ReconcilePlan:
    """Judge the znodes at the wanted paths.

    Args:
        found: each wanted path with what is there.
        session: our session's id.
        earlier: ids of the sessions that this process had before.
        replace: this process has just begun to listen on the address, so whatever was
            registered there before it is of a process that is gone, and is replaced.
            Later on the owner may be a process that took the address over while we were
            away: that one is left alone.
        partly: of several addresses do what can be done.  If False, a conflict about one
            leaves all as they are.
        write: the data of znodes that are ours is out of date.
    """
    create: list[str] = []
    remake: list[ObservedNode] = []
    rewrite: list[ObservedNode] = []
    conflict: ObservedNode | None = None
    for one in found:
        if one.owner is None:
            create.append(one.path)
        elif one.owner == session:
            if write:
                rewrite.append(one)
        elif one.owner in earlier or (replace and one.owner != 0):
            remake.append(one)
        else:
            conflict = conflict or one
    if conflict is not None and not partly:
        return ReconcilePlan(conflict=conflict)
    return ReconcilePlan(tuple(create), tuple(remake), tuple(rewrite), conflict)
