"""Connect a session to one server after another, for as long as it lives."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zkservice.client.connection import Connection
from zkservice.client.connector import FINAL_ERRORS, Connector
from zkservice.client.data_loss import DataLoss, find_close_reason
from zkservice.client.failure_log import FailureLog
from zkservice.client.find_writable_server import find_writable
from zkservice.client.hosts import ServerOrder, reconnect_backoff
from zkservice.client.session import Session
from zkservice.client.settings import ClientSettings
from zkservice.errors import SessionExpiredError, SilentCloseError, ZooKeeperError
from zkservice.wire.hosts import Address

T = TypeVar("T")

#: Seconds after which a connection counts as a success and the pauses begin again with the
#: shortest.  A server that accepts the session and then closes the connection is a failure.
_STABLE_AFTER: Final = 1.0


class SessionOwner(Protocol):
    """The owner of the session gets these calls from the loop."""

    def connected(self, session: Session, address: Address, connection: Connection) -> None:
        """Use a new connection."""

    def expire(self, session: Session, why: str) -> None:
        """Handle that the session has expired on the servers."""

    def refuse(self, session: Session, error: ZooKeeperError) -> None:
        """Handle that a server refuses the credentials."""


class Interruptible:
    """Lets other code interrupt a coroutine that waits for a Deferred."""

    __slots__ = ("_awaited",)

    def __init__(self) -> None:
        self._awaited: Deferred[Any] | None = None

    async def wait(self, awaited: Deferred[T]) -> T:
        """Wait for a Deferred.

        Raises:
            CancelledError: interrupted.
            Exception: whatever the Deferred fails with.
        """
        self._awaited = awaited
        try:
            return await awaited
        finally:
            self._awaited = None

    def interrupt(self) -> None:
        """Cancel the Deferred that is waited for, if there is one."""
        if self._awaited is not None:
            self._awaited.cancel()


class ConnectLoop:
    """Keeps sessions connected, one at a time.

    Args:
        reactor: connects, and tells the time.
        settings: the client's settings.
        random: shuffles the servers, and jitters the pauses.
        connector: makes one attempt.
        owner: gets the outcome of the attempts.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: ClientSettings,
        random: Random,
        connector: Connector,
        owner: SessionOwner,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._random = random
        self._connector = connector
        self._owner = owner
        addresses = settings.ensemble.addresses
        self._order = ServerOrder(addresses, random if settings.shuffle else None)
        self._data_loss = DataLoss(addresses)
        self._current_step = Interruptible()  # an attempt to connect, a question, or a pause
        self.failures = FailureLog(addresses)

    def interrupt(self) -> None:
        """Interrupt an attempt or a pause; the loop then acts on the session's new state."""
        self._current_step.interrupt()

    async def run(self, session: Session) -> None:
        """Keep a session connected until it is over."""
        self._data_loss.reset()
        backoff = reconnect_backoff(self._settings.session_timeout, self._random)
        while not session.over:
            for address in self._order.round():
                connection = await self._try(session, address)
                if connection is not None:
                    began = self._reactor.seconds()
                    await self._use(session, address, connection)
                    if self._reactor.seconds() - began > _STABLE_AFTER:
                        backoff.reset()
                    break
                if session.over:
                    return
            else:
                self.failures.all_failed()
            if not session.over:
                await self._sleep(backoff.next())

    async def _try(self, session: Session, address: Address) -> Connection | None:
        """Try to connect; return None if that failed or is not wanted any more."""
        try:
            connection = await self._current_step.wait(
                Deferred.fromCoroutine(self._connector.connect(session, address))
            )
            if not session.over:
                return connection
            # A callback has closed the client after the attempt's last chance to notice it.
            connection.abort()
        except CancelledError:
            pass
        except SessionExpiredError:
            self._owner.expire(session, f"{address} does not know it")
        except FINAL_ERRORS as error:
            self._owner.refuse(session, error)
        except SilentCloseError as error:
            self.failures.failed(address, error)
            await self._check_data_loss(session, address)
        except Exception as error:  # noqa: BLE001, an endpoint may fail with anything
            self.failures.failed(address, error)
            self._data_loss.failed_otherwise()
        return None

    async def _check_data_loss(self, session: Session, address: Address) -> None:
        """Expire the session if servers close connections because the ensemble has lost data.

        Only needed without ``local_expiry``: with it, `ExpiryTimer` expires the session no later.
        """
        if self._settings.local_expiry or not session.last_zxid:
            return
        question = find_close_reason(self._reactor, self._settings, address, session.last_zxid)
        try:
            reason = await self._current_step.wait(Deferred.fromCoroutine(question))
        except CancelledError:
            return
        now = self._reactor.seconds()
        self._data_loss.closed(address, reason, now)
        if self._data_loss.is_certain(now, session.longest_silence):
            self._owner.expire(
                session,
                "the servers close the connection during the handshake: they have lost the data "
                f"that this client has seen (up to zxid {session.last_zxid:#x})",
            )

    async def _sleep(self, seconds: float) -> None:
        with suppress(CancelledError):
            await self._current_step.wait(deferLater(self._reactor, seconds, lambda: None))

    async def _use(self, session: Session, address: Address, connection: Connection) -> None:
        """Let the owner use a connection until it is lost."""
        self.failures.connected()
        self._data_loss.reset()
        self._owner.connected(session, address, connection)
        search: Deferred[None] | None = None
        if connection.read_only and len(self._order) > 1 and not session.over:
            search = Deferred.fromCoroutine(self._leave_for_writable(address, connection))
        await connection.ended
        if search is not None:
            search.cancel()

    async def _leave_for_writable(self, current: Address, connection: Connection) -> None:
        """Leave a read-only server as soon as another one accepts writes."""
        try:
            better = await find_writable(
                self._reactor,
                self._settings,
                current,
                self._random,
                lambda: not connection.ended.called,
            )
        except CancelledError:
            return
        if better is None:
            return
        self._log.info(
            "{better} accepts writes: leaving the read-only {server}",
            server=str(current),
            better=str(better),
        )
        self._order.prefer(better)
        connection.abort()
