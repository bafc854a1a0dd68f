"""One attempt to connect a session to one server."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from zkservice.client.connection import Connection
from zkservice.client.counters import ClientCounters
from zkservice.client.handshake import HandshakeResult, endpoint, handshake
from zkservice.client.hosts import resolve, shuffled
from zkservice.client.session import Session
from zkservice.client.session_setup import AuthCredentials, prepare
from zkservice.client.settings import ClientSettings
from zkservice.client.silence import Silence
from zkservice.client.tls import readable_tls_error
from zkservice.client.watch_manager import WatchManager
from zkservice.deferreds import time_limit
from zkservice.errors import (
    AuthFailedError,
    ConnectTimeoutError,
    SaslError,
    SessionClosedRequireSaslAuthError,
    SessionExpiredError,
    ZooKeeperError,
)
from zkservice.wire.hosts import Address

#: Errors after which trying another server is useless.
FINAL_ERRORS = (
    SessionExpiredError,
    AuthFailedError,
    SaslError,
    SessionClosedRequireSaslAuthError,
)


class Connector:
    """Makes connections that are ready for requests."""

    def __init__(
        self,
        reactor: Any,
        settings: ClientSettings,
        credentials: AuthCredentials,
        watches: WatchManager,
        counters: ClientCounters,
        random: Random,
    ) -> None:
        self._random = random
        self._reactor = reactor
        self._settings = settings
        self._credentials = credentials
        self._watches = watches
        self._counters = counters

    async def connect(self, session: Session, address: Address) -> Connection:
        """Try all addresses of a server, one after the other.

        Raises:
            SessionExpiredError: the session has expired.
            AuthFailedError: a server refuses a credential.
            SessionClosedRequireSaslAuthError: a server requires SASL.
            SaslError: SASL cannot work with this server.
            Exception: no address works; it is the failure of the last one.
        """
        limit = self._settings.attempt_timeout
        hosts = await _within(self._reactor, limit, resolve(self._reactor, address.host))
        failure: Exception | None = None
        for ip in shuffled(hosts, self._random if self._settings.shuffle else None):
            try:
                return await self._connect_to(session, address, ip, limit / len(hosts))
            except (CancelledError, *FINAL_ERRORS):
                raise
            except Exception as error:  # noqa: BLE001, an endpoint may fail with anything
                failure = readable_tls_error(error)
                # Some endpoints report a cancellation as an error of their own.  Then the client
                # was closed, and the other addresses must not be tried.
                if session.over:
                    break
        assert failure is not None  # resolve() fails rather than return nothing
        raise failure

    async def _connect_to(
        self, session: Session, address: Address, ip: str, limit: float
    ) -> Connection:
        settings = self._settings
        target = endpoint(self._reactor, address, ip, limit, settings.tls)
        request = session.connect_request(settings.read_only)
        exchange = handshake(target, request, settings.max_reply, settings.clock)
        result = await _within(self._reactor, limit, Deferred.fromCoroutine(exchange))
        connection = self._accept(session, result)
        try:
            await prepare(
                connection,
                settings.sasl,
                self._credentials,
                self._watches.table,
                session.last_zxid,
            )
        except BaseException:
            connection.abort()
            raise
        return connection

    def _accept(self, session: Session, result: HandshakeResult) -> Connection:
        try:
            session.accepted(result.response, self._reactor.seconds())
        except ZooKeeperError:
            result.protocol.abort()
            raise
        self._counters.connections += 1
        return Connection(
            self._reactor,
            result.protocol,
            session.timeout,
            self._counters,
            Silence(self._settings.clock, result.sent_at),
            read_only=bool(result.response.read_only),
        )


async def _within(reactor: Any, seconds: float, deferred: Deferred[Any]) -> Any:
    def too_late(seconds: float) -> ConnectTimeoutError:
        return ConnectTimeoutError(None, f"no reply within {seconds:.1f} s")

    return await time_limit(deferred, seconds, reactor, too_late)
