"""A limit on what is spent in each second."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

__all__ = ["Rate"]


class Rate:
    """Counts what is spent in each second.

    Args:
        clock: tells the time.
        limit: the amount that may be spent in one second.
    """

    __slots__ = ("_clock", "_limit", "_second", "_spent")

    def __init__(self, clock: IReactorTime, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._second = 0
        self._spent = 0

    def spend(self, amount: int) -> bool:
        """Spend an amount; return False if this second's limit would be exceeded."""
        second = int(self._clock.seconds())
        if second != self._second:
            self._second, self._spent = second, 0
        self._spent += amount
        return self._spent <= self._limit
