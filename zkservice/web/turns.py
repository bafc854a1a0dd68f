"""Shares the reactor among connections that have much to parse."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

from twisted.logger import Logger

__all__ = ["Turns"]

#: Seconds that all steps of one turn of the reactor may take together.  Every other client has to
#: wait as long.
_TIME_PER_TURN: Final = 0.002


class Turns:
    """Runs steps of long work, round robin, for a bounded part of each turn of the reactor.

    Args:
        reactor: whose turns are shared.
        now: seconds of a clock that tells how long steps take.
    """

    _log = Logger()

    def __init__(self, reactor: Any, now: Callable[[], float] = perf_counter) -> None:
        self._reactor = reactor
        self._now = now
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def wait(self, step: Callable[[], None]) -> None:
        """Call ``step`` once, in one of the next turns, after the steps that wait already."""
        self._waiting.append(step)
        if not self._scheduled:
            self._scheduled = True
            self._reactor.callLater(0, self._run)

    def _run(self) -> None:
        until = self._now() + _TIME_PER_TURN
        for _ in range(len(self._waiting)):
            self._call(self._waiting.popleft())
            if self._now() >= until:
                break
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            self._reactor.callLater(0, self._run)

    def _call(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:  # noqa: BLE001 - one failure must not end the turns of the others
            self._log.failure("a connection could not use its turn")
