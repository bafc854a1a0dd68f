"""The life of a client's session, as one table.

A session that has expired stays dead: the client makes a *new* session, whose life
begins at `State.CONNECTING` again, so nothing is ever reset.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from zkservice.errors import ImpossibleEventError


class State(Enum):
    """The state of a session, as its client knows it."""

    CONNECTING = auto()  #: no server has accepted the session yet
    CONNECTED = auto()  #: requests are sent
    READ_ONLY = auto()  #: connected to a server that has lost its quorum
    SUSPENDED = auto()  #: no connection; the servers may still have the session's ephemerals
    EXPIRED = auto()  #: the session is over, its ephemerals and watches are gone
    AUTH_FAILED = auto()  #: the session is over, because a server refuses the credentials
    CLOSED = auto()  #: ``close`` was called, or ``connect`` never was


class SessionEvent(Enum):
    """What can happen to a session."""

    ACCEPTED = auto()  # ConnectResponse with this session, and authentication done
    ACCEPTED_READ_ONLY = auto()  # the same from a read-only server
    LOST = auto()  # the connection, or the attempt to make one
    # The session has expired: a ConnectResponse has time-out 0 or another session id, or no server
    # was reachable for so long that the client gives the session up by its own clock.
    REFUSED = auto()
    AUTH_REFUSED = auto()  # an auth packet answered with AUTHFAILED
    CLOSE = auto()  # the client ends it


_ENDS: Final = {
    SessionEvent.REFUSED: State.EXPIRED,
    SessionEvent.AUTH_REFUSED: State.AUTH_FAILED,
    SessionEvent.CLOSE: State.CLOSED,
}
_STARTS: Final = {
    SessionEvent.ACCEPTED: State.CONNECTED,
    SessionEvent.ACCEPTED_READ_ONLY: State.READ_ONLY,
}

TRANSITIONS: Final[dict[State, dict[SessionEvent, State]]] = {
    State.CONNECTING: {SessionEvent.LOST: State.CONNECTING, **_STARTS, **_ENDS},
    State.CONNECTED: {SessionEvent.LOST: State.SUSPENDED, **_ENDS},
    State.READ_ONLY: {SessionEvent.LOST: State.SUSPENDED, **_ENDS},
    State.SUSPENDED: {SessionEvent.LOST: State.SUSPENDED, **_STARTS, **_ENDS},
    State.EXPIRED: {SessionEvent.CLOSE: State.CLOSED},
    State.AUTH_FAILED: {SessionEvent.CLOSE: State.CLOSED},
    State.CLOSED: {SessionEvent.CLOSE: State.CLOSED},
}


def next_state(state: State, event: SessionEvent) -> State:
    """The state after an event.

    Raises:
        ImpossibleEventError: the table has no such transition.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise ImpossibleEventError(None, f"{event.name} while {state.name}") from None
