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
_FIRST: Final = 0.3
_NEXT: Final = 0.05


class StackOutput:
    """Keeps what comes through the pipe of faulthandler.

    Args:
        clock: the reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._kept = bytearray()
        self._readers: Waiters[str] = Waiters()
        self._quiet = Alarm(clock, self._end_reading)

    @property
    def full(self) -> bool:
        """Whether no more is kept."""
        return len(self._kept) >= MAX_STACKS

    def received(self, data: bytes) -> None:
        """Keep data, as far as there is room."""
        self._kept += data[: MAX_STACKS - len(self._kept)]
        if self._quiet.is_set:
            self._quiet.set(_NEXT)

    def read(self, request: Callable[[], object]) -> Deferred[str]:
        """Read the stacks of this moment; those who ask while others do get the same.

        Args:
            request: has the worker write them.

        Returns:
            Fires when there is no more output for a moment; with "" if there is none at all.
        """
        reader = self._readers.add()
        if not self._quiet.is_set:
            self._kept.clear()  # of a request that the worker was too late for
            self._quiet.set(_FIRST)
            request()
        return reader

    def take(self) -> str:
        """What was written last; nothing is kept of it."""
        text = self._kept.decode("utf-8", "replace").rstrip("\n")
        self._kept.clear()
        return text

    def close(self) -> None:
        """Have those who read get what there is: no more comes."""
        if self._quiet.is_set:
            self._quiet.cancel()
            self._readers.fire(self._kept.decode("utf-8", "replace").rstrip("\n"))

    def _end_reading(self) -> None:
        self._readers.fire(self.take())
