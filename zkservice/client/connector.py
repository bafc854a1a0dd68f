"""One attempt to connect a session to one server."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from zkservice.client.connection import Connection
from zkservice.client.counters import Counters
from zkservice.client.handshake import Welcome, endpoint, shake_hands
from zkservice.client.hosts import mixed, resolve
from zkservice.client.session import Session
from zkservice.client.session_setup import Identities, prepare
from zkservice.client.settings import Settings
from zkservice.client.silence import Silence
from zkservice.client.tls import in_words
from zkservice.client.watching import Watches
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

#: What no other server would answer differently.
FINAL_ERRORS = (
    SessionExpiredError,
    AuthFailedError,
    SaslError,
    SessionClosedRequireSaslAuthError,
)


class Connector:
    """Knows how to make a connection that is ready for requests."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        identities: Identities,
        watches: Watches,
        counters: Counters,
        random: Random,
    ) -> None:
        self._random = random
        self._reactor = reactor
        self._settings = settings
        self._identities = identities
        self._watches = watches
        self._counters = counters

    async def connect(self, session: Session, address: Address) -> Connection:
        """Try all addresses of a server, one after the other.

        Raises:
            SessionExpiredError: a server says so of a session that there was.
            AuthFailedError: a server refuses us.
            SessionClosedRequireSaslAuthError: likewise, for want of an identity.
            SaslError: SASL cannot work with this server.
            Exception: no address works; it is the failure of the last one.
        """
        limit = self._settings.attempt_timeout
        hosts = await _within(self._reactor, limit, resolve(self._reactor, address.host))
        failure: Exception | None = None
        for ip in mixed(hosts, self._random if self._settings.shuffle else None):
            try:
                return await self._connect_to(session, address, ip, limit / len(hosts))
            except (CancelledError, *FINAL_ERRORS):
                raise
            except Exception as error:  # noqa: BLE001, an endpoint may fail with anything
                failure = in_words(error)
                if session.over:  # we were cancelled, which an endpoint calls by another name
                    break
        assert failure is not None  # resolve() fails rather than answer nothing
        raise failure

    async def _connect_to(
        self, session: Session, address: Address, ip: str, limit: float
    ) -> Connection:
        settings = self._settings
        where = endpoint(self._reactor, address, ip, limit, settings.tls)
        welcome = await _within(
            self._reactor,
            limit,
            Deferred.fromCoroutine(
                shake_hands(
                    where, session.hello(settings.read_only), settings.max_reply, settings.clock
                )
            ),
        )
        connection = self._accept(session, welcome)
        try:
            await prepare(
                connection,
                settings.sasl,
                self._identities,
                self._watches.table,
                session.last_zxid,
            )
        except BaseException:
            connection.abort()
            raise
        return connection

    def _accept(self, session: Session, welcome: Welcome) -> Connection:
        try:
            session.accepted(welcome.response, self._reactor.seconds())
        except ZooKeeperError:
            welcome.protocol.abort()
            raise
        self._counters.connections += 1
        return Connection(
            self._reactor,
            welcome.protocol,
            session.timeout,
            self._counters,
            Silence(self._settings.clock, welcome.asked),
            read_only=bool(welcome.response.read_only),
        )


async def _within(reactor: Any, seconds: float, deferred: Deferred[Any]) -> Any:
    def too_late(seconds: float) -> ConnectTimeoutError:
        return ConnectTimeoutError(None, f"no answer within {seconds:.1f} s")

    return await time_limit(deferred, seconds, reactor, too_late)
