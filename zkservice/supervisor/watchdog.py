"""Notice that heartbeats have stopped."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from zkservice.deferreds import Alarm

__all__ = ["Watchdog"]


class Watchdog:
    """Calls a function when there was no heartbeat for some time.

    The time is counted in two halves.  The reactor's clock is the wall clock, which may jump, and
    this process may itself be suspended.  Either uses up one half only, and heartbeats that have
    arrived meanwhile are read before the other half is over.

    Args:
        clock: tells the time.
        timeout: seconds; 0: never.
        silent: called once, when the time is over.
    """

    __slots__ = ("_alarm", "_second_half", "_silent", "timeout")

    def __init__(self, clock: IReactorTime, timeout: float, silent: Callable[[], object]) -> None:
        self.timeout = timeout
        self._silent = silent
        self._alarm = Alarm(clock, self._half_over)
        self._second_half = False

    def heard(self) -> None:
        """Start to count again, because there was a heartbeat."""
        if self.timeout:
            self._second_half = False
            self._alarm.set(self.timeout / 2)

    def stop(self) -> None:
        """Stop counting."""
        self._alarm.cancel()

    def _half_over(self) -> None:
        if self._second_half:
            self._silent()
        else:
            self._second_half = True
            self._alarm.set(self.timeout / 2)
