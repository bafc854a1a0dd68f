"""The server: a `ServerState` with a clock that ticks, and a factory for its connections."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import floor
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from typing_extensions import override

from zkservice.embedded.connection import Connection
from zkservice.embedded.four_letter_words import FourLetterWords
from zkservice.embedded.protocol import ServerProtocol
from zkservice.embedded.requests import RequestProcessor
from zkservice.embedded.server_state import ServerState, first_zxid
from zkservice.embedded.settings import ServerSettings
from zkservice.embedded.store import Store
from zkservice.errors import DataDirectoryError

#: Bytes of replies to one client before other requests of it have to wait.
ENOUGH: Final = 1 << 20


@dataclass(frozen=True)
class Statistics:
    """How a server is doing."""

    connections: int
    sessions: int
    nodes: int
    ephemerals: int
    watches: int
    zxid: int
    #: Requests that came and replies that went, since the start.
    received: int
    sent: int


class ZooKeeperServer:
    """A ZooKeeper of one node, in this process.

    It opens no port: hand `factory` to any Twisted server endpoint.  One node in one
    process is no ensemble: when the process is gone, so is the service.

    Args:
        reactor: for the time, and delayed calls.
        tick_time: seconds; sessions expire in (time-out, time-out + tick], and clients get
            time-outs from 2 to 20 ticks.
        data_dir: where the tree and the sessions are kept; None keeps them in memory.
        secret: session passwords are made from it; by default 16 random bytes.
        options: the fields of `ServerSettings`.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        tick_time: float = 2.0,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        secret: bytes | None = None,
        **options: Any,
    ) -> None:
        self.settings = ServerSettings(tick_time=tick_time, **options)
        self.factory: IProtocolFactory = ZooKeeperFactory(self)
        self._reactor = reactor
        self._secret = os.urandom(16) if secret is None else secret
        self._protocols: dict[ServerProtocol, Connection] = {}
        self._refused: set[ServerProtocol] = set()
        self._data_dir = data_dir
        self._store: Store | None = None
        self._state: ServerState | None = None
        self._saving: IDelayedCall | None = None
        self._tick: IDelayedCall | None = None
        self._stopped: list[Deferred[None]] = []
        self._paused = False
        #: Whether callers are hung up on, as if the server was full.
        self.refuse = False

    @property
    def state(self) -> ServerState:
        """The server's state, for inspection."""
        assert self._state is not None, "the server was not started"
        return self._state

    # -- life

    def start(self) -> None:
        """Begin to serve and to tick.

        Raises:
            DataDirectoryError: the data directory cannot be used.
        """
        if self._state is not None:
            return
        self._state = self._make_state()
        self._requests = RequestProcessor(self._state, os.urandom)
        where = None if self._data_dir is None else os.fspath(self._data_dir)
        self._words = FourLetterWords(self._state, where)
        self._next_reap = self._reactor.seconds() + self.settings.reap_interval
        self._schedule_tick()

    def _make_state(self) -> ServerState:
        now = self._reactor.seconds
        if self._data_dir is None:
            return ServerState(self.settings, now, self._secret)
        store = Store(self._data_dir, self._secret, first_zxid(now()))
        try:
            state = ServerState(self.settings, now, store.secret, store)
        except BaseException:
            store.close()
            raise
        self._store = store
        return state

    def stop(self) -> Deferred[None]:
        """Hang up on everybody and stop; fires when the last connection is gone.

        Sessions are not ended: with a data directory they can be taken up again.
        """
        self._stop_ticking()
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        if self._state is not None:
            self._save()
            self._state = None
        if self._store is not None:
            self._store.close()
            self._store = None
        if not self._protocols and not self._refused:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        for connection in self._protocols.values():
            connection.closing = True  # whatever still comes is not for us
        for protocol in [*self._protocols, *self._refused]:
            protocol.abort()
        return stopped

    def _stop_ticking(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _schedule_tick(self) -> None:
        now, tick = self._reactor.seconds(), self.settings.tick_time
        due = (floor(now / tick) + 1) * tick
        self._tick = self._reactor.callLater(max(0.0, due - now), self._ticked, due)

    def _ticked(self, due: float) -> None:
        if self._reactor.seconds() - due >= self.settings.tick_time:
            # This process was stopped, or busy.  What clients sent in the meantime is
            # still to be read: the reactor reads before it comes back to us.
            self._tick = self._reactor.callLater(0, self._keep_time)
        else:
            self._keep_time()

    def _keep_time(self) -> None:
        # First: whatever happens below, time goes on.
        self._schedule_tick()
        state = self.state
        state.expire()
        now = self._reactor.seconds()
        if now >= self._next_reap:
            state.reap()
            self._next_reap = now + self.settings.reap_interval
        self.flush()
        for protocol, connection in list(self._protocols.items()):
            # One that is closing may have a peer that does not read the last of it.
            useless = connection.session is None or connection.closing
            if useless and now - connection.since >= self.settings.handshake_timeout:
                protocol.abort()

    # -- connections, called by their protocols

    def connected(self, protocol: ServerProtocol, host: str, port: int) -> Connection | None:
        """Somebody called; None if we hang up at once."""
        state = self._state
        if state is None or self.refuse or self._is_full(host):
            self._refused.add(protocol)
            protocol.close()
            return None
        connection = self._protocols[protocol] = state.connect(protocol, host, port)
        if self._paused:
            protocol.server_paused()
        return connection

    def _is_full(self, host: str) -> bool:
        limit = self.settings.max_connections
        if not limit:
            return False
        return sum(one.host == host for one in self._protocols.values()) >= limit

    def received(self, connection: Connection, frames: Iterator[bytes]) -> bool:
        """Frames came; all their replies leave together.

        Returns:
            False if there is so much to send that the rest of the frames should wait.
        """
        state, serve = self.state, self._requests.serve
        count, began, done = 0, state.now(), True
        for frame in frames:
            count += 1
            if connection.session is not None:
                serve(connection, frame)
            else:
                state.greet(connection, frame)
            if connection.closing:
                break
            if len(connection.out) > ENOUGH:
                done = False
                break
        if count:
            state.heard_of(connection)
            connection.traffic.took(count, began, state.now())
        self.flush()
        return done

    def heard_of(self, connection: Connection) -> None:
        """A connection's client is alive."""
        if self._state is not None:
            self._state.heard_of(connection)

    def say(self, connection: Connection, word: bytes) -> bool:
        """Answer a four-letter word; False if it is none."""
        text = self._words.answer(word, connection)
        if text is None:
            return False
        connection.out += text
        connection.close()
        self.flush()
        return True

    def flush(self) -> None:
        """Send what is to be sent; what must be saved first goes with the rest of this turn."""
        if self._saving is not None:
            return
        if self.state.saved:
            self.state.flush()
        else:
            self._saving = self._reactor.callLater(0, self._save_and_flush)

    def _save_and_flush(self) -> None:
        self._saving = None
        self._save()
        self.state.flush()
        for protocol in list(self._protocols):
            protocol.go_on()

    def _save(self) -> None:
        try:
            self.state.save()
        except DataDirectoryError as error:
            # What cannot be promised is not said: clients learn that they know nothing.
            self.log.critical("hanging up on all clients: {error}", error=error)
            self.state.hang_up_all()
        except Exception:  # noqa: BLE001 - otherwise all would wait for ever
            self.log.failure("hanging up on all clients: the data cannot be saved")
            self.state.hang_up_all()

    def lost(self, protocol: ServerProtocol, connection: Connection | None) -> None:
        """A connection is gone; its session lives on."""
        self._refused.discard(protocol)
        self._protocols.pop(protocol, None)
        if self._state is not None and connection is not None:
            self._state.disconnect(connection)
        if not self._protocols and not self._refused:
            waiting, self._stopped = self._stopped, []
            for stopped in waiting:
                stopped.callback(None)

    # -- what tests do to a server

    def expire(self, session_id: int) -> bool:
        """End a session as if it had not been heard of; False if there is none."""
        session = self.state.sessions.get(session_id)
        if session is None:
            return False
        self.state.expire_session(session)
        self.flush()
        return True

    def drop(self, session_id: int) -> bool:
        """Break a session's connection, as networks do; False if it has none."""
        for protocol, connection in self._protocols.items():
            if connection.session is not None and connection.session.id == session_id:
                protocol.abort()
                return True
        return False

    @property
    def paused(self) -> bool:
        """Whether the server only listens: nothing is read, no session expires."""
        return self._paused

    def pause(self) -> None:
        """Freeze, as a stopped process does: connections stay, nothing is answered."""
        self._set_paused(True)

    def resume(self) -> None:
        """Go on: first read what clients sent, then expire who is too late."""
        self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        if paused == self._paused:
            return
        self._paused = paused
        for protocol in self._protocols:
            protocol.server_paused()
        self._stop_ticking()
        if not paused:
            self._ticked(float("-inf"))

    @property
    def read_only(self) -> bool:
        """Whether it is a read-only server; to change it hangs up on everybody."""
        return self.state.read_only

    @read_only.setter
    def read_only(self, value: bool) -> None:
        self.state.read_only = value
        self.flush()

    def reap(self) -> None:
        """Delete containers and TTL nodes that are over now, instead of by and by."""
        self.state.reap()
        self.flush()

    def statistics(self) -> Statistics:
        """How it is doing."""
        state = self.state
        traffic = [connection.traffic for connection in state.connections]
        return Statistics(
            connections=len(state.connections),
            sessions=len(state.sessions),
            nodes=len(state.tree),
            ephemerals=sum(map(len, state.tree.ephemerals.values())),
            watches=len(state.watches),
            zxid=state.zxid,
            received=state.gone.received + sum(one.received for one in traffic),
            sent=state.gone.sent + sum(one.sent for one in traffic),
        )


class ZooKeeperFactory(Factory):
    """Protocols for a server, for as many ports as it is given to."""

    noisy = False

    def __init__(self, server: ZooKeeperServer) -> None:
        self._server = server

    @override
    def buildProtocol(self, addr: IAddress | None) -> ServerProtocol:
        return ServerProtocol(self._server)
