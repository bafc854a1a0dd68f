"""Keep a session connected for as long as it is wanted, and begin a new one when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.client.attempt import FINAL_ERRORS, Connector
from zkservice.client.calls import Call, Waiting
from zkservice.client.connection import Connection
from zkservice.client.counters import Counters, Statistics
from zkservice.client.data_loss import DataLoss, find_reason
from zkservice.client.hosts import BackOff, ServerOrder
from zkservice.client.listeners import Listeners, Subscription
from zkservice.client.prepare import Identities, Identity
from zkservice.client.search import find_writable
from zkservice.client.session import Session
from zkservice.client.settings import Settings
from zkservice.client.watching import Watches
from zkservice.errors import (
    ClientClosedError,
    ConnectionLossError,
    RequestTooLargeError,
    SessionExpiredError,
    SilentCloseError,
    ZooKeeperError,
)
from zkservice.wire.hosts import Address
from zkservice.wire.paths import Chroot
from zkservice.wire.session import Event, State

#: Seconds that a server has to answer a farewell.
GOODBYE_TIMEOUT: Final = 2.0

#: Seconds that a connection must last to count as a success; a server that lets us in only to
#: hang up is not to be called again and again.
_STABLE: Final = 1.0

#: Of the session's time-out: after such a silence no server has the session any more.
_EXPIRED_AFTER: Final = 4 / 3  # ClientCnxn.java since 3.9.3

_ENVELOPE: Final = 8  # bytes of a request's header, which the server's limit counts in

MakeError = Callable[[str | None], Exception]


class Link:
    """The one that connects: it owns the session, the calls that wait and the watches."""

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings, random: Random) -> None:
        self._reactor = reactor
        self._settings = settings
        self._random = random
        self._order = ServerOrder(settings.ensemble.addresses, random if settings.shuffle else None)
        self._identities = Identities()
        self._counters = Counters()
        self._listeners: Listeners[State] = Listeners(self._log)
        self._waiting = Waiting()
        self.watches = Watches(
            Chroot(settings.ensemble.chroot), self._send_now, lambda: self._seen_zxid
        )
        self._connector = Connector(
            reactor, settings, self._identities, self.watches, self._counters, random
        )
        self.session = Session(settings.session_timeout, state=State.CLOSED)
        self.server: Address | None = None
        self._connection: Connection | None = None
        self._refusal: MakeError | None = ClientClosedError  # why calls are not accepted
        self._running = False
        self._awaited: Deferred[Any] | None = None  # what a change of plan interrupts
        self._expiry: IDelayedCall | None = None
        self._goodbye: IDelayedCall | None = None
        self._search: Deferred[None] | None = None  # for a server that takes writes
        self._connecting: list[Deferred[None]] = []  # who waits for a first connection
        self._closing: list[Deferred[None]] = []  # who waits for the end
        self.failure: Exception | None = None  # of the last attempt to connect
        self._said: dict[Address, str] = {}  # why each server failed, as the log knows
        self._data_loss = DataLoss(settings.ensemble.addresses)
        self._complained = False

    # -- what the client asks for ---------------------------------------------------

    @property
    def last_zxid(self) -> int:
        """The highest zxid of a reply in this session."""
        connection = self._connection
        return max(self.session.last_zxid, 0 if connection is None else connection.last_zxid)

    def subscribe(self, callback: Callable[[State], object]) -> Subscription:
        """Call this with each new state."""
        return self._listeners.add(callback)

    def refusal(self, path: str | None) -> Exception | None:
        """Why calls are not accepted now, if they are not."""
        return None if self._refusal is None else self._refusal(path)

    def submit(self, call: Call) -> None:
        """Send a call at the end of this turn, or as soon as there is a connection."""
        if self._refusal is not None:
            call.fail(self._refusal(call.path))
        elif len(call.payload) + _ENVELOPE > self._settings.max_request:
            size = len(call.payload) + _ENVELOPE
            call.fail(RequestTooLargeError(call.path, size, self._settings.max_request))
        else:
            self._waiting.append(call)
            if self._connection is not None:
                self._connection.wake()

    def _send_now(self, call: Call) -> None:
        """Send a call on this connection or never."""
        if self._connection is None or self._refusal is not None:
            call.fail(ConnectionLossError(call.path, maybe_applied=False))
        else:
            self._waiting.append(call)
            self._connection.wake()

    @property
    def _seen_zxid(self) -> int:
        """The last change that this connection has shown us."""
        return 0 if self._connection is None else self._connection.last_zxid

    def add_identity(self, scheme: str, credential: bytes) -> Identity:
        """Authenticate this and every later connection as somebody more."""
        identity = self._identities.add(scheme, credential)
        if self._connection is not None:
            self._present(identity, self._connection)
        return identity

    def _present(self, identity: Identity, connection: Connection) -> None:
        # A lost connection is no answer, and the next one will be asked again; a refusal
        # is seen to when the server hangs up.
        identity.present(connection).addErrback(lambda failure: None)

    @property
    def silence(self) -> float:
        """Seconds since a request was sent that the server has answered; without one, infinity."""
        return inf if self._connection is None else self._connection.silence.seconds()

    def statistics(self) -> Statistics:
        """The counts of now."""
        pending = 0 if self._connection is None else len(self._connection.pending)
        return self._counters.snapshot(pending, len(self._waiting), len(self.watches.table))

    def start(self, session_id: int = 0, password: bytes = b"") -> Deferred[None]:
        """Begin to connect, if that is not done already; fires when connected."""
        done: Deferred[None] = Deferred(_leave(self._connecting))
        if self.session.connected:
            done.callback(None)
            return done
        if self.session.state is State.CLOSED and not self._running:
            self._connecting.append(done)
            self._begin(session_id, password)
        elif self._refusal is not None:
            done.errback(self._refusal(None))
        else:
            self._connecting.append(done)
        return done

    def stop(self) -> Deferred[None]:
        """End the session; fires when that is done, within `GOODBYE_TIMEOUT` and a turn."""
        done: Deferred[None] = Deferred(_leave(self._closing))
        self._closing.append(done)
        if self.session.state is not State.CLOSED:
            self._close()
        if not self._running:
            self._say_closed()
        return done

    # -- the life of a session ------------------------------------------------------

    def _begin(self, session_id: int = 0, password: bytes = b"") -> None:
        session = self.session = Session(self._settings.session_timeout)
        if session_id:
            session.resume(session_id, password)
        self._refusal = None
        self._data_loss.reset()
        self._running = True
        self._listeners.tell(session.state)
        Deferred.fromCoroutine(self._keep_connected(session)).addBoth(self._loop_ended, session)

    async def _keep_connected(self, session: Session) -> None:
        back_off = BackOff(self._settings.session_timeout, self._random)
        while not session.over:
            for address in self._order.round():
                connection = await self._try(session, address)
                if connection is not None:
                    began = self._reactor.seconds()
                    await self._use(session, address, connection)
                    if self._reactor.seconds() - began > _STABLE:
                        back_off.reset()
                    break
                if session.over:
                    return
            else:
                self._complain()
            if not session.over:
                await self._sleep(back_off.next())

    async def _try(self, session: Session, address: Address) -> Connection | None:
        """Try to connect; answers None if that failed or is not wanted any more."""
        attempt = Deferred.fromCoroutine(self._connector.connect(session, address))
        self._awaited = attempt
        try:
            connection = await attempt
            if not session.over:
                return connection
            connection.abort()  # closed in its very last step, by who waited for an identity
        except CancelledError:
            pass
        except SessionExpiredError:
            self._expire(session, f"{address} does not know it any more")
        except FINAL_ERRORS as error:
            self._auth_refused(session, error)
        except Exception as error:  # noqa: BLE001, an endpoint may fail with anything
            self._failed(address, error)
            if isinstance(error, SilentCloseError):
                await self._ask_why(session, address)
        finally:
            self._awaited = None
        return None

    async def _ask_why(self, session: Session, address: Address) -> None:
        """Give the session up if the server hangs up because the ensemble has lost data.

        With ``local_expiry`` our own clock gives it up no later.
        """
        if self._settings.local_expiry or not session.last_zxid:
            return
        self._awaited = asking = Deferred.fromCoroutine(
            find_reason(self._reactor, self._settings, address, session.last_zxid)
        )
        try:
            reason = await asking
        except CancelledError:
            return
        now = self._reactor.seconds()
        self._data_loss.closed(address, reason, now)
        if self._data_loss.is_certain(now, session.timeout * _EXPIRED_AFTER):
            self._expire(
                session,
                "the servers close the connection during the handshake: they have lost the data "
                f"that this client has seen (up to zxid {session.last_zxid:#x})",
            )

    async def _sleep(self, seconds: float) -> None:
        self._awaited = deferLater(self._reactor, seconds, lambda: None)
        try:
            await self._awaited
        except CancelledError:
            pass
        finally:
            self._awaited = None

    def _interrupt(self) -> None:
        """Stop an attempt or a wait; the loop sees for itself how it goes on."""
        if self._awaited is not None:
            self._awaited.cancel()

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

    def _say_closed(self) -> None:
        closing, self._closing = self._closing, []
        for waiter in closing:
            if not waiter.called:
                waiter.callback(None)

    # -- while connected --------------------------------------------------------------

    async def _use(self, session: Session, address: Address, connection: Connection) -> None:
        """Let requests through until the connection is lost."""
        connection.lost = lambda reason: self._lost(session, connection, reason)
        self._connection, self.server = connection, address
        self._complained, self.failure = False, None
        self._data_loss.reset()
        self._said.clear()
        self._cancel_expiry()
        self._log.info(
            "connected to {server}, session {session:#x} of {timeout:.1f} s",
            server=str(address),
            session=session.id & 0xFFFFFFFFFFFFFFFF,
            timeout=session.timeout,
        )
        for identity in self._identities:
            if identity.awaited:  # it was added while the connection was being prepared
                self._present(identity, connection)
        accepted = Event.ACCEPTED_READ_ONLY if connection.read_only else Event.ACCEPTED
        self._happened(session, accepted)
        if not session.over:
            connecting, self._connecting = self._connecting, []
            for waiter in connecting:
                if not waiter.called:
                    waiter.callback(None)
        if not session.over:
            connection.serve(self._waiting, self.watches.received)
            if connection.read_only and len(self._order) > 1:
                self._search = Deferred.fromCoroutine(self._find_better(address, connection))
        await connection.ended

    async def _find_better(self, current: Address, connection: Connection) -> None:
        """Leave a read-only server as soon as another one takes writes."""
        try:
            better = await find_writable(
                self._reactor,
                self._settings,
                current,
                self._random,
                lambda: self._connection is connection,
            )
        except CancelledError:
            return
        if better is None:
            return
        self._log.info(
            "leaving the read-only {server} for {better}", server=str(current), better=str(better)
        )
        self._order.prefer(better)
        self._search = None
        connection.abort()

    def _lost(self, session: Session, connection: Connection, reason: Failure) -> None:
        self._connection = self.server = None
        if self._search is not None:
            self._search.cancel()
            self._search = None
        session.last_zxid = max(session.last_zxid, connection.last_zxid)
        session.heard = connection.heard
        if self._goodbye is not None and self._goodbye.active():
            self._goodbye.cancel()
        self._goodbye = None
        if session.over:
            connection.fail_pending(ClientClosedError)
        elif connection.error is not None:
            self._auth_refused(session, connection.error)
            connection.fail_pending(self._refusal or ClientClosedError)
        else:
            self._log.warn("lost the connection to ZooKeeper: {reason}", reason=reason.value)
            self._await_expiry(session)
            self._happened(session, Event.LOST)

    def _happened(self, session: Session, event: Event) -> None:
        if session.happened(event):
            self._listeners.tell(session.state)

    # -- while not connected ----------------------------------------------------------

    def _failed(self, address: Address, error: Exception) -> None:
        self.failure = error
        if self._said.get(address) != str(error):  # attempts are many, reasons few
            self._said[address] = str(error)
            self._log.debug(
                "{server} does not let us in: {error}", server=str(address), error=error
            )
        if not isinstance(error, SilentCloseError):
            self._data_loss.another_failure()

    def _complain(self) -> None:
        """Say that nothing works, once until something does."""
        if not self._complained:
            self._complained = True
            self._log.warn(
                "no ZooKeeper server can be reached ({servers}): {error}; trying on",
                servers=", ".join(map(str, self._settings.ensemble.addresses)),
                error=self.failure,
            )

    def _await_expiry(self, session: Session) -> None:
        if self._settings.local_expiry:
            self._expiry = self._reactor.callLater(
                max(0.0, self._time_left(session)), self._time_is_up, session
            )

    def _time_left(self, session: Session) -> float:
        """Seconds until no server has the session any more."""
        now: float = self._reactor.seconds()
        return session.heard + session.timeout * _EXPIRED_AFTER - now

    def _time_is_up(self, session: Session) -> None:
        if self._time_left(session) > 0:  # a server has let us in, but we are not ready yet
            self._await_expiry(session)
        else:
            self._expire(session, "no server has heard us for too long")

    def _cancel_expiry(self) -> None:
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        self._expiry = None

    # -- the end of a session ---------------------------------------------------------

    def _expire(self, session: Session, why: str) -> None:
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
        self._end(session, Event.REFUSED, SessionExpiredError)

    def _auth_refused(self, session: Session, error: ZooKeeperError) -> None:
        if session.over:
            return
        self._log.error("ZooKeeper refuses us: {error}", error=error)

        def refusal(path: str | None) -> Exception:
            return type(error)(path, error.detail)

        self._refusal = refusal
        self._end(session, Event.AUTH_REFUSED, refusal)

    def _end(self, session: Session, event: Event, make_error: MakeError) -> None:
        """The session is over: all that belonged to it fails, once the state says so."""
        self._cancel_expiry()
        calls = self._waiting.take_all()
        self._happened(session, event)
        if self._refusal is make_error:  # there is no hope of another session
            self._fail_connecting(make_error)
            self._identities.fail_all(make_error)
        for call in calls:
            call.fail(make_error(call.path))
        self.watches.fail_all(make_error)
        self._interrupt()

    def _close(self) -> None:
        connection = self._connection
        self._refusal = ClientClosedError
        self._cancel_expiry()
        self._happened(self.session, Event.CLOSE)
        self._fail_connecting(ClientClosedError)
        self._identities.fail_all(ClientClosedError)
        if connection is None:
            self._interrupt()
        else:
            connection.serve(self._waiting, self.watches.received)
            connection.say_goodbye()
            self._goodbye = self._reactor.callLater(GOODBYE_TIMEOUT, connection.abort)

    def _fail_connecting(self, make_error: MakeError) -> None:
        connecting, self._connecting = self._connecting, []
        for waiter in connecting:
            if not waiter.called:  # by the callback of another one
                waiter.errback(make_error(None))

    def _close_down(self) -> None:
        """Nothing of the session is left but those who waited for something."""
        for call in self._waiting.take_all():
            call.fail(ClientClosedError(call.path))
        self.watches.fail_all(ClientClosedError)
        self._say_closed()


def _leave(waiters: list[Deferred[None]]) -> Callable[[Deferred[None]], None]:
    """What a waiter that is cancelled does."""

    def leave(waiter: Deferred[None]) -> None:
        if waiter in waiters:
            waiters.remove(waiter)

    return leave
