"""The server's state: its tree, sessions, watches and connections, and their lives.

Everything happens at once and in one order: a change is applied, watches are told, the
reply is written; nothing leaves before `flush`.  So a client never sees a reply that
reveals a change before the event that tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from twisted.logger import Logger

from zkservice.embedded.access import ConnectionIdentities
from zkservice.embedded.connection import Connection, Link, RequestStats
from zkservice.embedded.nodes import Tree
from zkservice.embedded.sessions import PASSWORD_LENGTH, Session, SessionTracker, first_session_id
from zkservice.embedded.settings import ServerSettings
from zkservice.embedded.store import Store
from zkservice.embedded.transaction import NodeEvent, Rules, Transaction
from zkservice.embedded.watches import ExclusiveWatches, ServerWatches
from zkservice.errors import NotReadOnlyError, ProtocolError
from zkservice.wire.acl import Permission
from zkservice.wire.jute import decode, encode
from zkservice.wire.records import ConnectRequest, ConnectResponse, WatcherEvent
from zkservice.wire.watches import EventType, KeeperState

_NOBODY: Final = bytes(PASSWORD_LENGTH)

T = TypeVar("T")


class ServerState:
    """One server, without a socket.

    Args:
        settings: the choices.
        now: answers seconds since 1970; all time-outs and time stamps come from it.
        secret: session passwords are made from it.
        store: where the tree and the sessions are kept; None keeps them in memory.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ServerSettings,
        now: Callable[[], float],
        secret: bytes,
        store: Store | None = None,
    ) -> None:
        self.settings = settings
        self.now = now
        self.tree = Tree()
        self.sessions = SessionTracker(settings.tick_time, first_session_id(now()), secret)
        self.watches = ExclusiveWatches() if settings.watch_semantics == "3.8" else ServerWatches()
        self.connections: dict[Connection, None] = {}
        #: The last transaction's number.
        self.zxid = first_zxid(now())
        schemes = frozenset(("world", "digest", "ip"))
        if settings.sasl_users is not None:
            schemes |= {"sasl"}
        self.rules = Rules(schemes, settings.enforce_quota)
        #: What connections did that are gone.
        self.gone = RequestStats()
        self._waiting: dict[Connection, None] = {}
        self._read_only = False
        self._store = store
        self._saved_zxid = self.zxid
        self._touched: dict[str, bool] = {}
        self._changed_sessions: dict[int, Session | None] = {}
        if store is not None:
            self._load(store)

    # -- connections

    def connect(self, link: Link, host: str, port: int) -> Connection:
        """Somebody called."""
        identities = ConnectionIdentities(host, self.settings.super_digest)
        connection = Connection(link, host, port, self.now(), identities, self._waiting)
        self.connections[connection] = None
        return connection

    def disconnect(self, connection: Connection) -> None:
        """The connection is gone; its session lives on."""
        self._leave(connection)
        if connection in self.connections:
            del self.connections[connection]
            self.gone.add(connection.traffic)
        self._waiting.pop(connection, None)

    def flush(self) -> None:
        """Send all that is to be sent; with a store only what is `saved`."""
        waiting = self._waiting
        while waiting:
            connection, _ = waiting.popitem()
            connection.flush()

    def greet(self, connection: Connection, frame: bytes) -> None:
        """Answer a connection's first frame (ZooKeeperServer.processConnectRequest).

        A refusal is a hang-up without a word, but for a session that is no more.
        """
        try:
            request = decode(ConnectRequest, frame)
        except ProtocolError:
            return connection.close()
        if self._read_only and not request.read_only:
            return connection.close()
        if request.last_zxid_seen > self.zxid:
            return connection.close()
        timeout = self.settings.negotiated(request.timeout)
        if request.session_id:
            session = self._reattach(request.session_id, request.password, timeout)
        else:
            session = self._new_session(timeout)
        flag = None if request.read_only is None else self._read_only
        if session is None:
            connection.send(encode(ConnectResponse(0, 0, 0, _NOBODY, flag)))
            return connection.close()
        session.connection, connection.session = connection, session
        connection.send(
            encode(
                ConnectResponse(
                    0,
                    round(timeout * 1000),
                    session.id,
                    self.sessions.password(session.id),
                    flag,
                )
            )
        )

    def _new_session(self, timeout: float) -> Session:
        session = self.sessions.create(timeout, self.now(), passing=self._read_only)
        if not session.passing:
            self.zxid += 1
            self._note_session(session.id, session)
        return session

    def _reattach(self, session_id: int, password: bytes | None, timeout: float) -> Session | None:
        session = self.sessions.get(session_id)
        if session is None:
            return None
        if session.connection is not None:  # hung up on even if the password is wrong
            self.hang_up(session.connection)
        if not self.sessions.admits(session_id, password):
            return None
        if session.timeout != timeout:
            session.timeout = timeout
            self._note_session(session.id, session)
        self.sessions.renew(session, self.now())
        return session

    def hang_up(self, connection: Connection) -> None:
        """Close a connection; what it asked for last may stay unanswered."""
        self._leave(connection)
        connection.out.clear()
        connection.close()

    def hang_up_all(self) -> None:
        """Close all connections."""
        for connection in self.connections:
            self.hang_up(connection)

    def _leave(self, connection: Connection) -> None:
        self.watches.forget(connection)
        session, connection.session = connection.session, None
        if session is not None:
            session.connection = None

    # -- sessions

    def heard_of(self, connection: Connection) -> None:
        """A connection sent something: its session's time-out begins anew."""
        if connection.session is not None:
            self.sessions.renew(connection.session, self.now())

    def expire(self) -> None:
        """End the sessions that were not heard of for too long."""
        if self._read_only:  # expiring is a write
            return
        self._each(self.expire_session, self.sessions.due(self.now()))

    def expire_session(self, session: Session) -> None:
        """End a session; its client is told nothing but the end of the connection."""
        if session.connection is not None:
            self.hang_up(session.connection)
        self.end_session(session)

    def end_session(self, session: Session) -> None:
        """Forget a session and delete its ephemeral nodes, in one transaction."""
        self.sessions.remove(session)
        if session.passing:
            return
        self._note_session(session.id, None)
        transaction = self._transaction(ConnectionIdentities(""), session.id)
        self._each(transaction.remove, self.tree.ephemerals_of(session.id))
        self.commit(transaction)

    # -- changes

    def begin(self, connection: Connection) -> Transaction:
        """Begin a change; it takes a number even if it fails.

        Raises:
            NotReadOnlyError: the server is read-only; no number is taken.
        """
        if self._read_only:
            raise NotReadOnlyError
        session = connection.session
        return self._transaction(connection.identities, session.id if session else 0)

    def _transaction(self, identities: ConnectionIdentities, session_id: int) -> Transaction:
        self.zxid += 1
        time = int(self.now() * 1000)
        return Transaction(self.tree, self.zxid, time, identities, session_id, self.rules)

    def commit(self, transaction: Transaction) -> None:
        """The change stands: tell those who watch."""
        if self._store is not None:
            for path, whole in transaction.touched.items():
                self._touched[path] = whole or self._touched.get(path, False)
        self._each(lambda event: self._tell(transaction.zxid, event), transaction.events)

    def _tell(self, zxid: int, event: NodeEvent) -> None:
        watchers = self.watches.fire(event.type, event.path)
        if not watchers:
            return
        told = encoded_event(event.type, event.path)
        zxid = self.watches.event_zxid(zxid)
        for connection in watchers:
            if connection.identities.may(event.acl, Permission.READ):
                connection.notify(zxid, told)

    def reap(self) -> None:
        """Delete containers and TTL nodes that are over, each in its own transaction."""
        if self._read_only:
            return
        self._each(self._reap, self.tree.reapable(int(self.now() * 1000)))

    def _reap(self, path: str) -> None:
        transaction = self._transaction(ConnectionIdentities(""), 0)
        transaction.remove(path)
        self.commit(transaction)

    def _each(self, clean_up: Callable[[T], object], things: Iterable[T]) -> None:
        """Clean up each of them, whatever happens to one: the others must not stay for it."""
        for thing in things:
            try:
                clean_up(thing)
            except Exception:  # noqa: BLE001 - it is logged, and the next one is as important
                self._log.failure("cleaning up {thing} failed", thing=thing)

    # -- the store

    def _load(self, store: Store) -> None:
        for session in store.load(self.tree):  # from now on they have their time-out again
            self.sessions.add(session, self.now())
        # Whatever the clock says: an id that was used is never used again.
        self.sessions.next_id = max(self.sessions.next_id, store.next_session_id)
        self.zxid = self._saved_zxid = store.zxid

    def _note_session(self, session_id: int, session: Session | None) -> None:
        if self._store is not None:
            self._changed_sessions[session_id] = session

    @property
    def saved(self) -> bool:
        """Whether the store has all that happened."""
        if self._store is None:
            return True
        return self._saved_zxid == self.zxid and not self._changed_sessions

    def save(self) -> None:
        """Bring what happened to the store.

        Raises:
            DataDirectoryError: it is not there, so nobody may hear of it; try again.
        """
        if self._store is None or self.saved:
            return
        self._store.save(
            self.zxid, self.sessions.next_id, self.tree, self._touched, self._changed_sessions
        )
        self._saved_zxid = self.zxid
        self._touched.clear()
        self._changed_sessions.clear()

    # -- read-only mode

    @property
    def read_only(self) -> bool:
        """Whether this is a server that lost its ensemble, as far as clients can see.

        Changing it hangs up on everybody; when it ends, all time-outs begin anew.
        """
        return self._read_only

    @read_only.setter
    def read_only(self, value: bool) -> None:
        if value == self._read_only:
            return
        self._read_only = value
        self.hang_up_all()
        for session in [session for session in self.sessions if session.passing]:
            self.sessions.remove(session)
        self.sessions.renew_all(self.now())


def first_zxid(now: float) -> int:
    """Where a server begins that knows of no other: with the time, seconds in the epoch's place.

    Clients who saw an earlier server in memory saw no later transaction than this, even
    if it was a moment ago, so they are let in, and told that their sessions are over.
    """
    return int(now * (1 << 32))


def encoded_event(type: EventType, path: str) -> bytes:
    """The body of a notification."""
    return encode(WatcherEvent(type, KeeperState.SYNC_CONNECTED, path))
