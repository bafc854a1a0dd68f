"""Decide what to change about the znodes at the paths of a registration.

The decision needs no connection: it takes what was read, and returns what to change.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple


class ObservedNode(NamedTuple):
    """The znode at a wanted path, as it was read."""

    path: str  #: the wanted path
    owner: int | None  #: the owner's session id; 0 if it is persistent, None if it is missing
    version: int = -1  #: of the data


class ReconcilePlan(NamedTuple):
    """What to change in one transaction, and the first conflict."""

    create: tuple[str, ...] = ()  #: paths at which there is no znode
    replace: tuple[ObservedNode, ...] = ()  #: znodes to delete and create again
    write: tuple[ObservedNode, ...] = ()  #: znodes whose data to set
    conflict: ObservedNode | None = None  #: the first znode that has to be left alone

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
        write: the znodes that the present session owns hold old data, and have to be written.
    """
    to_create: list[str] = []
    to_replace: list[ObservedNode] = []
    to_write: list[ObservedNode] = []
    conflict: ObservedNode | None = None
    for node in found:
        if node.owner is None:
            to_create.append(node.path)
        elif node.owner == session:
            if write:
                to_write.append(node)
        elif node.owner in earlier or (replace and node.owner != 0):
            to_replace.append(node)
        else:
            conflict = conflict or node
    if conflict is not None and not partly:
        return ReconcilePlan(conflict=conflict)
    return ReconcilePlan(tuple(to_create), tuple(to_replace), tuple(to_write), conflict)
