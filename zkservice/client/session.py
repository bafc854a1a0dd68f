"""What a session is, on the client's side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from zkservice.errors import ProtocolError, SessionExpiredError
from zkservice.wire.records import ConnectRequest, ConnectResponse
from zkservice.wire.session import SessionEvent, State, after

NO_PASSWORD: Final = bytes(16)

#: Of the session's time-out: after such a silence no server has the session any more.
_EXPIRED_AFTER: Final = 4 / 3  # ClientCnxn.java since 3.9.3


@dataclass
class Session:
    """What we know of one session; a new session is a new object."""

    requested_timeout: float  # seconds
    id: int = 0
    password: bytes = field(default=NO_PASSWORD, repr=False)
    timeout: float = 0.0  # seconds, as the server has it; 0 until it has accepted us
    last_zxid: int = 0
    heard: float = 0.0  # when a server last spoke to us, in the reactor's seconds
    state: State = State.CONNECTING
    writable_seen: bool = False  # the id is one that a whole ensemble knows

    def happened(self, event: SessionEvent) -> bool:
        """Change the state; returns whether it is another one now."""
        before, self.state = self.state, after(self.state, event)
        return self.state is not before

    @property
    def connected(self) -> bool:
        """Whether requests can be sent."""
        return self.state in (State.CONNECTED, State.READ_ONLY)

    @property
    def over(self) -> bool:
        """Whether there is no way back."""
        return self.state in (State.EXPIRED, State.AUTH_FAILED, State.CLOSED)

    @property
    def longest_silence(self) -> float:
        """Seconds without contact after which no server has the session any more."""
        return self.timeout * _EXPIRED_AFTER

    def connect_request(self, read_only: bool) -> ConnectRequest:
        """What to say to a server."""
        # A read-only server made the id up: no other server knows it.
        known = self.writable_seen
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
        self.id, self.password, self.writable_seen = id, password, True

    def accepted(self, response: ConnectResponse, now: float) -> None:
        """Remember what a server has granted, and when.

        Raises:
            SessionExpiredError: the session that we had is over.  A server that answers
                with the id of another one has lost ours.
            ProtocolError: the server does not begin a new one.  That is a fault of this
                server; nothing of ours has expired.
        """
        if self.writable_seen:
            if response.timeout <= 0 or response.session_id != self.id:
                raise SessionExpiredError
        elif response.timeout <= 0 or response.session_id == 0:
            raise ProtocolError(None, "the server does not begin a session")
        self.heard = now
        self.id = response.session_id
        self.password = response.password or NO_PASSWORD
        self.timeout = response.timeout / 1000
        self.writable_seen = self.writable_seen or not response.read_only
