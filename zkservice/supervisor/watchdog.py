"""Notices that signs of life have stopped."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from zkservice.deferreds import Alarm

__all__ = ["Watchdog"]


class Watchdog:
    """Calls when nothing was heard for some time.

    The time is counted in two halves.  The reactor's clock is the wall clock, and the process that
    listens may itself be suspended: a jump of the clock uses up one half only, and what has
    arrived meanwhile is read before the other half is over.

    Args:
        clock: tells the time.
        timeout: seconds; 0 is never.
        silent: called once, when the time is over.
    """

    __slots__ = ("_alarm", "_second_half", "_silent", "timeout")

    def __init__(self, clock: IReactorTime, timeout: float, silent: Callable[[], object]) -> None:
        self.timeout = timeout
        self._silent = silent
        self._alarm = Alarm(clock, self._half_over)
        self._second_half = False

    def heard(self) -> None:
        """There was a sign of life: count from now."""
        if self.timeout:
            self._second_half = False
            self._alarm.set(self.timeout / 2)

    def stop(self) -> None:
        """Listen no more."""
        self._alarm.cancel()

    def _half_over(self) -> None:
        if self._second_half:
            self._silent()
        else:
            self._second_half = True
            self._alarm.set(self.timeout / 2)
