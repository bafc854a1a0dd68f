"""What to do about the znodes that are found where a registration wants its own.

This is the whole judgement of a registration, without a connection: what was read goes
in, what to change comes out.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple


class Found(NamedTuple):
    """One wanted path, and what is there."""

    path: str
    owner: int | None  # session id; 0 is a persistent znode, None is no znode at all
    version: int = -1  # of the data


class Verdict(NamedTuple):
    """What to change, all at once.  In a conflict nothing is to be changed."""

    create: tuple[str, ...] = ()
    replace: tuple[Found, ...] = ()
    write: tuple[Found, ...] = ()
    conflict: Found | None = None

    @property
    def done(self) -> bool:
        """Everything is as it is wanted."""
        return not (self.create or self.replace or self.write or self.conflict)


def decide(
    found: Sequence[Found], *, session: int, earlier: Set[int], first: bool, write: bool
) -> Verdict:
    """Judge the znodes at the wanted paths.

    Args:
        found: each wanted path with what is there.
        session: our session's id.
        earlier: ids of the sessions that this process had before.
        first: this process has not held the registration yet.  It has just begun to
            listen on the address, so whatever was registered there before it is of a
            process that is gone, and is replaced.  Later on the owner may be a process
            that took the address over while we were away: that one is left alone.
        write: the data of znodes that are ours is out of date.
    """
    create: list[str] = []
    replace: list[Found] = []
    rewrite: list[Found] = []
    for one in found:
        if one.owner is None:
            create.append(one.path)
        elif one.owner == session:
            if write:
                rewrite.append(one)
        elif one.owner in earlier or (first and one.owner != 0):
            replace.append(one)
        else:
            return Verdict(conflict=one)
    return Verdict(tuple(create), tuple(replace), tuple(rewrite))
