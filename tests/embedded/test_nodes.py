"""Creating, deleting, reading and writing nodes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.embedded.raw_client import RawClient, connected_client, started
from zkservice.embedded.nodes import ZNode, wrap_int32
from zkservice.embedded.transaction import LAST_SEQUENCE
from zkservice.wire.acl import ACL, ANYONE, OPEN_ACL_UNSAFE
from zkservice.wire.records import (
    CloseSession,
    Create2Request,
    CreateContainerRequest,
    CreateFlag,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    ExistsRequest,
    GetACLRequest,
    GetAllChildrenNumberRequest,
    GetChildren2Request,
    GetChildrenRequest,
    GetDataRequest,
    GetEphemeralsRequest,
    ReconfigRequest,
    SetACLRequest,
    SetDataRequest,
    Stat,
    SyncRequest,
    WhoAmIRequest,
)

OPEN = list(OPEN_ACL_UNSAFE)


class NodeTestCase(SynchronousTestCase):
    """A server and a client."""

    @override
    def setUp(self) -> None:
        self.server, self.clock = started(tick_time=0.5)
        self.one: RawClient = connected_client(self.server)

    def stat(self, path: str) -> Stat:
        """A node's Stat."""
        stat: Stat = self.one.call(ExistsRequest(path, False)).body.stat
        return stat

    def error(self, request: object) -> int:
        """The error that a request is answered with."""
        return self.one.call(request).err


class CreateTests(NodeTestCase):
    """Create in its variants."""

    def test_create_replies_with_path_and_stat(self) -> None:
        """Create answers the path, the newer ones a Stat as well."""
        self.assertEqual(self.one.create("/a").body.path, "/a")
        for request in (
            Create2Request("/b", b"xy", OPEN, 0),
            CreateContainerRequest("/c", b"xy", OPEN, 4),
            CreateTTLRequest("/d", b"xy", OPEN, 5, 1000),
        ):
            reply = self.one.call(request)
            self.assertEqual(reply.body.path, request.path)
            self.assertEqual(reply.body.stat, self.stat(request.path))
            self.assertEqual((reply.body.stat.czxid, reply.body.stat.data_length), (reply.zxid, 2))

    def test_each_error_of_create_has_its_code(self) -> None:
        """Each error, for each of the reasons."""
        self.one.create("/a")
        self.one.create("/e", flags=1)
        for path, error in {
            "/a": -110,
            "/": -110,
            "/no/a": -101,
            "/e/a": -108,
            "foo": -8,
            "": -8,
            "/a/": -8,
            "/no/": -101,
            "/a//b": -101,
            "/a/..": -8,
            "/a\0b": -8,
            "/\x01": -8,
            "/\ue000": -8,
            "/\U0001f600": -8,
        }.items():
            self.assertEqual(self.one.create(path).err, error, path)
        self.assertEqual([self.one.create("/f", flags=flag).err for flag in (7, -1)], [-8, -8])

    def test_create_checks_in_order(self) -> None:
        """Flags before path before ACL before parent before name."""
        self.assertEqual(self.error(CreateRequest("foo", b"", [], 9)), -8)
        self.assertEqual(self.error(CreateRequest("/no/a/", b"", [], 0)), -114)
        self.assertEqual(self.error(CreateRequest("/no/a/", b"", OPEN, 0)), -101)

    def test_sequence_numbers_count_all_creations(self) -> None:
        """Ten digits that count all creations under the parent, and never come again."""
        self.one.create("/p")
        self.one.create("/p/plain")
        made = [self.one.create(f"/p/{prefix}", flags=2).body.path for prefix in ("a-", "b-", "")]
        self.assertEqual(made, ["/p/a-0000000001", "/p/b-0000000002", "/p/0000000003"])
        self.one.call(DeleteRequest("/p/0000000003", -1))
        self.assertEqual(self.one.create("/p/", flags=3).body.path, "/p/0000000004")

    def test_sequence_runs_out(self) -> None:
        """After the last number sequential creates are refused; plain ones are not."""
        self.one.create("/p")
        self.server.state.tree.get("/p").creates = LAST_SEQUENCE
        self.assertEqual(self.one.create("/p/", flags=2).body.path, "/p/2147483647")
        self.assertEqual(self.one.create("/p/", flags=2).err, -8)
        self.assertEqual(self.one.create("/p/plain").err, 0)

    def test_ephemeral_owner_is_the_session(self) -> None:
        """Its owner is the session."""
        self.one.create("/e", flags=1)
        (session,) = self.server.sessions()
        self.assertEqual(self.stat("/e").ephemeral_owner, session)

    def test_null_and_empty(self) -> None:
        """Null data and empty data stay different; the length of both is 0."""
        self.one.create("/null", None)
        self.one.create("/empty", b"")
        null = self.one.call(GetDataRequest("/null", False)).body
        empty = self.one.call(GetDataRequest("/empty", False)).body
        self.assertEqual((null.data, empty.data), (None, b""))
        self.assertEqual((null.stat.data_length, empty.stat.data_length), (0, 0))


class MortalNodeTests(NodeTestCase):
    """Containers and nodes with a TTL."""

    def exists(self, path: str) -> bool:
        """Whether there is a node."""
        return self.one.call(ExistsRequest(path, False)).err == 0

    def test_empty_container_is_reaped(self) -> None:
        """When its last child was deleted, not before it had one; its Stat does not show it."""
        self.one.call(CreateContainerRequest("/c", b"", OPEN, 4))
        self.assertEqual(self.stat("/c").ephemeral_owner, 0)
        self.server.reap()
        self.assertTrue(self.exists("/c"))
        self.one.create("/c/a")
        self.server.reap()
        self.assertTrue(self.exists("/c"))
        self.one.call(DeleteRequest("/c/a", -1))
        self.one.call(ExistsRequest("/c", True))
        self.server.reap()
        self.assertEqual(self.one.told(), [(2, "/c")])

    def test_container_is_the_operation(self) -> None:
        """The flag makes none with another operation; the operation does with another flag."""
        self.one.create("/plain", flags=4)
        path = self.one.call(CreateContainerRequest("/c-", b"", OPEN, 2)).body.path
        self.assertEqual(path, "/c-0000000001")
        for parent in ("/plain", path):
            self.one.create(f"{parent}/a")
            self.one.call(DeleteRequest(f"{parent}/a", -1))
        self.server.reap()
        self.assertEqual((self.exists("/plain"), self.exists(path)), (True, False))

    def test_ttl_node_is_reaped(self) -> None:
        """It goes when it was not set for its TTL and has no children."""
        self.one.call(CreateTTLRequest("/t", b"", OPEN, 5, 10_000))
        self.assertEqual(self.stat("/t").ephemeral_owner, 0)
        self.clock.rightNow += 9
        self.one.call(SetDataRequest("/t", b"", -1))
        self.clock.rightNow += 9
        self.server.reap()
        self.assertTrue(self.exists("/t"))
        self.one.create("/t/child")
        self.clock.rightNow += 9
        self.server.reap()
        self.assertTrue(self.exists("/t"))
        self.one.call(DeleteRequest("/t/child", -1))
        self.server.reap()
        self.assertFalse(self.exists("/t"))

    def test_reaped_by_and_by(self) -> None:
        """The server looks once a minute."""
        self.one.call(CreateTTLRequest("/t", b"", OPEN, 5, 1))
        for _ in range(121):
            self.clock.pump([0.5])
            self.one.ping()
        self.assertFalse(self.exists("/t"))

    def test_a_ttl_is_within_its_bounds(self) -> None:
        """1 to 2**40 - 1 milliseconds, with a TTL flag, and only with createTTL."""
        flag, plain = CreateFlag.PERSISTENT_TTL, CreateFlag.PERSISTENT
        for flags, ttl, error in (
            (flag, 1, 0),
            (flag, (1 << 40) - 1, 0),
            (flag, 0, -8),
            (flag, -1, -8),
            (flag, 1 << 40, -8),
            (plain, 1, -8),
            (plain, 0, -8),
            (plain, -1, -8),
            (CreateFlag.CONTAINER, -1, -8),
        ):
            request = CreateTTLRequest(f"/t{flags}:{ttl}", b"", OPEN, flags, ttl)
            self.assertEqual(self.error(request), error, request)
        self.assertEqual([self.one.create("/t", flags=flags).err for flags in (5, 6)], [-8, -8])

    def test_ttl_nodes_can_be_switched_off(self) -> None:
        """Without TTL nodes, whatever has a TTL flag is unimplemented."""
        self.server, _ = started(ttl_nodes=False)
        self.one = connected_client(self.server)
        self.assertEqual(self.error(CreateTTLRequest("/t", b"", OPEN, 5, 1)), -6)
        self.assertEqual(self.one.create("/t", flags=5).err, -6)
        self.assertTrue(self.one.connected)


class DeleteTests(NodeTestCase):
    """Delete."""

    def test_each_error_of_delete_has_its_code(self) -> None:
        """Each error, for each of the reasons."""
        self.one.create("/a")
        self.one.create("/a/b")
        for request, error in (
            (DeleteRequest("/a", 7), -103),
            (DeleteRequest("/a", -2), -103),
            (DeleteRequest("/a", 0), -111),
            (DeleteRequest("/no", -1), -101),
            (DeleteRequest("/no/no", -1), -101),
            (DeleteRequest("/a/", -1), -101),
            (DeleteRequest("foo", -1), -8),
            (DeleteRequest("", -1), -8),
            (DeleteRequest("/\0", -1), -8),
            (DeleteRequest("/", -1), -8),
            (DeleteRequest("/zookeeper", -1), -8),
            (DeleteRequest("/zookeeper/quota", -1), -8),
            (DeleteRequest("/zookeeper/config", -1), -8),
            (DeleteRequest("/a/b", 0), 0),
            (DeleteRequest("/a", -1), 0),
        ):
            self.assertEqual(self.error(request), error, request)


class StatTests(NodeTestCase):
    """The fields of a Stat that each change increases."""

    def changed(self, path: str, request: object) -> dict[str, int]:
        """The fields of a node's Stat that a request changes, and by how much."""
        before = self.stat(path)
        self.clock.rightNow += 1
        self.assertEqual(self.error(request), 0)
        after = self.stat(path)
        return {
            name: new - old
            for name, old, new in zip(before._fields, before, after, strict=True)
            if new != old
        }

    def test_stat_of_a_new_node(self) -> None:
        """A new node."""
        zxid = self.one.create("/a", b"xy").zxid
        now = int(self.clock.seconds() * 1000)
        self.assertEqual(self.stat("/a"), Stat(zxid, zxid, now, now, 0, 0, 0, 0, 2, 0, zxid))

    def test_stat_after_each_change(self) -> None:
        """setData, setACL, a child created, changed, deleted."""
        self.one.create("/a", b"xy")
        for request, change in (
            (
                SetDataRequest("/a", b"xyz", 0),
                {"mzxid": 1, "mtime": 1000, "version": 1, "data_length": 1},
            ),
            (SetDataRequest("/a", b"xyz", 1), {"mzxid": 1, "mtime": 1000, "version": 1}),
            (SetACLRequest("/a", OPEN, 0), {"aversion": 1}),
            (CreateRequest("/a/b", b"", OPEN, 0), {"cversion": 1, "num_children": 1, "pzxid": 4}),
            (SetDataRequest("/a/b", b"", -1), {}),
            (SetACLRequest("/a/b", OPEN, -1), {}),
            (DeleteRequest("/a/b", -1), {"cversion": 1, "num_children": -1, "pzxid": 3}),
        ):
            self.assertEqual(self.changed("/a", request), change, request)

    def test_a_fresh_server_has_the_nodes_of_a_real_one(self) -> None:
        """The nodes that are there from the start, as a real server shows them."""
        for path, cversion, aversion, children in (
            ("/", -1, 0, 1),
            ("/zookeeper", -2, 0, 2),
            ("/zookeeper/quota", 0, 0, 0),
            ("/zookeeper/config", 0, -1, 0),
        ):
            wanted = Stat(0, 0, 0, 0, 0, cversion, aversion, 0, 0, children, 0)
            self.assertEqual(self.stat(path), wanted, path)

    def test_numbers_wrap(self) -> None:
        """Counters are Java's integers, and a version is never -1."""
        self.assertEqual(
            [wrap_int32(2**31), wrap_int32(-1), wrap_int32(2**32 + 5)], [-(2**31), -1, 5]
        )
        self.one.create("/a")
        node: ZNode = self.server.state.tree.get("/a")
        for before, after in ((2**31 - 1, -(2**31)), (-2, 0), (5, 6)):
            node.version = before
            stat = self.one.call(SetDataRequest("/a", b"", -1)).body.stat
            self.assertEqual(stat.version, after)


class ReadAndWriteTests(NodeTestCase):
    """Reading, and changing what is there."""

    def test_set_data_checks_the_version(self) -> None:
        """The version is checked unless it is -1."""
        self.one.create("/a")
        for request, error in (
            (SetDataRequest("/a", b"1", 1), -103),
            (SetDataRequest("/a", b"1", -2), -103),
            (SetDataRequest("/a", b"1", 0), 0),
            (SetDataRequest("/a", b"1", -1), 0),
            (SetDataRequest("/no", b"1", -1), -101),
            (SetDataRequest("foo", b"1", -1), -8),
            (SetDataRequest("", b"1", -1), -8),
            (SetDataRequest("/", b"1", -1), 0),
            (SetDataRequest("/zookeeper/config", b"1", -1), -102),
        ):
            self.assertEqual(self.error(request), error, request)
        self.assertEqual(self.stat("/a").version, 2)

    def test_reads_of_missing_nodes_fail(self) -> None:
        """Missing nodes and most invalid paths have the error -101 (no node)."""
        for path in ("/no", "foo", "/zookeeper/", "//"):
            for request in (
                ExistsRequest(path, False),
                GetDataRequest(path, False),
                GetChildrenRequest(path, False),
                GetChildren2Request(path, False),
                GetACLRequest(path),
                GetAllChildrenNumberRequest(path),
            ):
                self.assertEqual(self.error(request), -101, request)
        self.assertEqual(self.error(ExistsRequest("/\0", False)), -8)
        self.assertEqual(self.error(GetDataRequest("/\0", False)), -101)

    def test_the_empty_path_reads_the_root(self) -> None:
        """For reads, the empty path is the root."""
        self.one.create("/a")
        self.assertEqual(self.one.call(GetChildrenRequest("", False)).err, 0)
        self.assertEqual(self.stat(""), self.stat("/"))

    def test_children_are_names(self) -> None:
        """Names, not paths; the newer request has the Stat, too."""
        self.one.create("/a")
        self.one.create("/a/b")
        self.one.create("/a/b/c")
        root = self.one.call(GetChildrenRequest("/", False)).body.children
        self.assertEqual(sorted(root), ["a", "zookeeper"])
        reply = self.one.call(GetChildren2Request("/a", False)).body
        self.assertEqual((reply.children, reply.stat), (["b"], self.stat("/a")))
        self.assertEqual(self.one.call(GetChildrenRequest("/a/b/c", False)).body.children, [])

    def test_all_descendants_are_counted(self) -> None:
        """All descendants count, but the node itself does not."""
        for path in ("/a", "/a/b", "/a/b/c", "/ab"):
            self.one.create(path)
        counts = [
            self.one.call(GetAllChildrenNumberRequest(path)).body.total_number
            for path in ("/a", "/a/b", "/a/b/c", "/")
        ]
        self.assertEqual(counts, [2, 1, 0, 7])

    def test_deep_tree_is_counted_without_recursion(self) -> None:
        """A tree may be deeper than Python's stack."""
        path = ""
        for _ in range(1500):
            path += "/d"
            self.one.create(path)
        reply = self.one.call(GetAllChildrenNumberRequest("/"))
        self.assertEqual(reply.body.total_number, 1503)

    def test_sync_echoes_the_path(self) -> None:
        """The path is echoed, whatever it is."""
        for path in ("/", "/no", "foo", "", None):
            self.assertEqual(self.one.call(SyncRequest(path)).body.path, path)

    def test_ephemerals_of_the_session_by_prefix(self) -> None:
        """This session's, by the beginning of the string."""
        other = connected_client(self.server)
        other.create("/foreign", flags=1)
        for path in ("/a1", "/a2", "/b"):
            self.one.create(path, flags=1)
        for prefix, found in (
            (None, ["/a1", "/a2", "/b"]),
            ("", ["/a1", "/a2", "/b"]),
            ("/", ["/a1", "/a2", "/b"]),
            ("/a", ["/a1", "/a2"]),
            ("/c", []),
        ):
            self.assertEqual(self.one.call(GetEphemeralsRequest(prefix)).body.ephemerals, found)
        self.one.call(CloseSession())
        self.assertEqual(other.call(GetEphemeralsRequest(None)).body.ephemerals, ["/foreign"])

    def test_who_am_i(self) -> None:
        """The address, and users without digests."""
        self.one.authenticate("digest", b"u:p")
        infos = self.one.call(WhoAmIRequest()).body.client_info
        found = {(info.auth_scheme, info.user) for info in infos}
        self.assertEqual(found, {("ip", "127.0.0.1"), ("digest", "u")})

    def test_configuration_is_readable_and_not_writable(self) -> None:
        """Every client can read the configuration, and none can write it."""
        self.assertEqual(self.one.call(GetDataRequest("/zookeeper/config", False)).body.data, b"")
        acl = self.one.call(GetACLRequest("/zookeeper/config")).body.acl
        self.assertEqual(acl, [ACL(1, ANYONE)])
        self.assertEqual(self.error(ReconfigRequest(None, None, None, -1)), -123)

    def test_clients_may_create_nodes_below_zookeeper(self) -> None:
        """Clients may make nodes under /zookeeper."""
        self.assertEqual(self.one.create("/zookeeper/mine").err, 0)
        self.assertEqual(self.error(DeleteRequest("/zookeeper/mine", -1)), 0)
