"""Slow down creations while another program keeps deleting a registration's znodes."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

#: Seconds between two creations of a znode that other clients delete.  The gap begins with
#: ``CREATE_GAP`` and doubles with each deletion, up to ``CREATE_GAP_MAX``.  It is reset once the
#: znode has existed for ``CREATE_GAP_MAX``.
CREATE_GAP: Final = 0.05
CREATE_GAP_MAX: Final = 10.0


class CreationThrottle:
    """Computes how long the next creation has to wait.

    Args:
        clock: tells the time.
    """

    __slots__ = ("_clock", "_created", "_gap")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._gap = 0.0
        self._created = 0.0  # time of the last creation

    def delay(self, *, deleted_by_others: bool) -> float:
        """Seconds to wait before the next creation.

        0.0 allows a creation now, and makes the next delay longer.

        Args:
            deleted_by_others: the znode is gone, although its session is alive and this
                process has not deleted it.
        """
        age = self._clock.seconds() - self._created  # negative if the clock was set back
        if not deleted_by_others or not 0 <= age <= CREATE_GAP_MAX:
            self._gap = 0.0
        elif age < self._gap:
            # Not less than 1 ms: after rounding, the timer could fire before the gap is over.
            return max(0.001, self._gap - age)
        self._gap = min(max(CREATE_GAP, self._gap * 2), CREATE_GAP_MAX)
        return 0.0

    def created(self) -> None:
        """Remember when the znodes were created."""
        self._created = self._clock.seconds()

    def reset(self) -> None:
        """Forget all deletions."""
        self._gap = 0.0
