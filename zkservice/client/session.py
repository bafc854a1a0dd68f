"""A session as its client knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from zkservice.errors import ProtocolError, SessionExpiredError
from zkservice.wire.records import ConnectRequest, ConnectResponse
from zkservice.wire.session import SessionEvent, State, next_state

NO_PASSWORD: Final = bytes(16)

#: After this many session time-outs of silence no server has the session any more.
_EXPIRED_AFTER: Final = 4 / 3  # ClientCnxn.java since 3.9.3


@dataclass
class Session:
    """What the client knows of one session; a new session is a new object."""

    requested_timeout: float  # seconds
    id: int = 0
    password: bytes = field(default=NO_PASSWORD, repr=False)
    timeout: float = 0.0  # seconds, as granted by the server; 0 until it has accepted the session
    last_zxid: int = 0
    last_received: float = 0.0  # when bytes last came, in the reactor's seconds
    state: State = State.CONNECTING
    known_to_ensemble: bool = False  # False also if only a read-only server knows the id

    def apply(self, event: SessionEvent) -> bool:
        """Apply an event; returns whether the state has changed."""
        before, self.state = self.state, next_state(self.state, event)
        return self.state is not before

    @property
    def connected(self) -> bool:
        """Whether requests can be sent."""
        return self.state in (State.CONNECTED, State.READ_ONLY)

    @property
    def over(self) -> bool:
        """Whether it has ended for good."""
        return self.state in (State.EXPIRED, State.AUTH_FAILED, State.CLOSED)

    @property
    def longest_silence(self) -> float:
        """Seconds without contact after which no server has the session any more."""
        return self.timeout * _EXPIRED_AFTER

    def connect_request(self, read_only: bool) -> ConnectRequest:
        """The request that a connection begins with."""
        # The id of a read-only server is local to it: no other server knows it.
        known = self.known_to_ensemble
        return ConnectRequest(
            protocol_version=0,
            last_zxid_seen=self.last_zxid,
            timeout=round(self.requested_timeout * 1000),
            session_id=self.id if known else 0,
            password=self.password if known else NO_PASSWORD,
            read_only=read_only,
        )

    def resume(self, id: int, password: bytes) -> None:
        """Adopt an existing session."""
        self.id, self.password, self.known_to_ensemble = id, password, True

    def accepted(self, response: ConnectResponse, now: float) -> None:
        """Remember what a server has granted, and when.

        Raises:
            SessionExpiredError: the session is over.  A server that replies with another
                session's id has lost this one.
            ProtocolError: the server does not begin a new session.  That is a fault of this
                server; no session has expired.
        """
        if self.known_to_ensemble:
            if response.timeout <= 0 or response.session_id != self.id:
                raise SessionExpiredError
        elif response.timeout <= 0 or response.session_id == 0:
            raise ProtocolError(None, "the server does not begin a session")
        self.last_received = now
        self.id = response.session_id
        self.password = response.password or NO_PASSWORD
        self.timeout = response.timeout / 1000
        self.known_to_ensemble = self.known_to_ensemble or not response.read_only
