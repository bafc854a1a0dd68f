"""The embedded server on a machine of the simulation: its disk, and its rare branches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

from typing_extensions import override

from tests.simulation.machine import Machine
from tests.simulation.network import Network
from zkservice.embedded import ZooKeeperServer
from zkservice.embedded.connection import Connection, Session
from zkservice.embedded.nodes import Tree, ZNode
from zkservice.embedded.server_state import ServerState, first_zxid
from zkservice.embedded.store import Store, UnsavedChanges
from zkservice.errors import DataDirectoryError

PORT = 2181
#: The addresses at which the server can be reached, and the name for both.
ADDRESSES = ("10.0.0.1", "10.0.0.2")
NAME = "zookeeper.example"

#: The users of the server, with their passwords.
USERS = {"alice": "secret"}

#: The name of each opcode, for the states that have to be reached.
OPCODES = {
    1: "create",
    2: "delete",
    3: "exists",
    4: "getData",
    5: "setData",
    6: "getACL",
    7: "setACL",
    8: "getChildren",
    9: "sync",
    11: "ping",
    12: "getChildren2",
    13: "check",
    14: "multi",
    15: "create2",
    16: "reconfig",
    18: "removeWatches",
    19: "createContainer",
    21: "createTTL",
    22: "multiRead",
    100: "auth",
    101: "setWatches",
    102: "sasl",
    103: "getEphemerals",
    104: "getAllChildrenNumber",
    105: "setWatches2",
    106: "addWatch",
    107: "whoAmI",
    -11: "closeSession",
}


class Disk:
    """What survives the process: the tree and the sessions as they were saved last."""

    def __init__(self) -> None:
        self.nodes: dict[str, ZNode] = {}
        self.sessions: dict[int, float] = {}
        self.server: tuple[int, int] | None = None  # zxid, next session id
        self.full = False


class SimulatedStore:
    """The part of a `Store` that a server uses, with a `Disk` instead of a database."""

    def __init__(self, disk: Disk, secret: bytes, zxid: int) -> None:
        self._disk = disk
        self.secret = secret
        self.zxid, self.next_session_id = disk.server or (zxid, 0)

    def load(self, tree: Tree) -> list[Session]:
        """Fill a tree, and return the sessions."""
        for path in sorted(self._disk.nodes):
            node = copy(self._disk.nodes[path])
            node.children = None
            if path in tree.nodes:
                node.children = tree.nodes[path].children
                tree.replace(path, node)
            else:
                tree.attach(path, node)
        return [Session(id, timeout) for id, timeout in sorted(self._disk.sessions.items())]

    def save(self, zxid: int, next_session_id: int, tree: Tree, changes: UnsavedChanges) -> None:
        """Keep what has changed, or fail as a whole."""
        if self._disk.full:
            raise DataDirectoryError("/simulated", "database or disk is full")
        for path in changes.nodes:
            node = tree.nodes.get(path)
            if node is None:
                self._disk.nodes.pop(path, None)
            else:
                self._disk.nodes[path] = copy(node)
        for session_id, session in changes.sessions.items():
            if session is None:
                self._disk.sessions.pop(session_id, None)
            else:
                self._disk.sessions[session_id] = session.timeout
        self._disk.server = zxid, next_session_id

    def close(self) -> None:
        """There is nothing to close."""


class Buggify:
    """What makes the rare branches of a server frequent.

    A server of the simulation asks it; production code does not know it.

    Args:
        lose_reply: says whether the connection breaks once a request with this opcode has been
            carried out, before its reply is sent.
        notice: called with the name of a rare state.
    """

    def __init__(self, lose_reply: Callable[[str], bool], notice: Callable[[str], object]) -> None:
        self.lose_reply = lose_reply
        self.notice = notice


class SimulatedState(ServerState):
    """A server's state that says when a session moves."""

    buggify: Buggify

    @override
    def _resume_session(
        self, session_id: int, password: bytes | None, timeout: float
    ) -> Session | None:
        session = self.sessions.get(session_id)
        if session is not None and session.connection is not None:
            self.buggify.notice("session: moved to another connection")
        return super()._resume_session(session_id, password, timeout)


class SimulatedServer(ZooKeeperServer):
    """The embedded server, with a disk and with rare branches."""

    def __init__(self, machine: Machine, disk: Disk | None, buggify: Buggify, **options: Any):
        super().__init__(machine, tick_time=1.0, secret=b"simulated", sasl_users=USERS, **options)
        self._disk = disk
        self._buggify = buggify

    @override
    def _make_state(self) -> tuple[ServerState, Store | None]:
        now, store = self._reactor.seconds, None
        if self._disk is not None:
            store = SimulatedStore(self._disk, self._secret, first_zxid(now()))
        kept: Any = store
        state = SimulatedState(self.settings, now, self._secret, kept)
        state.buggify = self._buggify
        return state, kept

    @override
    def received(self, connection: Connection, frames: Iterator[bytes]) -> bool:
        return super().received(connection, self._some_replies_lost(connection, frames))

    def _some_replies_lost(
        self, connection: Connection, frames: Iterator[bytes]
    ) -> Iterator[bytes]:
        for frame in frames:
            opcode = "connect"
            if connection.session is not None:
                number = int.from_bytes(frame[4:8], "big", signed=True)
                opcode = OPCODES.get(number, str(number))
            yield frame
            # Asked for the next one: this one has been carried out.
            if self._buggify.lose_reply(opcode):
                self.state.drop(connection)
                return


class Ensemble:
    """The machine of the server, and the server that runs there now.

    Attributes:
        options: of the server, as `watch_semantics`.
    """

    def __init__(
        self, network: Network, buggify: Buggify, *, durable: bool, **options: Any
    ) -> None:
        self._network, self._buggify = network, buggify
        self.options = options
        self.disk = Disk() if durable else None
        self.machine: Machine
        self.server: SimulatedServer
        network.names[NAME] = ADDRESSES

    def start(self) -> None:
        """Start a process."""
        self.machine = Machine(self._network, "zookeeper", ADDRESSES[0])
        self.server = SimulatedServer(self.machine, self.disk, self._buggify, **self.options)
        for address in ADDRESSES:
            self.machine.listenTCP(PORT, self.server.factory, interface=address)
        self.server.start()

    def kill(self) -> None:
        """End the process without a word; what it has saved stays."""
        self.server.crash()
        self.machine.die()

    def restart_if_dead(self, *, wipe: bool) -> None:
        """A process on the same machine, with an empty disk or with what was there."""
        if self.up:
            return
        if wipe and self.disk is not None:
            self.disk = Disk()
        self.start()

    @property
    def up(self) -> bool:
        """Whether there is a process."""
        return self.machine.state != "dead"
