"""The stacks that faulthandler writes in a worker: when it ends, or when an operator asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from zkservice.deferreds import Alarm, Waiters

__all__ = ["StackOutput"]

#: Bytes of stacks that are kept.
MAX_STACKS: Final = 1 << 18
#: Seconds until the first line, and after a line until the next one.
_FIRST_LINE_TIMEOUT: Final = 0.3
_NEXT_LINE_TIMEOUT: Final = 0.05


class StackOutput:
    """Keeps what comes through the pipe of faulthandler.

    Args:
        clock: the reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._kept = bytearray()
        self._readers: Waiters[str] = Waiters()
        self._end_alarm = Alarm(clock, self._end_reading)

    @property
    def full(self) -> bool:
        """Whether no more is kept."""
        return len(self._kept) >= MAX_STACKS

    def received(self, data: bytes) -> None:
        """Keep data, as far as there is room."""
        self._kept += data[: MAX_STACKS - len(self._kept)]
        if self._end_alarm.is_set:
            self._end_alarm.set(_NEXT_LINE_TIMEOUT)

    def read(self, request: Callable[[], object]) -> Deferred[str]:
        """Read the stacks of this moment.  Calls at the same time get the same stacks.

        Args:
            request: has the worker write them.

        Returns:
            Fires when there is no more output for a moment; with "" if there is none at all.
        """
        reader = self._readers.add()
        if not self._end_alarm.is_set:
            self._kept.clear()  # late output for an earlier request
            self._end_alarm.set(_FIRST_LINE_TIMEOUT)
            request()
        return reader

    def take(self) -> str:
        """Return what was received, and forget it."""
        text = self._kept.decode("utf-8", "replace").rstrip("\n")
        self._kept.clear()
        return text

    def close(self) -> None:
        """End the pending reads with what was received: the process has ended."""
        if self._end_alarm.is_set:
            self._end_alarm.cancel()
            self._readers.fire(self._kept.decode("utf-8", "replace").rstrip("\n"))

    def _end_reading(self) -> None:
        self._readers.fire(self.take())
