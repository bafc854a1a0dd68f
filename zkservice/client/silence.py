"""How long the server may not have heard the client, by a clock that suspension does not stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

#: On Linux it includes the time that the machine was suspended; other systems have no such clock.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds since the machine was started; the clock is never set."""
    return time.clock_gettime(_CLOCK)


class Silence:
    """When the server last began to count the session's time-out anew, at the least.

    That is no earlier than when the last request was sent that it has answered.  The time at
    which the reply was read proves nothing: it may have waited in the socket while this
    process was suspended.  Only now and then a request is measured, so it costs next to
    nothing.
    """

    def __init__(self, clock: Callable[[], float], since: float) -> None:
        """Begin with an answered request.

        Args:
            clock: returns seconds; also counts while this process is suspended.
            since: when that request was sent.
        """
        self._clock = clock
        self._since = since
        self._asked = 0.0
        self._pings: deque[float] = deque()  # when those were sent that are not answered
        self.measured = 0.0  #: when that was begun last, by the reactor's clock
        self.xid = 0  #: of the request that is being measured; 0: none is

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
        """A ping is being sent; there may be several, after a suspension."""
        self._pings.append(self._clock())

    def ping_answered(self) -> None:
        """The oldest of the pings has been answered."""
        if self._pings:  # a server may send a reply to a ping that was never sent
            self._since = max(self._since, self._pings.popleft())
