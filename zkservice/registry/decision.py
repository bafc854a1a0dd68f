"""Decide what to change about the znodes at the paths of a registration.

The decision needs no connection: it takes what was read, and returns what to change.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple


class ObservedNode(NamedTuple):
    """The znode at a wanted path, as it was read."""

    path: str
    owner: int | None  # session id; 0: the znode is persistent; None: it does not exist
    version: int = -1  # of the data


class ReconcilePlan(NamedTuple):
    """What to change in one transaction, and the first conflict."""

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
    """Decide what to change about the znodes at the wanted paths.

    Args:
        found: the znode at each wanted path.
        session: the id of the present session.
        earlier: the ids of earlier sessions of this process.
        replace: this process has just begun to listen on the address, so an ephemeral znode
            of another session belongs to a process that is gone: it is replaced.  Later,
            the owner may be a process that took the address over while this one had no
            session: its znode is left alone.
        partly: make the possible changes even if there is a conflict about another address.
            If False, a conflict about one address prevents all changes.
        write: the znodes of the present session hold old data.
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
