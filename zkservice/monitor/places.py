"""How many connections a port keeps, and which one gives way when another comes.

A port for operators must let an operator in at any time.  A bound that refuses the newcomer
does the opposite: connections that say nothing keep everybody out.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import Generic, Protocol, TypeVar


class Claim(IntEnum):
    """How strongly a connection holds its place; the weakest gives way first."""

    SILENT = 0  #: has not sent anything that would be carried out
    ENDING = 1  #: has its last answer, and does not read it
    SESSION = 2  #: a session that is idle
    BUSY = 3  #: a command is running; it never gives way


class Guest(Protocol):
    """A connection, as far as its place is concerned."""

    @property
    def claim(self) -> Claim:
        """How strongly it holds its place at this moment."""
        ...

    def give_way(self) -> None:
        """Close: the place is another connection's."""
        ...


G = TypeVar("G", bound=Guest)


class Places(Generic[G]):
    """The connections of a port, the one that has been idle longest first.

    Args:
        limit: how many there are at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._guests: dict[G, None] = {}

    @property
    def guests(self) -> Collection[G]:
        """Those that have a place; it changes with them."""
        return self._guests.keys()

    def make_room(self) -> bool:
        """Free a place if all are taken.

        Returns:
            False if every connection is busy, so that the newcomer must be refused.
        """
        if len(self._guests) < self._limit:
            return True
        weakest = min(self._guests, key=lambda guest: guest.claim)  # of equals the first
        if weakest.claim is Claim.BUSY:
            return False
        self.leave(weakest)
        weakest.give_way()
        return True

    def take(self, guest: G) -> None:
        """Give a place to a connection, or note that it has just done something."""
        self.leave(guest)
        self._guests[guest] = None

    def leave(self, guest: G) -> None:
        """Free the place of a connection; one that has none changes nothing."""
        self._guests.pop(guest, None)
