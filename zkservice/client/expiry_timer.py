"""Expire a session by the client's own clock while no server can be reached."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from zkservice.client.session import Session
from zkservice.deferreds import Alarm


class ExpiryTimer:
    """Gives up a session once every server must have expired it.

    Args:
        clock: tells the time.
        expired: called with a session whose time is up.
    """

    def __init__(self, clock: IReactorTime, expired: Callable[[Session], object]) -> None:
        self._clock = clock
        self._expired = expired
        self._session: Session | None = None
        self._alarm = Alarm(clock, self._check)

    def start(self, session: Session) -> None:
        """Start the timer: the connection of a session is lost."""
        self._session = session
        self._alarm.set(max(0.0, self._time_left(session)))

    def cancel(self) -> None:
        """Stop the timer: the session is connected again, or over."""
        self._session = None
        self._alarm.cancel()

    def _time_left(self, session: Session) -> float:
        now: float = self._clock.seconds()
        return session.last_received + session.longest_silence - now

    def _check(self) -> None:
        session = self._session
        if session is None:
            return
        if self._time_left(session) > 0:
            # A server has accepted the session meanwhile, and the connection is being prepared.
            self.start(session)
        else:
            self._expired(session)
