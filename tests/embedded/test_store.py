"""What is on the disk."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests import effort
from tests.embedded.raw_client import Multi, RawClient, framed, started
from tests.embedded.strategies import PARTIES, calls, settled
from zkservice.embedded import ZooKeeperServer
from zkservice.errors import DataDirectoryError
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Id
from zkservice.wire.jute import encode
from zkservice.wire.records import (
    CloseSession,
    ConnectRequest,
    ConnectResponse,
    CreateContainerRequest,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    ExistsRequest,
    GetDataRequest,
    SetACLRequest,
    SetDataRequest,
)

OPEN = list(OPEN_ACL_UNSAFE)


class StoreTestCase(SynchronousTestCase):
    """A server with a data directory."""

    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()) / "data"
        self.server, self.clock = started(data_dir=self.folder, tick_time=0.5)
        self.addCleanup(lambda: self.server.stop())

    def client(self, session: ConnectResponse | None = None) -> tuple[RawClient, ConnectResponse]:
        """A client, with a new session or an old one."""
        one = Patient(self.server, self)
        if session is None:
            return one, one.hello()
        return one, one.hello(session_id=session.session_id, password=session.password)

    def turn(self) -> None:
        """One turn of the reactor."""
        self.clock.advance(0)

    def crash(self) -> None:
        """The process is gone: what is on the disk is all there is."""
        self.server.crash()
        self.server, self.clock = started(self.clock, data_dir=self.folder, tick_time=0.5)

    def image(self) -> dict[str, Any]:
        """Everything about every node."""
        return {
            path: (node.data, node.acl, node.owner, node.stat(), set(node.children or ()))
            for path, node in self.server.state.tree.nodes.items()
        }


class Patient(RawClient):
    """A client that waits for one turn of the reactor before reading."""

    def __init__(self, server: ZooKeeperServer, test: StoreTestCase) -> None:
        self._test = test
        super().__init__(server)

    @override
    def send(self, data: bytes) -> None:
        super().send(data)
        self._test.turn()


class StoreTests(StoreTestCase):
    """What was acknowledged is there again."""

    def test_all_of_a_tree_is_restored(self) -> None:
        """Data, lists, counters, containers, TTLs, ephemerals: all is as it was."""
        one, _ = self.client()
        one.authenticate("digest", b"u:p")
        one.call(SetDataRequest("/", b"root", -1))
        for request in (
            CreateRequest("/a", b"x", OPEN, 0),
            CreateRequest("/a/null", None, OPEN, 0),
            CreateRequest("/a/s-", b"", [ACL(31, Id("auth", ""))], 2),
            CreateRequest("/e", b"", OPEN, 1),
            CreateContainerRequest("/c", b"", OPEN, 4),
            CreateTTLRequest("/t", b"", OPEN, 5, 5000),
            SetDataRequest("/a", b"xyz", 0),
            SetACLRequest("/a", list(READ_ACL_UNSAFE), -1),
            CreateRequest("/gone", b"", OPEN, 0),
            DeleteRequest("/gone", -1),
            Multi(CreateRequest("/m", b"", OPEN, 0), CreateRequest("/m/n", b"", OPEN, 0)),
            Multi(CreateRequest("/never", b"", OPEN, 0), DeleteRequest("/no", -1)),
        ):
            one.call(request)
        before, zxid = self.image(), self.server.statistics().zxid
        tree = self.server.state.tree
        indexes = (tree.ephemerals, set(tree.reap_candidates), tree.size)
        self.crash()
        self.assertEqual((self.image(), self.server.statistics().zxid), (before, zxid))
        tree = self.server.state.tree
        self.assertEqual((tree.ephemerals, set(tree.reap_candidates), tree.size), indexes)
        other, _ = self.client()
        self.assertEqual(other.create("/n").zxid, zxid + 2)

    def test_special_nodes_are_kept(self) -> None:
        """Nodes that are always there keep what was done to them."""
        one, _ = self.client()
        one.create("/zookeeper/quota/a", b"x")
        one.call(SetDataRequest("/zookeeper", b"y", -1))
        before = self.image()
        self.crash()
        self.assertEqual(self.image(), before)
        self.assertIs(self.server.state.tree.nodes[""], self.server.state.tree.nodes["/"])

    def test_session_survives_a_restart(self) -> None:
        """A session outlives a restart that is shorter than its time-out."""
        one, session = self.client()
        one.create("/e", flags=1)
        self.crash()
        self.clock.advance(3)
        again, hello = self.client(session)
        self.assertEqual((hello.session_id, hello.password), (session.session_id, session.password))
        self.assertEqual(again.call(ExistsRequest("/e", False)).err, 0)

    def test_session_that_does_not_come_back(self) -> None:
        """It has its whole time-out again, and then its ephemerals go, for good."""
        one, _ = self.client()
        one.create("/e", flags=1)
        self.crash()
        self.clock.pump([0.5] * 11)
        self.assertIn("/e", self.server.tree())
        self.clock.pump([0.5] * 3)
        self.assertNotIn("/e", self.server.tree())
        self.crash()
        self.assertNotIn("/e", self.server.tree())
        self.assertEqual(self.server.statistics().sessions, 0)

    def test_a_closed_session_stays_closed(self) -> None:
        """It is over after a restart, too, and new ids are new."""
        one, session = self.client()
        one.call(CloseSession())
        self.crash()
        other, hello = self.client(session)
        self.assertEqual((hello.session_id, other.connected), (0, False))
        _, new = self.client()
        self.assertGreater(new.session_id, session.session_id)

    def test_the_last_timeout_is_kept(self) -> None:
        """The time-out that was negotiated last is the one that is kept."""
        one, session = self.client()
        one.lose()
        again = Patient(self.server, self)
        again.hello(2000, session.session_id, session.password)
        self.crash()
        (kept,) = self.server.state.sessions
        self.assertEqual(kept.timeout, 2.0)

    def test_a_failed_write_uses_up_its_zxid(self) -> None:
        """A failed write took a number, and after a restart the number is still taken."""
        one, _ = self.client()
        zxid = one.call(DeleteRequest("/no", -1)).zxid
        self.crash()
        self.assertEqual(self.server.statistics().zxid, zxid)

    def test_stop_saves_the_last_request(self) -> None:
        """A stop in good order loses nothing either, not even what was just asked."""
        one, _ = self.client()
        RawClient.send(one, one.request(CreateRequest("/last", b"", OPEN, 0)))
        self.successResultOf(self.server.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.server.start()
        self.assertIn("/last", self.server.tree())

    def test_reports_have_folder_and_size(self) -> None:
        """Reports say where the data is and how large."""
        one, _ = self.client()
        one.create("/a")
        sizes = {}
        for word in (b"conf", b"dirs"):
            asker = RawClient(self.server)
            asker.send(word)
            sizes[word] = asker.read().decode()
        size = sum(file.stat().st_size for file in self.folder.iterdir())
        self.assertIn(f"dataDir={self.folder}\ndataDirSize={size}\n", sizes[b"conf"])
        self.assertEqual(sizes[b"dirs"], f"datadir_size: {size}\nlogdir_size: {size}\n")


class OrderTests(StoreTestCase):
    """No reply or event is sent before its transaction is on the disk."""

    def on_disk(self, path: str) -> bool:
        """Whether another look at the file finds a node."""
        store = self.server.state.store
        assert store is not None
        found = store._database.execute("SELECT 1 FROM nodes WHERE path = ?", (path,)).fetchone()
        return found is not None

    def test_replies_wait_for_the_disk(self) -> None:
        """Neither the reply nor an event nor another's read leaves before the write."""
        one, _ = self.client()
        watcher, _ = self.client()
        watcher.call(ExistsRequest("/a", True))
        RawClient.send(one, one.request(CreateRequest("/a", b"", OPEN, 0)))
        read = watcher.request(GetDataRequest("/a", False))
        RawClient.send(watcher, read)
        self.assertEqual((one.read(), watcher.read(), self.on_disk("/a")), (b"", b"", False))
        self.turn()
        self.assertTrue(self.on_disk("/a"))
        self.assertEqual((len(one.frames()), len(watcher.frames())), (1, 2))

    def test_one_write_for_all(self) -> None:
        """What came in one turn of the reactor is written in one transaction."""
        one, _ = self.client()
        store = self.server.state.store
        assert store is not None
        statements: list[str] = []
        store._database.set_trace_callback(statements.append)
        for number in range(5):
            RawClient.send(one, one.request(CreateRequest(f"/{number}", b"", OPEN, 0)))
        self.turn()
        self.assertEqual(statements.count("COMMIT"), 1)
        self.assertEqual(len(one.frames()), 5)

    def test_replies_that_wait_for_the_disk_are_bounded(self) -> None:
        """Answers that wait for the disk are not piled up either, and none is lost."""
        one, _ = self.client()
        one.call(CreateRequest("/big", bytes(200_000), OPEN, 0))
        requests: list[Any] = [SetDataRequest("/big", bytes(200_000), -1)]
        requests += [GetDataRequest("/big", False) for _ in range(20)]
        RawClient.send(one, b"".join(one.request(request) for request in requests))
        received = self.server.statistics().received
        self.assertLess(received, 12)
        self.turn()
        self.assertEqual(len(one.replies(requests)), 21)
        self.assertEqual(one.transport.producerState, "producing")

    def test_reads_do_not_write(self) -> None:
        """Without a change nothing is written, and nothing waits."""
        one, _ = self.client()
        store = self.server.state.store
        assert store is not None
        statements: list[str] = []
        store._database.set_trace_callback(statements.append)
        RawClient.send(one, one.request(GetDataRequest("/", False)))
        self.assertEqual((len(one.frames()), statements), (1, []))

    def test_unwritten_changes_are_not_acknowledged(self) -> None:
        """What cannot be written is not said: all are hung up on; later it is written."""
        one, session = self.client()
        store = self.server.state.store
        assert store is not None
        store._database.execute("PRAGMA max_page_count = 1")  # no page more than there are
        with capturedLogs() as logs:
            one.send(one.request(CreateRequest("/a", bytes(100_000), OPEN, 0)))
        self.assertIn("disk is full", str(logs[0]["error"]))
        self.assertEqual([log["log_level"] for log in logs], [LogLevel.critical])
        self.assertEqual((one.read(), one.connected), (b"", False))
        self.assertFalse(store._database.in_transaction)
        with capturedLogs() as logs:
            for pause in (1, 1, 1, 57, 1):  # seconds, in which clients connect again
                self.clock.advance(pause)
                Patient(self.server, self).send(
                    framed(encode(ConnectRequest(0, 0, 6000, 0, bytes(16), False)))
                )
            self.assertEqual([log["log_level"] for log in logs], [LogLevel.critical])
            store._database.execute("PRAGMA max_page_count = 1000000")
            self.client(session)
            self.client()
        self.assertEqual(formatEvent(logs[-1]), "changes can be saved again")
        self.crash()
        self.assertIn("/a", self.server.tree())


class DirectoryTests(SynchronousTestCase):
    """Directories that cannot be used."""

    def error(self, folder: Path) -> str:
        """What a server says that is to use a directory."""
        with self.assertRaises(DataDirectoryError) as caught:
            started(data_dir=folder)
        return str(caught.exception)

    def test_a_directory_in_use_is_refused(self) -> None:
        """Two servers cannot have the same."""
        folder = Path(self.mktemp())
        server, _ = started(data_dir=folder)
        self.addCleanup(server.stop)
        self.assertEqual(
            self.error(folder),
            f"cannot use the data directory {folder}: another process uses it",
        )

    def test_a_file_is_refused(self) -> None:
        """It has to be a directory."""
        folder = Path(self.mktemp())
        folder.write_text("")
        self.assertIn("File exists", self.error(folder))

    def test_a_foreign_database_is_refused(self) -> None:
        """A database file with invalid contents."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "zkservice.sqlite3").write_bytes(b"nonsense" * 1000)
        self.assertIn("not a database", self.error(folder))

    def test_damaged_data_is_refused(self) -> None:
        """Data that cannot be read, or nodes without a parent, are not served."""
        for damage in (
            "UPDATE nodes SET acl = 'x'",
            "DELETE FROM nodes WHERE path = '/a'",
            "DROP TABLE sessions",
        ):
            folder = Path(self.mktemp())
            server, clock = started(data_dir=folder)
            one = RawClient(server)
            one.send(framed(encode(ConnectRequest(0, 0, 6000, 0, bytes(16), False))))
            for path in ("/a", "/a/b"):
                one.send(one.request(CreateRequest(path, b"", OPEN, 0)))
            clock.advance(0)
            server.stop()
            database = sqlite3.connect(folder / "zkservice.sqlite3")
            database.execute(damage)
            database.commit()
            database.close()
            self.assertIn("it is damaged", self.error(folder), damage)
            self.assertIn("it is damaged", self.error(folder), "it was closed")

    def test_newer_format_is_refused(self) -> None:
        """What a later version wrote is left alone."""
        folder = Path(self.mktemp())
        folder.mkdir()
        database = sqlite3.connect(folder / "zkservice.sqlite3")
        database.execute("PRAGMA user_version = 77")
        database.close()
        self.assertIn("it was written by a newer version", self.error(folder))

    def test_files_are_private(self) -> None:
        """Others on the machine cannot read it."""
        folder = Path(self.mktemp()) / "deep" / "data"
        server, _ = started(data_dir=folder)
        self.addCleanup(server.stop)
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)

    def test_private_in_a_folder_for_all(self) -> None:
        """In a folder that was there, and is open to all, the files are not."""
        folder = Path(self.mktemp())
        folder.mkdir()
        folder.chmod(0o755)
        self.addCleanup(os.umask, os.umask(0))
        for _ in range(2):
            server, clock = started(data_dir=folder)
            one = RawClient(server)
            one.send(framed(encode(ConnectRequest(0, 0, 6000, 0, bytes(16), False))))
            clock.advance(0)
            modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
            self.assertIn("zkservice.sqlite3", modes)
            self.assertEqual(set(modes.values()), {0o600}, modes)
            server.stop()
            for file in folder.iterdir():  # as an earlier version left them
                file.chmod(0o644)
            (folder / "zkservice.sqlite3-wal").touch(0o644)
        self.assertEqual(folder.stat().st_mode & 0o777, 0o755)

    def test_link_in_place_of_the_database_is_refused(self) -> None:
        """Whoever may write to the folder does not decide which file gets another mode."""
        folder = Path(self.mktemp())
        folder.mkdir()
        other = folder / "other"
        for name in ("zkservice.sqlite3", "zkservice.sqlite3-wal"):
            other.touch()
            other.chmod(0o644)
            (folder / name).symlink_to("other")
            self.assertIn("it is a symbolic link", self.error(folder))
            self.assertEqual(other.stat().st_mode & 0o777, 0o644)
            (folder / name).unlink()
            (folder / "zkservice.sqlite3").unlink(missing_ok=True)


class AnyConversationTests(StoreTestCase):
    """Whatever clients do, what is on the disk is what is in memory."""

    @settings(max_examples=effort(40, 8), derandomize=True, database=None)
    @given(st.lists(calls, max_size=40))
    def test_any_conversation_survives_a_crash(self, conversation: list[tuple[int, Any]]) -> None:
        """After any conversation and a crash, nodes, indexes and sessions are as they were."""
        callers = [self.client()[0] for _ in range(PARTIES)]
        callers[0].create("/ROOT")
        for party, request in conversation:
            callers[party].call(settled(request, "/ROOT"))
        before, tree = self.image(), self.server.state.tree
        indexes = (
            tree.ephemerals,
            set(tree.reap_candidates),
            tree.size,
            self.server.statistics().zxid,
        )
        sessions = self.server.sessions()
        self.crash()
        state = self.server.state
        self.assertEqual(self.image(), before)
        self.assertEqual(
            (
                state.tree.ephemerals,
                set(state.tree.reap_candidates),
                state.tree.size,
                self.server.statistics().zxid,
            ),
            indexes,
        )
        self.assertEqual(self.server.sessions(), sessions)
        self.assert_consistent()

    def assert_consistent(self) -> None:
        """Indexes and counters say what the nodes say."""
        tree = self.server.state.tree
        nodes = {path: node for path, node in tree.nodes.items() if path}
        for path, node in nodes.items():
            children = {name.rpartition("/")[2] for name in nodes if _parent(name) == path}
            self.assertEqual(set(node.children or ()), children - {""}, path)
            self.assertGreaterEqual(node.creates + 3, len(children))
        owned = {path for paths in tree.ephemerals.values() for path in paths}
        self.assertEqual(owned, {path for path, node in nodes.items() if node.owner > 0})
        self.assertEqual(
            set(tree.reap_candidates), {path for path, node in nodes.items() if node.owner < 0}
        )
        sizes = (len(path) + len(node.data or b"") for path, node in nodes.items() if path != "/")
        self.assertEqual(tree.size, sum(sizes) + len(nodes["/"].data or b""))


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
