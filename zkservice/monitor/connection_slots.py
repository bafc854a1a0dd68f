"""Limit the connections of a port by closing the least important one when another one comes.

An operator must be able to connect at any time.  If a full port refused new connections,
connections that send nothing could lock operators out.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import Generic, Protocol, TypeVar


class SlotPriority(IntEnum):
    """How important a connection is; the least important one is closed first."""

    SILENT = 0  #: has not sent a command yet
    ENDING = 1  #: was sent its last reply, and has not read it
    SESSION = 2  #: an interactive session that is idle
    BUSY = 3  #: runs a command; it is never closed for another connection


class SlotUser(Protocol):
    """The part of a connection that `ConnectionSlots` uses."""

    @property
    def priority(self) -> SlotPriority:
        """How important the connection is at this moment."""
        ...

    def evict(self) -> None:
        """Close the connection: another one needs its slot."""
        ...


C = TypeVar("C", bound=SlotUser)


class ConnectionSlots(Generic[C]):
    """The connections of a port, the one that has been idle longest first.

    Args:
        limit: the maximal number of connections.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._connections: dict[C, None] = {}

    @property
    def connections(self) -> Collection[C]:
        """A live view of the connections that have a slot."""
        return self._connections.keys()

    def make_room(self) -> bool:
        """Free a slot if all are occupied.

        Returns:
            False if every connection is busy, so that the new one must be refused.
        """
        if len(self._connections) < self._limit:
            return True
        # min() returns the first of equals, which is the one that has been idle longest.
        weakest = min(self._connections, key=lambda connection: connection.priority)
        if weakest.priority is SlotPriority.BUSY:
            return False
        self.release(weakest)
        weakest.evict()
        return True

    def occupy(self, connection: C) -> None:
        """Give a slot to a connection, or mark it as the one that was active last."""
        self.release(connection)
        self._connections[connection] = None

    def release(self, connection: C) -> None:
        """Free the slot of a connection; one that has none changes nothing."""
        self._connections.pop(connection, None)
