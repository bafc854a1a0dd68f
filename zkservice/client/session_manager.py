"""Keep a session for as long as it is wanted, and begin a new one when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.client.calls import Call, SendQueue
from zkservice.client.connect_loop import ConnectLoop
from zkservice.client.connection import Connection
from zkservice.client.connector import Connector
from zkservice.client.counters import ClientCounters, Statistics
from zkservice.client.expiry_timer import ExpiryTimer
from zkservice.client.failure_log import without_full_stop
from zkservice.client.session import Session
from zkservice.client.session_setup import AuthCredential, AuthCredentials
from zkservice.client.settings import ClientSettings
from zkservice.client.subscribers import Subscribers, Subscription
from zkservice.client.watch_manager import WatchManager
from zkservice.deferreds import Waiters
from zkservice.errors import (
    ClientClosedError,
    ConnectionLossError,
    RequestTooLargeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zkservice.wire.hosts import Address
from zkservice.wire.paths import Chroot
from zkservice.wire.session import SessionEvent, State

#: Seconds that a server has to reply to the request that ends the session.
CLOSE_TIMEOUT: Final = 2.0

_HEADER_SIZE: Final = 8  # bytes of a request's header, which the server's limit counts in

MakeError = Callable[[str | None], Exception]


class SessionManager:
    """Owns the session, the pending calls and the watches.

    Args:
        reactor: connects, and tells the time.
        settings: of the client.
        random: shuffles the servers, and spreads the pauses.
    """

    _log = Logger()

    def __init__(self, reactor: Any, settings: ClientSettings, random: Random) -> None:
        self._settings = settings
        self._credentials = AuthCredentials()
        self._counters = ClientCounters()
        self._listeners: Subscribers[State] = Subscribers(self._log)
        self._queue = SendQueue()
        self.watches = WatchManager(
            Chroot(settings.ensemble.chroot), self._send_now, lambda: self._seen_zxid
        )
        connector = Connector(
            reactor, settings, self._credentials, self.watches, self._counters, random
        )
        self._loop = ConnectLoop(reactor, settings, random, connector, self)
        self._expiry = ExpiryTimer(reactor, self._expire_locally)
        self.session = Session(settings.session_timeout, state=State.CLOSED)
        self.server: Address | None = None
        self._connection: Connection | None = None
        self._refusal: MakeError | None = ClientClosedError  # why calls are not accepted
        self._running = False  # the loop has not ended
        self._connecting: Waiters[None] = Waiters()  # for the first connection
        self._closing: Waiters[None] = Waiters()  # for the end

    # -- called by the client --------------------------------------------------------

    @property
    def last_failure(self) -> Exception | None:
        """Why the last attempt to connect failed; None if it succeeded, or there was none."""
        return self._loop.failures.last

    @property
    def last_zxid(self) -> int:
        """The highest zxid of a reply in this session."""
        return max(self.session.last_zxid, self._seen_zxid)

    @property
    def _seen_zxid(self) -> int:
        """The highest zxid of a reply on this connection; 0 without a connection."""
        return 0 if self._connection is None else self._connection.last_zxid

    @property
    def silence(self) -> float:
        """Seconds since the latest answered request was sent; infinity without a connection."""
        return inf if self._connection is None else self._connection.silence.seconds()

    def statistics(self) -> Statistics:
        """The client's counters, and gauges of this moment."""
        pending = 0 if self._connection is None else len(self._connection.pending)
        return self._counters.snapshot(pending, len(self._queue), len(self.watches.table))

    def subscribe(self, callback: Callable[[State], object]) -> Subscription:
        """Call this with each new state."""
        return self._listeners.add(callback)

    def refusal(self, path: str | None) -> Exception | None:
        """The error with which a call about ``path`` is refused now; None if it is accepted."""
        return None if self._refusal is None else self._refusal(path)

    def submit(self, call: Call) -> None:
        """Send a call at the end of this turn, or as soon as there is a connection."""
        if self._refusal is not None:
            call.fail(self._refusal(call.path))
        elif len(call.payload) + _HEADER_SIZE > self._settings.max_request:
            size = len(call.payload) + _HEADER_SIZE
            call.fail(RequestTooLargeError(call.path, size, self._settings.max_request))
        else:
            self._queue.append(call)
            if self._connection is not None:
                self._connection.writer.wake()

    def _send_now(self, call: Call) -> None:
        """Send a call on this connection; without one it fails instead of waiting."""
        if self._connection is None or self._refusal is not None:
            call.fail(ConnectionLossError(call.path, maybe_applied=False))
        else:
            self._queue.append(call)
            self._connection.writer.wake()

    def add_credential(self, scheme: str, credential: bytes) -> AuthCredential:
        """Add a credential to this connection and every later one."""
        added = self._credentials.add(scheme, credential)
        if self._connection is not None:
            self._present(added, self._connection)
        return added

    def _present(self, credential: AuthCredential, connection: Connection) -> None:
        # Failures are handled elsewhere.  If the connection is lost, the credential is presented
        # again on the next one.  If it is refused, the server closes the connection, and `_lost`
        # ends the session.
        credential.present(connection).addErrback(lambda failure: None)

    def start(self, session_id: int = 0, password: bytes = b"") -> Deferred[None]:
        """Begin to connect, unless the client already does; fires when it is connected.

        Args:
            session_id: of an existing session to continue; 0 for a new session.
            password: of the existing session.
        """
        if self.session.connected:
            return succeed(None)
        stopped = self.session.state is State.CLOSED and not self._running
        if not stopped and self._refusal is not None:
            return fail(self._refusal(None))
        connected = self._connecting.add()
        if stopped:
            self._begin(session_id, password)
        return connected

    def stop(self) -> Deferred[None]:
        """End the session; fires when it has ended, about `CLOSE_TIMEOUT` seconds later at most."""
        closed = self._closing.add()
        if self.session.state is not State.CLOSED:
            self._close()
        if not self._running:
            self._closing.fire(None)
        return closed

    # -- the life of a session ------------------------------------------------------

    def _begin(self, session_id: int = 0, password: bytes = b"") -> None:
        session = self.session = Session(self._settings.session_timeout)
        if session_id:
            session.resume(session_id, password)
        self._refusal = None
        self._running = True
        self._listeners.notify(session.state)
        Deferred.fromCoroutine(self._loop.run(session)).addBoth(self._loop_ended, session)

    def _loop_ended(self, result: object, session: Session) -> None:
        self._running = False
        if isinstance(result, Failure):
            self._log.failure("keeping the connection to ZooKeeper failed", failure=result)
            if not session.over:
                self._close()
        if session.state is State.EXPIRED and self._settings.new_session:
            self._begin()
        elif session.state is State.CLOSED:
            self._close_down()

    def _apply(self, session: Session, event: SessionEvent) -> None:
        if session.apply(event):
            self._listeners.notify(session.state)

    # -- called by the loop and the connection ------------------------------------------

    def connected(self, session: Session, address: Address, connection: Connection) -> None:
        """Let requests through until the connection is lost."""
        connection.lost = lambda reason: self._lost(session, connection, reason)
        self._connection, self.server = connection, address
        self._expiry.cancel()
        self._log.info(
            "connected to {server}, session {session:#x} of {timeout:.1f} s",
            server=str(address),
            session=session.id & 0xFFFFFFFFFFFFFFFF,
            timeout=session.timeout,
        )
        for credential in self._credentials:
            if credential.awaited:  # it was added while the connection was being prepared
                self._present(credential, connection)
        accepted = (
            SessionEvent.ACCEPTED_READ_ONLY if connection.read_only else SessionEvent.ACCEPTED
        )
        self._apply(session, accepted)
        # Subscribers and waiters may close the client, so the state is checked before each step.
        if not session.over:
            self._connecting.fire(None)
        if not session.over:
            connection.serve(self._queue, self.watches.received)

    def _lost(self, session: Session, connection: Connection, reason: Failure) -> None:
        self._connection = self.server = None
        session.last_zxid = max(session.last_zxid, connection.last_zxid)
        session.last_received = connection.last_received
        if session.over:
            connection.fail_pending(ClientClosedError)
        elif connection.error is not None:
            self.refuse(session, connection.error)
            connection.fail_pending(self._refusal or ClientClosedError)
        else:
            self._log.warn(
                "lost the connection to ZooKeeper: {reason}; reconnecting",
                reason=without_full_stop(reason.value),
            )
            if self._settings.local_expiry:
                self._expiry.start(session)
            self._apply(session, SessionEvent.LOST)

    def _expire_locally(self, session: Session) -> None:
        self.expire(session, "no connection to a server for longer than the session lives")

    # -- the end of a session ---------------------------------------------------------

    def expire(self, session: Session, why: str) -> None:
        """End a session that the servers have expired; the loop begins the next one."""
        if session.over:
            return
        self._counters.expiries += 1
        self._log.warn(
            "session {session:#x} has expired: {why}",
            session=session.id & 0xFFFFFFFFFFFFFFFF,
            why=why,
        )
        if not self._settings.new_session:
            self._refusal = SessionExpiredError
        self._end(session, SessionEvent.REFUSED, SessionExpiredError)

    def refuse(self, session: Session, error: ZooKeeperError) -> None:
        """End a session because a server refuses the credentials; there will be no other."""
        if session.over:
            return
        self._log.error("ZooKeeper refuses this client: {error}; giving up", error=error)

        def refusal(path: str | None) -> Exception:
            return type(error)(path, error.detail)

        self._refusal = refusal
        self._end(session, SessionEvent.AUTH_REFUSED, refusal)

    def _end(self, session: Session, event: SessionEvent, make_error: MakeError) -> None:
        """Fail all that belonged to a session that is over.

        The state changes first, so a callback of a failed call sees the new state.  The queue is
        emptied before that: calls that subscribers make now belong to the next session.
        """
        self._expiry.cancel()
        calls = self._queue.take_all()
        self._apply(session, event)
        if self._refusal is make_error:  # set by the caller if there will be no other session
            self._connecting.fail(lambda: make_error(None))
            self._credentials.fail_all(make_error)
        for call in calls:
            call.fail(make_error(call.path))
        self.watches.fail_all(make_error)
        self._loop.interrupt()

    def _close(self) -> None:
        connection = self._connection
        self._refusal = ClientClosedError
        self._expiry.cancel()
        self._apply(self.session, SessionEvent.CLOSE)
        self._connecting.fail(lambda: ClientClosedError(None))
        self._credentials.fail_all(ClientClosedError)
        if connection is None:
            self._loop.interrupt()
        else:
            connection.serve(self._queue, self.watches.received)
            connection.close_session(CLOSE_TIMEOUT)

    def _close_down(self) -> None:
        """Fail what still waits for a closed session, once its connection is closed."""
        for call in self._queue.take_all():
            call.fail(ClientClosedError(call.path))
        self.watches.fail_all(ClientClosedError)
        self._closing.fire(None)
