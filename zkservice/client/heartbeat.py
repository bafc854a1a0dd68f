"""Keep a connection's session alive with pings, and notice a server that has gone silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from zkservice.deferreds import Alarm

# ClientCnxn.java: after 2/3 of the session's time-out without a byte the connection is dead.
# We ping after one third of silence and give the server another third to reply.  That third
# begins with the ping, not with the last byte: a late ping must not shorten it.
_THIRD: Final = 1 / 3


class Heartbeat:
    """Pings when either side has been silent for too long.

    Args:
        clock: tells the time.
        timeout: of the session, in seconds, as the server has granted it.
        ping: sends a ping.
        server_silent: called once, when a ping has no reply in time.
    """

    __slots__ = (
        "_check_alarm",
        "_check_due",
        "_clock",
        "_last_chance",
        "_ping",
        "_pinged",
        "_server_silent",
        "_third",
        "last_received",
        "last_sent",
    )

    def __init__(
        self,
        clock: IReactorTime,
        timeout: float,
        ping: Callable[[], object],
        server_silent: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._third = timeout * _THIRD
        self._ping = ping
        self._server_silent = server_silent
        self._check_alarm = Alarm(clock, self._check)
        self._last_chance = Alarm(clock, self._give_up)
        self._check_due = 0.0
        self._pinged = clock.seconds()
        self.last_received = self._pinged  #: when bytes last came, in the clock's seconds
        self.last_sent = self._pinged  #: when bytes were last sent; the sender sets it
        self._schedule_check()

    def bytes_received(self) -> None:
        """Note that the server has sent something."""
        self.last_received = self._clock.seconds()

    def silence(self) -> float:
        """Seconds since bytes last came."""
        return self._clock.seconds() - self.last_received

    def stop(self) -> None:
        """Stop sending pings and checking for replies."""
        self._check_alarm.cancel()
        self._last_chance.cancel()

    @property
    def _unanswered(self) -> bool:
        """Whether nothing has come since the last ping."""
        return self._pinged > self.last_received

    def _schedule_check(self) -> None:
        """Check again when the next ping is due, or the reply to the last one."""
        now = self._clock.seconds()
        since = self._pinged if self._unanswered else min(self.last_sent, self.last_received)
        delay = max(0.0, since + self._third - now)
        self._check_due = now + delay
        self._check_alarm.set(delay)

    def _check(self) -> None:
        now = self._clock.seconds()
        # Called this late, the process or the machine was suspended, and the server had no
        # chance to reply: ping again before giving up.
        suspended = now - self._check_due > self._third
        if self._unanswered and not suspended and now >= self._pinged + self._third:
            # The reply may be in the socket's buffer, unread because this process was busy.
            # The reactor reads it before it makes the next call.
            self._last_chance.set(0)
            return
        if suspended or now >= min(self.last_sent, self.last_received) + self._third:
            self.last_sent = self._pinged = now
            self._ping()
        self._schedule_check()

    def _give_up(self) -> None:
        if self._unanswered:
            self._server_silent()
        else:
            self._schedule_check()
