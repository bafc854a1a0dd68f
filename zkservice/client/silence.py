"""How long ago the server last heard the client for certain.

The clock also counts the time during which the process or the machine is suspended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

#: On Linux it includes the time that the machine was suspended; other systems have no such clock.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
#: Unanswered pings whose times are kept.  A server that sends other things may owe more replies.
MOST_PINGS: Final = 16


def boot_time() -> float:
    """Seconds since the machine was started; the clock is never set."""
    return time.clock_gettime(_CLOCK)


class Silence:
    """Measures how long ago the latest request was sent that the server has answered.

    With each request the server begins to count the session's time-out anew.  So the session has
    not expired if less than the time-out has passed since that request was sent.  The time at
    which the reply was read proves nothing: it may have waited in the socket while this process
    was suspended.  Only one request at a time is measured, and only now and then, to cost little.
    """

    def __init__(self, clock: Callable[[], float], since: float) -> None:
        """Begin with a request that was answered, the handshake.

        Args:
            clock: returns seconds; also counts while this process is suspended.
            since: when that request was sent, by this clock.
        """
        self._clock = clock
        self._since = since
        self._sent_at = 0.0
        self._pings: deque[float] = deque()  # times at which the unanswered pings were sent
        self._later_pings = 0  # unanswered pings that were sent after those
        self.last_measured = 0.0  #: when a measurement last began, by the reactor's clock
        self.measured_xid = 0  #: of the request that is being measured; 0 if none is

    def seconds(self) -> float:
        """Seconds since the latest request was sent that was answered."""
        return self._clock() - self._since

    def request_sent(self, xid: int, now: float) -> None:
        """Begin to measure a request that is sent at ``now``, by the reactor's clock."""
        self.measured_xid, self.last_measured, self._sent_at = xid, now, self._clock()

    def reply_received(self) -> None:
        """End the measurement: the reply to the measured request was read."""
        self.measured_xid = 0
        self._since = max(self._since, self._sent_at)

    def ping_sent(self) -> None:
        """Note that a ping is sent.  After a suspension, several may be unanswered."""
        if self._later_pings or len(self._pings) == MOST_PINGS:
            self._later_pings += 1  # replies come in order, so none of these may be kept now
        else:
            self._pings.append(self._clock())

    def ping_reply_received(self) -> None:
        """Note that the oldest unanswered ping was answered."""
        if self._pings:  # a broken server may send a reply to a ping that was never sent
            self._since = max(self._since, self._pings.popleft())
        elif self._later_pings:
            self._later_pings -= 1
