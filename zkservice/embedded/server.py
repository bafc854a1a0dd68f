"""The server: a `ServerState` with a clock that ticks, and the connections of its clients."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import floor, inf
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.logger import Logger

from zkservice.deferreds import Alarm, Waiters
from zkservice.embedded.connection import Connection
from zkservice.embedded.four_letter_words import FourLetterWords
from zkservice.embedded.protocol import ServerProtocol, ZooKeeperFactory
from zkservice.embedded.requests import RequestProcessor
from zkservice.embedded.server_state import NodeView, ServerState, first_zxid
from zkservice.embedded.settings import ServerSettings
from zkservice.embedded.store import Store
from zkservice.errors import DataDirectoryError

#: Bytes of unsent replies to one client at which its other requests have to wait.
MAX_BUFFERED_REPLIES: Final = 1 << 20
#: Seconds between two log lines about changes that cannot be saved.
_LOG_INTERVAL: Final = 60.0


@dataclass(frozen=True)
class Statistics:
    """Counts of what a server has and has done."""

    connections: int  #: open connections
    sessions: int  #: live sessions
    nodes: int  #: znodes, with those below ``/zookeeper``
    ephemerals: int  #: ephemeral znodes
    watches: int  #: watches of all connections
    zxid: int  #: the number of the last transaction
    received: int  #: requests since the start
    sent: int  #: replies since the start


class Ticker:
    """Calls a function at every tick of the clock.

    Args:
        clock: tells the time.
        tick: seconds.  Ticks are multiples of it, so that they match the sessions' buckets.
        on_tick: the function.
    """

    def __init__(self, clock: IReactorTime, tick: float, on_tick: Callable[[], object]) -> None:
        self._clock = clock
        self._tick = tick
        self._on_tick = on_tick
        self._alarm = Alarm(clock, self._alarm_fired)
        self._due = inf  # when it should be called, by the clock; inf: it is never late

    def start(self) -> None:
        """Call the function at the next tick, and at each tick after it."""
        now = self._clock.seconds()
        self._due = (floor(now / self._tick) + 1) * self._tick
        self._alarm.set(max(0.0, self._due - now))

    def start_soon(self) -> None:
        """Call the function once the reactor has read what clients sent, then at each tick."""
        self._due = inf
        self._alarm.set(0)

    def stop(self) -> None:
        """Stop calling it."""
        self._alarm.cancel()

    def _alarm_fired(self) -> None:
        if self._clock.seconds() - self._due >= self._tick:
            # This process was suspended, or busy.  What clients sent in the meantime is not
            # read yet, so no session may expire: the reactor reads before the next timed call.
            return self.start_soon()
        self.start()  # first, so that an error below does not stop the ticks
        self._on_tick()


class OpenConnections:
    """The protocols whose transports are not closed yet."""

    def __init__(self) -> None:
        self.accepted: dict[ServerProtocol, Connection] = {}
        self.refused: dict[ServerProtocol, None] = {}
        self._closed: Waiters[None] = Waiters()

    def count_from(self, host: str) -> int:
        """The number of accepted connections from an address."""
        return sum(one.host == host for one in self.accepted.values())

    def discard(self, protocol: ServerProtocol) -> None:
        """Forget a protocol whose transport is closed."""
        self.refused.pop(protocol, None)
        self.accepted.pop(protocol, None)
        if not self.accepted and not self.refused:
            self._closed.fire(None)

    def abort(self) -> Deferred[None]:
        """Abort all of them; fires when the last one is closed."""
        if not self.accepted and not self.refused:
            return succeed(None)
        closed = self._closed.add()
        for connection in self.accepted.values():
            connection.closing = True  # its protocol ignores whatever still arrives
        for protocol in [*self.accepted, *self.refused]:
            protocol.abort()
        return closed

    def abort_idle(self, before: float) -> None:
        """Abort connections made before a time that have no session, or are closing already.

        A connection that is closing stays open while its client does not read the last bytes.
        """
        for protocol, connection in list(self.accepted.items()):
            may_abort = connection.session is None or connection.closing
            if may_abort and connection.connected_at <= before:
                protocol.abort()


class SaveFailureLog:
    """Logs that changes cannot be saved: at once, then once a minute, and when it is over.

    Args:
        now: tells the time in seconds.
    """

    log = Logger()

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._logged_at: float | None = None

    def failed(self) -> None:
        """The exception that is being handled has kept a change from being saved."""
        now = self._now()
        if self._logged_at is not None and now - self._logged_at < _LOG_INTERVAL:
            return
        self._logged_at = now
        error = sys.exc_info()[1]
        if isinstance(error, DataDirectoryError):
            self.log.critical("dropping all clients: {error}", error=error)
        else:
            self.log.failure("dropping all clients: the data cannot be saved")

    def saved(self) -> None:
        """A change was saved."""
        if self._logged_at is not None:
            self._logged_at = None
            self.log.info("changes can be saved again")


class _Running(NamedTuple):
    """The parts of a server that exist from its start to its stop."""

    state: ServerState
    requests: RequestProcessor
    words: FourLetterWords
    store: Store | None
    failures: SaveFailureLog


class ZooKeeperServer:
    """A ZooKeeper of one node, in this process.

    It opens no port: pass ``factory`` to any Twisted server endpoint.  It cannot be part of an
    ensemble: when the process ends, ZooKeeper is unavailable.

    Args:
        reactor: tells the time, and makes delayed calls.
        tick_time: seconds; sessions expire in (time-out, time-out + tick], and clients get
            time-outs from 2 to 20 ticks.
        data_dir: where the tree and the sessions are kept; None keeps them in memory.
        secret: the key of session passwords; by default 16 random bytes.
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
        self._data_dir = data_dir
        self._running: _Running | None = None
        self._connections = OpenConnections()
        self._ticker = Ticker(reactor, tick_time, self._on_tick)
        self._next_reap = inf  # seconds on the reactor's clock
        self._save_alarm = Alarm(reactor, self._save_and_flush)
        self._paused = False
        #: Whether new connections are closed at once, as a full server does.
        self.refuse = False
        #: Whether silent sessions expire; an ensemble without a quorum expires none.
        self.expires_sessions = True

    @property
    def state(self) -> ServerState:
        """The tree, the sessions and the watches, for tests of the server itself."""
        return self._started_parts.state

    @property
    def _started_parts(self) -> _Running:
        assert self._running is not None, "the server was not started"
        return self._running

    # -- starting and stopping

    def start(self) -> None:
        """Begin to serve and to tick.

        Raises:
            DataDirectoryError: the data directory cannot be used.
        """
        if self._running is not None:
            return
        state, store = self._make_state()
        data_dir = None if self._data_dir is None else os.fspath(self._data_dir)
        requests, words = RequestProcessor(state, os.urandom), FourLetterWords(state, data_dir)
        self._running = _Running(
            state, requests, words, store, SaveFailureLog(self._reactor.seconds)
        )
        self._next_reap = self._reactor.seconds() + self.settings.reap_interval
        self._ticker.start()

    def _make_state(self) -> tuple[ServerState, Store | None]:
        now = self._reactor.seconds
        if self._data_dir is None:
            return ServerState(self.settings, now, self._secret), None
        store = Store(self._data_dir, self._secret, first_zxid(now()))
        try:
            return ServerState(self.settings, now, store.secret, store), store
        except BaseException:
            store.close()
            raise

    def stop(self) -> Deferred[None]:
        """Save, close all connections and stop; fires when the last connection is closed.

        Sessions are not ended: with a data directory they can be resumed after a start.
        """
        if self._running is not None:
            self._save()
        return self.crash()

    def crash(self) -> Deferred[None]:
        """Stop like ``kill -9``: what is not saved yet is lost.  Fires as `stop` does."""
        self._ticker.stop()
        self._save_alarm.cancel()
        running, self._running = self._running, None
        if running is not None and running.store is not None:
            running.store.close()
        return self._connections.abort()

    def _on_tick(self) -> None:
        state, now = self.state, self._reactor.seconds()
        if self.expires_sessions:
            state.expire_sessions()
        if now >= self._next_reap:
            state.reap()
            self._next_reap = now + self.settings.reap_interval
        self.flush()
        self._connections.abort_idle(now - self.settings.handshake_timeout)

    # -- ConnectionHost, called by the protocols

    def connected(self, protocol: ServerProtocol, host: str, port: int) -> Connection | None:
        """Make the connection of a new client; returns None if the client is refused."""
        running, open_connections = self._running, self._connections
        if running is None or self.refuse or self._is_full(host):
            open_connections.refused[protocol] = None
            protocol.close()
            return None
        connection = running.state.connect(protocol, host, port)
        open_connections.accepted[protocol] = connection
        if self._paused:
            protocol.host_paused_or_resumed()
        return connection

    def _is_full(self, host: str) -> bool:
        limit = self.settings.max_connections
        return limit > 0 and self._connections.count_from(host) >= limit

    def disconnected(self, protocol: ServerProtocol, connection: Connection | None) -> None:
        """Forget a connection that is closed; its session continues."""
        if self._running is not None and connection is not None:
            self._running.state.disconnect(connection)
        self._connections.discard(protocol)

    def received(self, connection: Connection, frames: Iterator[bytes]) -> bool:
        """Serve frames that arrived together; their replies are sent together.

        Returns:
            False if the rest of the frames should wait, because many replies are unsent.
        """
        running = self._running
        assert running is not None
        state, serve = running.state, running.requests.serve
        count, began, all_served = 0, state.now(), True
        for frame in frames:
            count += 1
            if connection.session is not None:
                serve(connection, frame)
            else:
                state.handle_connect_request(connection, frame)
            if connection.closing:
                break
            if len(connection.out) > MAX_BUFFERED_REPLIES:
                all_served = False
                break
        if count:
            state.touch(connection)
            connection.stats.record(count, began, state.now())
        self.flush()
        return all_served

    def client_is_alive(self, connection: Connection) -> None:
        """Restart the time-out of a connection's session."""
        if self._running is not None:
            self._running.state.touch(connection)

    def four_letter_word(self, connection: Connection, word: bytes) -> bool:
        """Reply to a four-letter word; returns False if the bytes are not a known word."""
        text = self._started_parts.words.answer(word, connection)
        if text is None:
            return False
        connection.out += text
        connection.close()
        self.flush()
        return True

    def flush(self) -> None:
        """Send the unsent bytes of all connections; after a change, only once it is saved.

        The changes of all clients are saved together, at the end of the reactor's turn.
        """
        running = self._running
        assert running is not None
        if running.state.saved:
            running.state.flush()
        elif not self._save_alarm.is_set:
            self._save_alarm.set(0)

    def _save_and_flush(self) -> None:
        self._save()
        self.state.flush()
        for protocol in list(self._connections.accepted):
            protocol.resume_backlog()

    def _save(self) -> None:
        running = self._started_parts
        try:
            running.state.save()
        except Exception:  # noqa: BLE001 - otherwise all clients would wait for ever
            # A write must not be acknowledged before it is saved.  A client that is dropped
            # without a reply treats the outcome as unknown.
            running.failures.failed()
            running.state.drop_all()
        else:
            running.failures.saved()

    # -- faults, for tests

    def expire(self, session_id: int) -> bool:
        """Expire a session as if its client had been silent; False if it does not exist."""
        session = self.state.sessions.get(session_id)
        if session is None:
            return False
        self.state.expire_session(session)
        self.flush()
        return True

    def drop(self, session_id: int) -> bool:
        """Abort a session's connection, as if the network failed; False if it has none."""
        for protocol, connection in self._connections.accepted.items():
            if connection.session is not None and connection.session.id == session_id:
                protocol.abort()
                return True
        return False

    @property
    def paused(self) -> bool:
        """Whether the server is paused.  Then it reads nothing, and no session expires."""
        return self._paused

    def pause(self) -> None:
        """Act like a suspended process: connections stay open, but nothing is read."""
        self._set_paused(True)

    def resume(self) -> None:
        """Continue: first read what clients sent, then expire sessions that are overdue."""
        self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        if paused == self._paused:
            return
        self._paused = paused
        for protocol in self._connections.accepted:
            protocol.host_paused_or_resumed()
        self._ticker.stop()
        if not paused:
            self._ticker.start_soon()

    @property
    def read_only(self) -> bool:
        """Whether it is a read-only server.  Changing it drops all clients."""
        return self.state.read_only

    @read_only.setter
    def read_only(self, value: bool) -> None:
        self.state.read_only = value
        self.flush()

    def reap(self) -> None:
        """Delete empty containers and expired TTL nodes now, not at the next interval."""
        self.state.reap()
        self.flush()

    def lose_data(self, zxid: int) -> None:
        """Go back to a transaction number, like a server whose disk was replaced.

        A server drops clients that have seen a later transaction than its own last one.
        """
        self.state.zxid = zxid

    def unimplement(self, opcode: int) -> None:
        """Reply to an operation like an older release that does not implement it."""
        self._started_parts.requests.unimplement(opcode)

    # -- inspection, for tests and reports

    def node(self, path: str) -> NodeView | None:
        """A znode as it is now; None if it does not exist."""
        return self.state.view(path)

    def tree(self) -> dict[str, bytes | None]:
        """All paths and their data, except ZooKeeper's own below ``/zookeeper``."""
        return {
            path: node.data
            for path, node in sorted(self.state.tree.nodes.items())
            if path and path != "/zookeeper" and not path.startswith("/zookeeper/")
        }

    def sessions(self) -> list[int]:
        """The ids of the sessions that are alive."""
        return [session.id for session in self.state.sessions]

    def statistics(self) -> Statistics:
        """Counts of what the server has, and of what it did since the start."""
        state = self.state
        stats = state.total_stats()
        return Statistics(
            connections=len(state.connections),
            sessions=len(state.sessions),
            nodes=len(state.tree),
            ephemerals=sum(map(len, state.tree.ephemerals.values())),
            watches=len(state.watches),
            zxid=state.zxid,
            received=stats.received,
            sent=stats.sent,
        )
