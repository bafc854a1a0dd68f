"""The server's state: its tree, sessions, watches and connections, without socket or timer.

Everything happens in one order: a change is applied, its watch events are queued, then its
reply; nothing is sent before `ServerState.flush`.  So a client never gets a reply that
reveals a change before the event of that change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeVar

from twisted.logger import Logger

from zkservice.embedded.access import ConnectionIdentities
from zkservice.embedded.connection import Connection, ConnectionTransport, RequestStats, Session
from zkservice.embedded.nodes import Tree
from zkservice.embedded.sessions import PASSWORD_LENGTH, SessionTracker, first_session_id
from zkservice.embedded.settings import ServerSettings
from zkservice.embedded.store import Store, UnsavedChanges
from zkservice.embedded.transaction import NodeEvent, Rules, Transaction
from zkservice.embedded.watches import ExclusiveWatches, ServerWatches
from zkservice.errors import NotReadOnlyError, ProtocolError
from zkservice.wire.acl import ACL, Permission
from zkservice.wire.jute import decode, encode
from zkservice.wire.records import ConnectRequest, ConnectResponse, Stat, WatcherEvent
from zkservice.wire.watches import EventType, KeeperState

_NO_PASSWORD: Final = bytes(PASSWORD_LENGTH)

T = TypeVar("T")


class NodeView(NamedTuple):
    """A znode at one moment."""

    data: bytes | None  #: its data
    acl: tuple[ACL, ...]  #: its ACL
    stat: Stat  #: its Stat
    children: frozenset[str]  #: the names of its children


class ServerState:
    """One server, without a socket.

    Args:
        settings: the server's settings.
        now: returns seconds since 1970; all time-outs and time stamps come from it.
        secret: the key of session passwords.
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
        #: A dict serves as a set that remembers its order.
        self.connections: dict[Connection, None] = {}
        #: The number of the last transaction.
        self.zxid = first_zxid(now())
        schemes = frozenset(("world", "digest", "ip"))
        if settings.sasl_users is not None:
            schemes |= {"sasl"}
        self.rules = Rules(schemes, settings.enforce_quota)
        #: The totals of the connections that are closed.
        self.closed_stats = RequestStats()
        self._unflushed: dict[Connection, None] = {}
        self._read_only = False
        self._refuses_sessions = False
        self.store = store
        self._unsaved = UnsavedChanges(self.zxid)
        if store is not None:
            self._load(store)

    # -- connections

    def connect(self, transport: ConnectionTransport, host: str, port: int) -> Connection:
        """Make the connection of a client that has just connected."""
        identities = ConnectionIdentities(host, self.settings.super_digest)
        connection = Connection(transport, host, port, self.now(), identities, self._unflushed)
        self.connections[connection] = None
        return connection

    def disconnect(self, connection: Connection) -> None:
        """Forget a connection that is closed; its session continues."""
        self._detach(connection)
        if connection in self.connections:
            del self.connections[connection]
            self.closed_stats.add(connection.stats)
        self._unflushed.pop(connection, None)

    def flush(self) -> None:
        """Send the unsent bytes of all connections.  With a store, call it only when `saved`."""
        unflushed = self._unflushed
        while unflushed:
            connection, _ = unflushed.popitem()
            connection.flush()

    def handle_connect_request(self, connection: Connection, frame: bytes) -> None:
        """Reply to a connection's first frame (ZooKeeperServer.processConnectRequest).

        If the session has expired or the password is wrong, the reply has session id 0.  In all
        other cases, a client is refused by closing its connection without a reply.
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
            session = self._resume_session(request.session_id, request.password, timeout)
        elif self._may_add_session():
            session = self._new_session(timeout)
        else:
            return connection.close()
        self._send_connect_response(connection, request, session)

    def _send_connect_response(
        self, connection: Connection, request: ConnectRequest, session: Session | None
    ) -> None:
        # Clients before 3.4 send no read-only flag and expect none.
        flag = None if request.read_only is None else self._read_only
        if session is None:
            connection.send(encode(ConnectResponse(0, 0, 0, _NO_PASSWORD, flag)))
            return connection.close()
        session.connection, connection.session = connection, session
        milliseconds, password = round(session.timeout * 1000), self.sessions.password(session.id)
        connection.send(encode(ConnectResponse(0, milliseconds, session.id, password, flag)))

    def _may_add_session(self) -> bool:
        """Whether there is room for one more; the first refusal is logged."""
        most = self.settings.max_sessions
        full = 0 < most <= len(self.sessions)
        if full and not self._refuses_sessions:
            self._log.warn(
                "refusing new sessions: there are {count} already, as many as max_sessions allows",
                count=len(self.sessions),
            )
        self._refuses_sessions = full
        return not full

    def _new_session(self, timeout: float) -> Session:
        session = self.sessions.create(timeout, self.now(), local=self._read_only)
        if not session.local:
            self.zxid += 1
            self._session_changed(session.id, session)
        return session

    def _resume_session(
        self, session_id: int, password: bytes | None, timeout: float
    ) -> Session | None:
        session = self.sessions.get(session_id)
        if session is None:
            return None
        if session.connection is not None:  # dropped even if the password is wrong
            self.drop(session.connection)
        if not self.sessions.is_password(session_id, password):
            return None
        if session.timeout != timeout:
            session.timeout = timeout
            self._session_changed(session.id, session)
        self.sessions.touch(session, self.now())
        return session

    def drop(self, connection: Connection) -> None:
        """Close a connection without sending what is queued for it."""
        self._detach(connection)
        connection.out.clear()
        connection.close()

    def drop_all(self) -> None:
        """Close all connections without sending what is queued for them."""
        for connection in self.connections:
            self.drop(connection)

    def _detach(self, connection: Connection) -> None:
        """Separate a connection from its session, and delete its watches."""
        self.watches.forget(connection)
        session, connection.session = connection.session, None
        if session is not None:
            session.connection = None

    # -- sessions

    def touch(self, connection: Connection) -> None:
        """Restart the time-out of a connection's session, because its client sent something."""
        if connection.session is not None:
            self.sessions.touch(connection.session, self.now())

    def expire_sessions(self) -> None:
        """End the sessions whose time-outs have passed."""
        if self._read_only:  # expiring is a write
            return
        self._call_for_each(self.expire_session, self.sessions.expired(self.now()))

    def expire_session(self, session: Session) -> None:
        """End a session; its client only sees that its connection is closed."""
        if session.connection is not None:
            self.drop(session.connection)
        self.end_session(session)

    def end_session(self, session: Session) -> None:
        """Remove a session and its ephemeral nodes, in one transaction."""
        self.sessions.remove(session)
        if session.local:
            return
        self._session_changed(session.id, None)
        transaction = self._transaction(ConnectionIdentities(""), session.id)
        self._call_for_each(transaction.delete_unchecked, self.tree.ephemerals_of(session.id))
        self.commit(transaction)

    # -- changes

    def begin(self, connection: Connection) -> Transaction:
        """Begin a change; it takes a transaction number even if it fails.

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
        """Keep a change, and queue its watch events."""
        if self.store is not None:
            self._unsaved.add_nodes(transaction.touched)
        self._call_for_each(lambda event: self._notify(transaction.zxid, event), transaction.events)

    def _notify(self, zxid: int, event: NodeEvent) -> None:
        watchers = self.watches.fire(event.type, event.path)
        if not watchers:
            return
        encoded = encoded_event(event.type, event.path)
        zxid = self.watches.event_zxid(zxid)
        for connection in watchers:
            if connection.identities.may(event.acl, Permission.READ):
                connection.notify(zxid, encoded)

    def reap(self) -> None:
        """Delete empty containers and expired TTL nodes, each in its own transaction."""
        if self._read_only:
            return
        self._call_for_each(self._reap, self.tree.reapable(int(self.now() * 1000)))

    def _reap(self, path: str) -> None:
        transaction = self._transaction(ConnectionIdentities(""), 0)
        transaction.delete_unchecked(path)
        self.commit(transaction)

    def _call_for_each(self, function: Callable[[T], object], things: Iterable[T]) -> None:
        """Call a function with each thing; an error is logged and does not stop the others."""
        for thing in things:
            try:
                function(thing)
            except Exception:  # noqa: BLE001 - it is logged, and the others still have their turn
                self._log.failure("cleaning up {thing} failed", thing=thing)

    # -- the store

    def _load(self, store: Store) -> None:
        for session in store.load(self.tree):  # their time-outs start again
            self.sessions.add(session, self.now())
        # Even if the clock was set back, no id may be used twice.
        self.sessions.next_id = max(self.sessions.next_id, store.next_session_id)
        self.zxid = self._unsaved.saved_zxid = store.zxid

    def _session_changed(self, session_id: int, session: Session | None) -> None:
        """Save a session with the next `save`; None: it has ended."""
        if self.store is not None:
            self._unsaved.sessions[session_id] = session

    @property
    def saved(self) -> bool:
        """Whether everything that happened is in the store, if there is a store."""
        return self.store is None or not self._unsaved.need_save_at(self.zxid)

    def save(self) -> None:
        """Write to the store what is not in it yet.

        Raises:
            DataDirectoryError: it could not be written, so no client may learn of it; a later
                call tries again.
        """
        if self.store is None or self.saved:
            return
        self.store.save(self.zxid, self.sessions.next_id, self.tree, self._unsaved)
        self._unsaved = UnsavedChanges(self.zxid)

    # -- read-only mode

    @property
    def read_only(self) -> bool:
        """Whether clients see a server that lost its ensemble.

        Changing it drops all clients.  When it ends, all time-outs start again.
        """
        return self._read_only

    @read_only.setter
    def read_only(self, value: bool) -> None:
        if value == self._read_only:
            return
        self._read_only = value
        self.drop_all()
        for session in [session for session in self.sessions if session.local]:
            self.sessions.remove(session)
        self.sessions.touch_all(self.now())

    # -- reports

    def total_stats(self) -> RequestStats:
        """The totals of all connections since the start."""
        total = RequestStats()
        total.add(self.closed_stats)
        for connection in self.connections:
            total.add(connection.stats)
        return total

    def view(self, path: str) -> NodeView | None:
        """A znode as it is now; None if it does not exist."""
        node = self.tree.nodes.get(path)
        if node is None:
            return None
        return NodeView(node.data, node.acl, node.stat(), frozenset(node.children or ()))


def first_zxid(now: float) -> int:
    """The transaction number at which a new server starts: the time, with seconds as the epoch.

    So an in-memory server that restarts begins with a higher number than its predecessor ever
    reached.  It then accepts clients of the predecessor, and tells them that their sessions
    have expired, instead of dropping them for ever.
    """
    return int(now * (1 << 32))


def encoded_event(type: EventType, path: str) -> bytes:
    """The body of a notification."""
    return encode(WatcherEvent(type, KeeperState.SYNC_CONNECTED, path))
