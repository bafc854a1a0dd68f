"""Four-letter words: a server's reports as plain text (CommandExecutor.java)."""

from __future__ import annotations

import os
import platform
import resource
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from zkservice.embedded.connection import Connection
from zkservice.embedded.server_state import ServerState
from zkservice.embedded.watches import data_watches
from zkservice.wire.records import OpCode

#: The ZooKeeper release that the server behaves like; clients read it from ``envi``.
ZOOKEEPER_VERSION: Final = "3.9.6-zkservice, built on 2026-10-16 16:58 UTC"

# The operations as ``cons`` shows them (the short names in Request.op2String).
_OPERATIONS: Final[dict[int, str]] = {
    OpCode.PING: "PING",
    OpCode.CREATE: "CREA",
    OpCode.CREATE2: "CREA",
    OpCode.CREATE_CONTAINER: "CREA",
    OpCode.CREATE_TTL: "CREA",
    OpCode.DELETE: "DELE",
    OpCode.EXISTS: "EXIS",
    OpCode.GET_DATA: "GETD",
    OpCode.SET_DATA: "SETD",
    OpCode.GET_ACL: "GETA",
    OpCode.SET_ACL: "SETA",
    OpCode.GET_CHILDREN: "GETC",
    OpCode.GET_CHILDREN2: "GETC",
    OpCode.SYNC: "SYNC",
    OpCode.MULTI: "MULT",
    OpCode.MULTI_READ: "MLTR",
    OpCode.RECONFIG: "RECO",
    OpCode.SET_WATCHES: "SETW",
    OpCode.SET_WATCHES2: "STW2",
    OpCode.ADD_WATCH: "ADDW",
    OpCode.CHECK_WATCHES: "CHKW",
    OpCode.REMOVE_WATCHES: "REMW",
    OpCode.GET_EPHEMERALS: "GETE",
    OpCode.GET_ALL_CHILDREN_NUMBER: "GETACN",
    OpCode.WHO_AM_I: "HOMI",
    OpCode.CLOSE_SESSION: "CLOS",
}

Report = Callable[[Connection], str]


class FourLetterWords:
    """Replies to four-letter words with reports about a `ServerState`.

    Args:
        state: the server's state.
        data_dir: the data directory, for ``conf`` and ``dirs``; None if there is none.
    """

    def __init__(self, state: ServerState, data_dir: str | None = None) -> None:
        self._state = state
        self._data_dir = data_dir
        self._started = state.now()
        self._reports: dict[bytes, Report] = {
            b"ruok": lambda _: "imok",
            b"isro": lambda _: "ro" if state.read_only else "rw",
            b"srvr": lambda _: f"Zookeeper version: {ZOOKEEPER_VERSION}\n{self._summary()}",
            b"stat": self._stat,
            b"cons": self._cons,
            b"envi": self._envi,
            b"conf": self._conf,
            b"mntr": self._mntr,
            b"dump": self._dump,
            b"wchs": self._wchs,
            b"wchc": self._wchc,
            b"wchp": self._wchp,
            b"dirs": self._dirs,
            b"srst": self._srst,
            b"crst": self._crst,
        }

    def answer(self, word: bytes, connection: Connection) -> bytes | None:
        """Return the report; None if the four bytes are not a known word."""
        report = self._reports.get(word)
        if report is None:
            return None
        connection.stats.received += 1
        return report(connection).encode()

    # -- the server

    def _summary(self) -> str:
        state, total = self._state, self._state.total_stats()
        return (
            f"Latency min/avg/max: {total.min_latency}/{total.average:.4g}/{total.max_latency}\n"
            f"Received: {total.received}\n"
            f"Sent: {total.sent}\n"
            f"Connections: {len(state.connections)}\n"
            "Outstanding: 0\n"
            f"Zxid: {state.zxid:#x}\n"
            f"Mode: {'read-only' if state.read_only else 'standalone'}\n"
            f"Node count: {len(state.tree) + 1}\n"  # the root's second name counts
        )

    def _envi(self, _: Connection) -> str:
        system = platform.uname()
        return _lines(
            "Environment:",
            f"zookeeper.version={ZOOKEEPER_VERSION}",
            f"host.name={socket.gethostname()}",
            f"python.version={platform.python_version()}",
            f"os.name={system.system}",
            f"os.arch={system.machine}",
            f"os.version={system.release}",
            f"user.dir={os.getcwd()}",
        )

    def _conf(self, _: Connection) -> str:
        settings = self._state.settings
        shortest, longest = settings.session_timeouts
        data_dir, size = self._data_dir or "", self._disk()
        return _lines(
            "clientPort=-1",  # unknown: the server can listen on any endpoints
            "secureClientPort=-1",
            f"dataDir={data_dir}",
            f"dataDirSize={size}",
            f"dataLogDir={data_dir}",
            f"dataLogSize={size}",
            f"tickTime={_milliseconds(settings.tick_time)}",
            f"maxClientCnxns={settings.max_connections}",
            f"minSessionTimeout={_milliseconds(shortest)}",
            f"maxSessionTimeout={_milliseconds(longest)}",
            "clientPortListenBacklog=-1",
            "serverId=0",
        )

    def _dirs(self, _: Connection) -> str:
        return _lines(f"datadir_size: {self._disk()}", f"logdir_size: {self._disk()}")

    def _disk(self) -> int:
        if self._data_dir is None:
            return 0
        with os.scandir(self._data_dir) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.is_file())

    def _mntr(self, _: Connection) -> str:
        state, total = self._state, self._state.total_stats()
        limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        values = {
            "version": ZOOKEEPER_VERSION,
            "server_state": "read-only" if state.read_only else "standalone",
            "ephemerals_count": sum(map(len, state.tree.ephemerals.values())),
            "num_alive_connections": len(state.connections),
            "avg_latency": f"{total.average:.4g}",
            "min_latency": total.min_latency,
            "max_latency": total.max_latency,
            "outstanding_requests": 0,
            "znode_count": len(state.tree) + 1,
            "global_sessions": len(state.sessions),
            "local_sessions": 0,
            "watch_count": len(state.watches),
            "packets_received": total.received,
            "packets_sent": total.sent,
            "approximate_data_size": state.tree.size,
            "open_file_descriptor_count": _descriptors(),
            "max_file_descriptor_count": limit,
            "uptime": _milliseconds(state.now() - self._started),
        }
        return _lines(*(f"zk_{name}\t{value}" for name, value in values.items()))

    def _srst(self, _: Connection) -> str:
        self._state.closed_stats.reset()
        for connection in self._state.connections:
            connection.stats.reset()
        return "Server stats reset.\n"

    # -- its connections

    def _stat(self, asker: Connection) -> str:
        clients = "".join(self._client(one, one is asker) + "\n" for one in self._connections())
        return f"Zookeeper version: {ZOOKEEPER_VERSION}\nClients:\n{clients}\n{self._summary()}"

    def _cons(self, asker: Connection) -> str:
        return "".join(self._details(one, asker) + "\n" for one in self._connections()) + "\n"

    def _crst(self, _: Connection) -> str:
        for connection in self._state.connections:
            connection.stats.reset()
        return "Connection stats reset.\n"

    def _connections(self) -> Iterable[Connection]:
        return self._state.connections

    def _client(self, connection: Connection, is_asker: bool, more: str = "") -> str:
        """The line of a connection; ``more`` is added to its figures."""
        stats = connection.stats
        # Java shows the interest of its selector: 1 for reading, 0 for the connection that asks.
        return (
            f" {_address(connection)}[{0 if is_asker else 1}]"
            f"(queued=0,recved={stats.received},sent={stats.sent}{more})"
        )

    def _details(self, connection: Connection, asker: Connection) -> str:
        session, stats = connection.session, connection.stats
        if session is None:
            return self._client(connection, connection is asker)
        operation = _OPERATIONS.get(stats.last_opcode, "NA") if stats.last_opcode else "SESS"
        return self._client(
            connection,
            False,  # the connection that asks has no session
            f",sid={_hexadecimal(session.id)},lop={operation}"
            f",est={_milliseconds(connection.connected_at)},to={_milliseconds(session.timeout)}"
            f",lcxid={_hexadecimal(stats.last_xid)},lzxid={_hexadecimal(stats.last_zxid)}"
            f",lresp={stats.last_reply},llat={stats.last_latency}"
            f",minlat={stats.min_latency},avglat={stats.average:.4g},maxlat={stats.max_latency}",
        )

    # -- its sessions

    def _dump(self, _: Connection) -> str:
        lines = ["SessionTracker dump:"]
        buckets = self._state.sessions.by_deadline()
        lines.append(f"Session Sets ({len(buckets)})/({len(self._state.sessions)}):")
        for deadline, sessions in buckets:
            lines.append(f"{len(sessions)} expire at {_date(deadline)}:")
            lines += [f"\t{_hexadecimal(session.id)}" for session in sessions]
        owners = self._state.tree.ephemerals
        lines += ["ephemeral nodes dump:", f"Sessions with Ephemerals ({len(owners)}):"]
        for session_id, paths in owners.items():
            lines.append(f"{_hexadecimal(session_id)}:")
            lines += [f"\t{path}" for path in paths]
        lines.append("Connections dump:")
        attached = [
            (deadline, [session for session in sessions if session.connection is not None])
            for deadline, sessions in buckets
        ]
        attached = [(deadline, sessions) for deadline, sessions in attached if sessions]
        total = sum(len(sessions) for _, sessions in attached)
        lines.append(f"Connections Sets ({len(attached)})/({total}):")
        for deadline, sessions in attached:
            lines.append(f"{len(sessions)} expire at {_date(deadline)}:")
            lines += [
                f"\tip: {_address(session.connection)} sessionId: {_hexadecimal(session.id)}"
                for session in sessions
                if session.connection is not None
            ]
        return _lines(*lines)

    # -- their watches

    def _watchers(self) -> dict[Connection, list[str]]:
        found = {one: sorted(set(data_watches(one))) for one in self._state.connections}
        return {connection: paths for connection, paths in found.items() if paths}

    def _wchs(self, _: Connection) -> str:
        watchers = self._watchers()
        paths = {path for watched in watchers.values() for path in watched}
        return _lines(
            f"{len(watchers)} connections watching {len(paths)} paths",
            f"Total watches:{sum(map(len, watchers.values()))}",
        )

    def _wchc(self, _: Connection) -> str:
        lines: list[str] = []
        for connection, paths in self._watchers().items():
            lines += [_session_of(connection), *(f"\t{path}" for path in paths)]
        return _lines(*lines, "")

    def _wchp(self, _: Connection) -> str:
        by_path: dict[str, list[str]] = {}
        for connection, paths in self._watchers().items():
            for path in paths:
                by_path.setdefault(path, []).append(_session_of(connection))
        lines: list[str] = []
        for path, sessions in sorted(by_path.items()):
            lines += [path, *(f"\t{session}" for session in sessions)]
        return _lines(*lines, "")


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def _address(connection: Connection) -> str:
    return f"/{connection.host}:{connection.port}"


def _session_of(connection: Connection) -> str:
    return _hexadecimal(connection.session.id if connection.session else 0)


def _hexadecimal(number: int) -> str:
    return f"{number % (1 << 64):#x}"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _date(seconds: float) -> str:
    return time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(seconds))


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:  # not Linux
        return -1
