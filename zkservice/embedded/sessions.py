"""Sessions: ids, passwords and time-outs, expired in whole buckets.

Source: SessionTrackerImpl.java, ExpiryQueue.java.  Times are seconds on any clock that
does not go back; nothing here looks at one.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from hmac import compare_digest, digest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zkservice.embedded.connection import Connection

PASSWORD_LENGTH: Final = 16  # bytes; ConnectResponse
_SERVER_ID: Final = 1  # what a standalone server puts into the high byte


def first_session_id(now: float) -> int:
    """Where the ids of a server that starts at this time begin.

    The high byte is the server, then come 40 bits of milliseconds and 16 of a counter
    (SessionTrackerImpl.initializeNextSessionId).
    """
    clock = (int(now * 1000) << 24) % (1 << 64) >> 8
    return clock & ((1 << 56) - 1) | _SERVER_ID << 56


class Session:
    """One client's session.  ``timeout`` is in seconds."""

    __slots__ = ("bucket", "connection", "id", "passing", "timeout")

    def __init__(self, id: int, timeout: float, *, passing: bool = False) -> None:
        self.id = id
        self.timeout = timeout
        #: When it expires, counted in ticks of the server.
        self.bucket = 0
        self.connection: Connection | None = None
        #: Made by a read-only server, which cannot make a real one.
        self.passing = passing


class SessionTracker:
    """All sessions by id, and when they expire."""

    def __init__(self, tick: float, first_id: int, secret: bytes) -> None:
        self._tick = tick
        #: The id of the next session.
        self.next_id = first_id
        self._secret = secret
        self._sessions: dict[int, Session] = {}
        self._buckets: dict[int, set[Session]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def create(self, timeout: float, now: float, *, passing: bool = False) -> Session:
        """A session with an id that no other ever had."""
        session = Session(self.next_id, timeout, passing=passing)
        self.next_id += 1
        self.add(session, now)
        return session

    def add(self, session: Session, now: float) -> None:
        """Keep a session that was there before the server started."""
        self._sessions[session.id] = session
        self.renew(session, now)

    def get(self, session_id: int) -> Session | None:
        """The session with an id, if it is alive."""
        return self._sessions.get(session_id)

    def password(self, session_id: int) -> bytes:
        """What a client must show to take the session up again."""
        return digest(self._secret, session_id.to_bytes(8, "big", signed=True), sha256)[
            :PASSWORD_LENGTH
        ]

    def admits(self, session_id: int, password: bytes | None) -> bool:
        """Whether this is the session's password."""
        return compare_digest(self.password(session_id), password or b"")

    def renew(self, session: Session, now: float) -> None:
        """Its time-out begins anew: it was heard of.  A session that is over stays so."""
        if session.id not in self._sessions:
            return  # what was heard was its farewell
        bucket = int((now + session.timeout) / self._tick) + 1
        if bucket == session.bucket:
            return
        self._leave_bucket(session)
        session.bucket = bucket
        self._buckets.setdefault(bucket, set()).add(session)

    def renew_all(self, now: float) -> None:
        """All time-outs begin anew."""
        for session in self:
            self.renew(session, now)

    def remove(self, session: Session) -> None:
        """It is over."""
        del self._sessions[session.id]
        self._leave_bucket(session)

    def due(self, now: float) -> list[Session]:
        """The sessions that were not heard of for too long, the oldest first."""
        current = int(now / self._tick)
        due = sorted(bucket for bucket in self._buckets if bucket <= current)
        return [session for bucket in due for session in sorted(self._buckets[bucket], key=_id)]

    def by_deadline(self) -> list[tuple[float, list[Session]]]:
        """When sessions expire if they are not heard of, for reports."""
        return [
            (bucket * self._tick, sorted(self._buckets[bucket], key=_id))
            for bucket in sorted(self._buckets)
        ]

    def _leave_bucket(self, session: Session) -> None:
        bucket = self._buckets.get(session.bucket)
        if bucket is not None:
            bucket.discard(session)
            if not bucket:
                del self._buckets[session.bucket]


def _id(session: Session) -> int:
    return session.id
