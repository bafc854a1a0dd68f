"""All sessions of a server: ids, passwords and time-outs.  They expire in whole buckets.

Source: SessionTrackerImpl.java, ExpiryQueue.java.  Times are seconds on any clock that
does not go back; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Final

from zkservice.embedded.connection import Session

PASSWORD_LENGTH: Final = 16  # bytes; ConnectResponse
_SERVER_ID: Final = 1  # a standalone server's id, the high byte of its session ids


def first_session_id(now: float) -> int:
    """The first session id of a server that starts at this time.

    The high byte is the server's id, then come 40 bits of milliseconds and 16 of a counter
    (SessionTrackerImpl.initializeNextSessionId).
    """
    # As in Java, shift left by 24 in 64 bits, which drops the highest bits of the time, then right
    # by 8, which makes room for the server's id.
    clock = ((int(now * 1000) << 24) % (1 << 64)) >> 8
    return (_SERVER_ID << 56) | clock


class SessionTracker:
    """The sessions that are alive, by id, and when each expires.

    A session expires at the first tick that is later than its time-out, so all sessions of one
    bucket expire together, up to a tick late.

    Args:
        tick: seconds between ticks.
        first_id: the id of the first session.
        secret: the key from which session passwords are derived.
    """

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

    def create(self, timeout: float, now: float, *, local: bool = False) -> Session:
        """Create a session with an id that was never used before."""
        session = Session(self.next_id, timeout, local=local)
        self.next_id += 1
        self.add(session, now)
        return session

    def add(self, session: Session, now: float) -> None:
        """Add a session, which may be older than this server process."""
        self._sessions[session.id] = session
        self.touch(session, now)

    def get(self, session_id: int) -> Session | None:
        """The session with an id, if it is alive."""
        return self._sessions.get(session_id)

    def password(self, session_id: int) -> bytes:
        """The password with which a client resumes the session."""
        return digest(self._secret, session_id.to_bytes(8, "big", signed=True), sha256)[
            :PASSWORD_LENGTH
        ]

    def is_password(self, session_id: int, password: bytes | None) -> bool:
        """Whether this is the session's password."""
        return compare_digest(self.password(session_id), password or b"")

    def touch(self, session: Session, now: float) -> None:
        """Restart a session's time-out, because its client sent something.

        A session that was removed stays removed: the closeSession request itself also gets here.
        """
        if session.id not in self._sessions:
            return
        bucket = int((now + session.timeout) / self._tick) + 1
        if bucket == session.bucket:
            return
        self._leave_bucket(session)
        session.bucket = bucket
        self._buckets.setdefault(bucket, set()).add(session)

    def touch_all(self, now: float) -> None:
        """Restart all time-outs."""
        for session in self:
            self.touch(session, now)

    def remove(self, session: Session) -> None:
        """Forget a session that has ended."""
        del self._sessions[session.id]
        self._leave_bucket(session)

    def expired(self, now: float) -> list[Session]:
        """The sessions whose time-outs have passed, the longest overdue first."""
        current = int(now / self._tick)
        due = sorted(bucket for bucket in self._buckets if bucket <= current)
        return [session for bucket in due for session in sorted(self._buckets[bucket], key=_id)]

    def by_deadline(self) -> list[tuple[float, list[Session]]]:
        """The time at which each bucket expires, and its sessions, for reports."""
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
