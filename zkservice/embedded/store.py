"""The tree and the sessions on disk, in a SQLite database: snapshot and log in one.

Changes are written before any client learns of them, in one database transaction for
all requests of a reactor turn, and synchronised to the disk.  So what was acknowledged
survives ``kill -9`` and a power failure.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from zkservice.embedded.connection import Session
from zkservice.embedded.nodes import AccessList, Tree, ZNode
from zkservice.errors import DataDirectoryError, ProtocolError
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.jute import codec_of, vector

_FILE: Final = "zkservice.sqlite3"
_FORMAT: Final = 1  # of the tables below; SQLite's user_version
_ACLS: Final = vector(codec_of(ACL))

_SCHEMA: Final = f"""
CREATE TABLE nodes (
    path TEXT PRIMARY KEY NOT NULL,
    data BLOB, acl BLOB, owner INTEGER,
    czxid INTEGER, mzxid INTEGER, pzxid INTEGER, ctime INTEGER, mtime INTEGER,
    version INTEGER, aversion INTEGER, creates INTEGER
);
CREATE TABLE sessions (id INTEGER PRIMARY KEY NOT NULL, timeout REAL);
CREATE TABLE server (secret BLOB, zxid INTEGER, next_session_id INTEGER);
PRAGMA user_version = {_FORMAT};
"""
_COLUMNS: Final = (
    "path, data, acl, owner, czxid, mzxid, pzxid, ctime, mtime, version, aversion, creates"
)
_PUT_NODE: Final = f"INSERT OR REPLACE INTO nodes ({_COLUMNS}) VALUES (?{', ?' * 11})"
_PUT_COUNTERS: Final = "UPDATE nodes SET creates = ?, pzxid = ? WHERE path = ?"


class UnsavedChanges:
    """What has changed since the last save.

    Args:
        saved_zxid: the number of the last transaction that is saved.
    """

    __slots__ = ("nodes", "saved_zxid", "sessions")

    def __init__(self, saved_zxid: int) -> None:
        self.saved_zxid = saved_zxid
        #: Paths of nodes that changed.  False: only the node's counters of children did
        #: (``creates`` and ``pzxid``).
        self.nodes: dict[str, bool] = {}
        #: Sessions that changed, by id; None for those that ended.
        self.sessions: dict[int, Session | None] = {}

    def need_save_at(self, zxid: int) -> bool:
        """Whether there is something to save when ``zxid`` is the last transaction."""
        return self.saved_zxid != zxid or bool(self.sessions)

    def add_nodes(self, touched: Mapping[str, bool]) -> None:
        """Add the paths that a transaction changed."""
        for path, whole in touched.items():
            self.nodes[path] = whole or self.nodes.get(path, False)


class Store:
    """One data directory, locked against other processes.

    Args:
        folder: the directory; it is created if it does not exist.
        secret: the key of session passwords of a new server; an old server keeps its key.
        zxid: the first transaction number of a new server.

    Raises:
        DataDirectoryError: the directory cannot be used; the message says why.
    """

    def __init__(self, folder: str | os.PathLike[str], secret: bytes, zxid: int) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = self._open()
            try:
                self.secret, self.zxid, self.next_session_id = self._begin(secret, zxid)
            except BaseException:
                self._database.close()
                raise
        except OSError as error:
            raise DataDirectoryError(self._folder, error.strerror or str(error)) from None
        except sqlite3.Error as error:
            raise DataDirectoryError(self._folder, _reason(error)) from None

    def _open(self) -> sqlite3.Connection:
        self._protect()
        database = sqlite3.connect(self._folder / _FILE, timeout=0, isolation_level=None)
        try:
            # The first write locks out other processes, until the database is closed.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
        except BaseException:
            database.close()
            raise
        return database

    def _protect(self) -> None:
        """Make the database unreadable to other users: session passwords derive from its secret.

        The directory may be older than the server, and readable to all.  SQLite gives its other
        files the mode of the database, but files of an earlier process keep theirs.  Symbolic links
        are not followed: with one, a user who can write to the directory could make root change
        the mode of any file.
        """
        for suffix in ("", "-wal", "-shm"):
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if suffix else os.O_CREAT)
            try:
                file = os.open(self._folder / f"{_FILE}{suffix}", flags, 0o600)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                raise DataDirectoryError(
                    self._folder, f"{_FILE}{suffix} must be a file, but it is a symbolic link"
                ) from None
            try:
                if os.fstat(file).st_mode & 0o077:
                    os.fchmod(file, 0o600)
            finally:
                os.close(file)

    def _begin(self, secret: bytes, zxid: int) -> tuple[bytes, int, int]:
        """Create the tables of a new server; return its secret, zxid and next session id."""
        database = self._database
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > _FORMAT:
            raise DataDirectoryError(self._folder, "it was written by a newer version of zkservice")
        database.execute("BEGIN IMMEDIATE")
        if version == 0:
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute("INSERT INTO server VALUES (?, ?, 0)", (secret, zxid))
        found: tuple[bytes, int, int] = database.execute(
            "SELECT secret, zxid, next_session_id FROM server"
        ).fetchone()
        database.execute("COMMIT")
        return found

    def load(self, tree: Tree) -> list[Session]:
        """Fill a new tree, and return the sessions that were alive.

        Raises:
            DataDirectoryError: the data cannot be read.
        """
        try:
            for row in self._database.execute(f"SELECT {_COLUMNS} FROM nodes ORDER BY path"):
                path, node = _node(row)
                if path in tree.nodes:
                    tree.replace(path, node)  # a special node, which every tree has from the start
                else:
                    tree.attach(path, node)
            rows = self._database.execute("SELECT id, timeout FROM sessions ORDER BY id")
            return [Session(session_id, timeout) for session_id, timeout in rows]
        except (sqlite3.Error, LookupError, ProtocolError) as error:
            raise DataDirectoryError(self._folder, f"it is damaged ({error})") from None

    def save(self, zxid: int, next_session_id: int, tree: Tree, changes: UnsavedChanges) -> None:
        """Write what changed, and wait until it is on the disk.

        Args:
            zxid: the number of the last transaction.
            next_session_id: the id of the next session.
            tree: as it is now.
            changes: what to take from the tree, and the sessions.

        Raises:
            DataDirectoryError: the changes are not on the disk; the call can be repeated.
        """
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._save_nodes(tree, changes.nodes.items())
                self._save_sessions(changes.sessions.items())
                self._database.execute(
                    "UPDATE server SET zxid = ?, next_session_id = ?", (zxid, next_session_id)
                )
                self._database.execute("COMMIT")
            except sqlite3.Error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise DataDirectoryError(self._folder, _reason(error)) from None

    def _save_nodes(self, tree: Tree, touched: Iterable[tuple[str, bool]]) -> None:
        execute = self._database.execute
        for path, whole in touched:
            node = tree.nodes.get(path)
            if node is None:
                execute("DELETE FROM nodes WHERE path = ?", (path,))
            elif whole:
                execute(_PUT_NODE, _row(path, node))
            elif not execute(_PUT_COUNTERS, (node.creates, node.pzxid, path)).rowcount:
                execute(_PUT_NODE, _row(path, node))  # a special node that was never saved

    def _save_sessions(self, sessions: Iterable[tuple[int, Session | None]]) -> None:
        for session_id, session in sessions:
            if session is None:
                self._database.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            else:
                self._database.execute(
                    "INSERT OR REPLACE INTO sessions (id, timeout) VALUES (?, ?)",
                    (session_id, session.timeout),
                )

    def close(self) -> None:
        """Close the database, and unlock the directory."""
        self._database.close()


def _row(path: str, node: ZNode) -> tuple[Any, ...]:
    return (
        path,
        node.data,
        _packed(node.acl),
        node.owner,
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime,
        node.mtime,
        node.version,
        node.aversion,
        node.creates,
    )


def _node(row: tuple[Any, ...]) -> tuple[str, ZNode]:
    path, data, acl, owner, czxid, mzxid, pzxid, ctime, mtime, version, aversion, creates = row
    node = ZNode(data, _unpacked(acl), owner)
    node.czxid, node.mzxid, node.pzxid = czxid, mzxid, pzxid
    node.ctime, node.mtime = ctime, mtime
    node.version, node.aversion, node.creates = version, aversion, creates
    return path, node


def _packed(acl: AccessList) -> bytes | None:
    """The list as jute; None for the most frequent one, which allows everything."""
    if acl is OPEN_ACL_UNSAFE:
        return None
    out = bytearray()
    _ACLS.put(out, list(acl))
    return bytes(out)


def _unpacked(packed: bytes | None) -> AccessList:
    return OPEN_ACL_UNSAFE if packed is None else tuple(_ACLS.get(packed, 0)[0] or ())


def _reason(error: sqlite3.Error) -> str:
    if "locked" in str(error):
        return "another process uses it"
    return str(error)
