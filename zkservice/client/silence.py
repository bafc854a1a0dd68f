"""How long the server may not have heard us, by a clock that suspension does not stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

#: Linux counts in it the time that the machine was suspended; elsewhere there is none like it.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds since the machine was started; nobody sets this clock."""
    return time.clock_gettime(_CLOCK)


class Silence:
    """When the server last began to count the session's time-out anew, at the least.

    That is no earlier than when we sent the last request that it has answered.  When the
    answer was read says nothing: it may have waited for us while we were suspended.  Of the
    requests one is measured now and then, so that it costs next to nothing.
    """

    def __init__(self, clock: Callable[[], float], since: float) -> None:
        """Begin with an answered request.

        Args:
            clock: tells the seconds; also counts those in which we were suspended.
            since: when that request was sent.
        """
        self._clock = clock
        self._since = since
        self._asked = 0.0
        self._pings: deque[float] = deque()  # when those were sent that are not answered
        self.measured = 0.0  #: when that was begun last, by the reactor's clock
        self.xid = 0  #: of the request that is being measured; 0 is none

    def seconds(self) -> float:
        """How long ago that was."""
        return self._clock() - self._since

    def asked(self, xid: int, now: float) -> None:
        """A request is being sent, at this time of the reactor's clock."""
        self.xid, self.measured, self._asked = xid, now, self._clock()

    def answered(self) -> None:
        """The request that was being measured has been answered."""
        self.xid = 0
        self._since = max(self._since, self._asked)

    def pinged(self) -> None:
        """A ping is being sent; it may be one of several, if we were suspended."""
        self._pings.append(self._clock())

    def ping_answered(self) -> None:
        """The oldest of the pings has been answered."""
        if self._pings:  # a server may say what it was not asked
            self._since = max(self._since, self._pings.popleft())
