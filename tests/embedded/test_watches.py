"""Which watches get which events, and when."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.embedded.raw_client import RawClient, connected_client, started
from zkservice.wire.acl import ACL, ANYONE, OPEN_ACL_UNSAFE, Id
from zkservice.wire.records import (
    AddWatchRequest,
    CheckWatchesRequest,
    CreateRequest,
    DeleteRequest,
    ExistsRequest,
    GetACLRequest,
    GetChildren2Request,
    GetChildrenRequest,
    GetDataRequest,
    RemoveWatchesRequest,
    SetACLRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
    SyncRequest,
)

OPEN = list(OPEN_ACL_UNSAFE)
CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4


class WatchTestCase(SynchronousTestCase):
    """A server, a client that watches and a client that changes nodes."""

    @override
    def setUp(self) -> None:
        self.server, self.clock = started()
        self.one: RawClient = connected_client(self.server)
        self.other: RawClient = connected_client(self.server)

    def delete(self, path: str) -> None:
        """Delete a node."""
        self.assertEqual(self.other.call(DeleteRequest(path, -1)).err, 0)

    def set(self, path: str) -> None:
        """Change a node."""
        self.assertEqual(self.other.call(SetDataRequest(path, b"", -1)).err, 0)


class OneShotTests(WatchTestCase):
    """Watches that are set by reading."""

    def watch(self, path: str) -> None:
        """Watch a node in every way."""
        self.one.call(ExistsRequest(path, True))
        self.one.call(GetDataRequest(path, True))
        self.one.call(GetChildrenRequest(path, True))
        self.one.call(GetChildren2Request(path, True))

    def test_creation_fires_exists_and_child_watches(self) -> None:
        """exists on a missing node sees the creation, the parent's watch the child."""
        self.watch("/a")
        self.watch("/")
        self.other.create("/a")
        self.assertEqual(self.one.told(), [(CREATED, "/a"), (CHILDREN, "/")])

    def test_set_fires_data_watches_once(self) -> None:
        """A change of data, even to the same bytes, fires data watches, once."""
        self.other.create("/a")
        self.watch("/a")
        self.watch("/")
        self.set("/a")
        self.set("/a")
        self.assertEqual(self.one.told(), [(CHANGED, "/a")])

    def test_deletion_fires_each_watcher_once(self) -> None:
        """One event for the node, whoever watched in how many ways, and one for the parent."""
        self.other.create("/a")
        self.other.create("/a/b")
        self.watch("/a")
        self.watch("/a/b")
        self.delete("/a/b")
        self.assertEqual(self.one.told(), [(DELETED, "/a/b"), (CHILDREN, "/a")])
        self.delete("/a")
        self.assertEqual(self.one.told(), [(DELETED, "/a")])
        self.assertEqual(self.server.statistics().watches, 0)

    def test_child_watch_sees_the_deletion(self) -> None:
        """A child watch fires when its node is deleted."""
        self.other.create("/a")
        self.one.call(GetChildrenRequest("/a", True))
        self.delete("/a")
        self.assertEqual(self.one.told(), [(DELETED, "/a")])

    def test_what_tells_nothing(self) -> None:
        """setACL, reads, sync and what fails."""
        self.other.create("/a")
        self.watch("/a")
        for request in (
            SetACLRequest("/a", OPEN, -1),
            GetACLRequest("/a"),
            SyncRequest("/a"),
            SetDataRequest("/a", b"", 77),
            CreateRequest("/a", b"", OPEN, 0),
        ):
            self.other.call(request)
        self.assertEqual(self.one.told(), [])

    def test_reads_of_missing_nodes(self) -> None:
        """Of these only exists sets a watch."""
        self.one.call(GetDataRequest("/a", True))
        self.one.call(GetChildrenRequest("/a", True))
        self.assertEqual(self.server.statistics().watches, 0)

    def test_own_changes_fire_before_the_reply(self) -> None:
        """A client's own changes fire its watches, too, before the reply."""
        self.one.create("/a")
        self.one.call(GetDataRequest("/a", True))
        request = SetDataRequest("/a", b"", -1)
        self.one.send(self.one.request(request))
        first, second = self.one.frames()
        self.assertEqual([first[:4], second[:4]], [b"\xff\xff\xff\xff", b"\0\0\0\3"])

    def test_event_header_has_the_zxid(self) -> None:
        """An event has the transaction's number, no error, and state 3."""
        self.one.call(ExistsRequest("/a", True))
        zxid = self.other.create("/a").zxid
        self.one.replies([])
        self.assertEqual(self.one.event_zxids, [zxid])
        self.assertEqual([event.state for event in self.one.events], [3])

    def test_without_the_flag(self) -> None:
        """A read that does not ask for a watch sets none."""
        self.one.call(GetDataRequest("/", False))
        self.one.call(ExistsRequest("/", False))
        self.one.call(GetChildrenRequest("/", False))
        self.assertEqual(self.server.statistics().watches, 0)

    def test_gone_with_the_connection(self) -> None:
        """Watches die with a connection, and another one of the session has none."""
        one = RawClient(self.server)
        hello = one.hello()
        one.call(ExistsRequest("/a", True))
        one.lose()
        self.assertEqual(self.server.statistics().watches, 0)
        again = RawClient(self.server)
        again.hello(session_id=hello.session_id, password=hello.password)
        self.other.create("/a")
        self.assertEqual(again.told(), [])

    def test_a_watcher_without_permission_is_not_notified(self) -> None:
        """Without READ permission no event is sent, but the watch is used up."""
        self.other.authenticate("digest", b"u:p")
        self.other.create("/a")
        self.watch("/a")
        self.watch("/")
        mine = [ACL(31, Id("auth", ""))]
        self.other.call(SetACLRequest("/a", mine, -1))
        self.set("/a")
        self.assertEqual(self.one.told(), [])
        self.other.call(SetACLRequest("/a", OPEN, -1))
        self.set("/a")
        self.assertEqual(self.one.told(), [])
        self.delete("/a")
        self.assertEqual(self.one.told(), [(DELETED, "/a"), (CHILDREN, "/")])

    def test_deletion_without_permission(self) -> None:
        """The list of the node that went decides, for its parent the parent's."""
        self.other.create("/a", acl=[ACL(31, ANYONE)])
        self.watch("/a")
        self.watch("/")
        self.other.authenticate("digest", b"u:p")
        self.other.call(SetACLRequest("/a", [ACL(31, Id("auth", ""))], -1))
        self.delete("/a")
        self.assertEqual(self.one.told(), [(CHILDREN, "/")])


class SetWatchesTests(WatchTestCase):
    """Watches set again after a reconnect."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.other.create("/old")
        self.since = self.server.statistics().zxid
        self.other.create("/old/child")
        self.other.create("/new")
        self.set("/new")

    def catch_up(self, **watches: list[str]) -> list[tuple[int, str]]:
        """The events that are sent before the reply."""
        lists = [watches.get(name, []) for name in ("data", "exist", "child")]
        reply = self.one.call(SetWatches(self.since, *lists), -8)
        self.assertEqual((reply.xid, reply.err), (-8, 0))
        return self.one.told()

    def test_data_watches_are_set_again_or_fire(self) -> None:
        """Missing: deleted; changed since: changed; else it is watched."""
        told = self.catch_up(data=["/no", "/new", "/old"])
        self.assertEqual(told, [(DELETED, "/no"), (CHANGED, "/new")])
        for path in ("/new", "/old"):
            self.set(path)
        self.other.create("/no")
        self.assertEqual(self.one.told(), [(CHANGED, "/old")])

    def test_exist_watches_are_set_again_or_fire(self) -> None:
        """There: created, however old; else it is watched."""
        self.assertEqual(self.catch_up(exist=["/no", "/old"]), [(CREATED, "/old")])
        self.set("/old")
        self.other.create("/no")
        self.assertEqual(self.one.told(), [(CREATED, "/no")])

    def test_child_watches_are_set_again_or_fire(self) -> None:
        """Missing: deleted; children came or went since: changed; else it is watched."""
        self.since = self.server.statistics().zxid
        self.other.create("/new/child")
        told = self.catch_up(child=["/no", "/new", "/old"])
        self.assertEqual(told, [(DELETED, "/no"), (CHILDREN, "/new")])
        self.other.create("/new/another")
        self.other.create("/old/another")
        self.assertEqual(self.one.told(), [(CHILDREN, "/old")])

    def test_same_path_twice(self) -> None:
        """A node that is gone gives an event for each list."""
        self.assertEqual(self.catch_up(data=["/no"], child=["/no"]), [(DELETED, "/no")] * 2)

    def test_persistent_watches_are_set_again(self) -> None:
        """Persistent watches are set, and send no events of the past."""
        request = SetWatches2(0, [], [], [], ["/old", "/no"], ["/new"])
        reply = self.one.call(request)
        self.assertEqual((reply.xid, reply.err, self.one.told()), (1, 0, []))
        self.other.create("/no")
        self.set("/old")
        self.other.create("/new/child")
        told = [(CREATED, "/no"), (CHANGED, "/old"), (CREATED, "/new/child")]
        self.assertEqual(self.one.told(), told)

    def test_missed_events_are_not_filtered_by_permission(self) -> None:
        """Clients that may no longer read a node still get its missed events."""
        self.other.create("/secret", acl=[ACL(0, ANYONE)])
        self.assertEqual(self.catch_up(exist=["/secret"]), [(CREATED, "/secret")])


class PersistentTests(WatchTestCase):
    """Watches that stay."""

    def add(self, path: str, mode: int) -> None:
        """Add a watch."""
        reply = self.one.call(AddWatchRequest(path, mode))
        self.assertEqual((reply.err, reply.body.err), (0, 0))

    def live_and_die(self) -> None:
        """Create /a and a child, change both, delete both."""
        self.other.create("/a")
        self.other.create("/a/b")
        self.set("/a")
        self.set("/a/b")
        self.delete("/a/b")
        self.delete("/a")

    def test_persistent_watch_stays(self) -> None:
        """All of the node and its list of children, again and again."""
        self.add("/a", 0)
        told = [
            (CREATED, "/a"),
            (CHILDREN, "/a"),
            (CHANGED, "/a"),
            (CHILDREN, "/a"),
            (DELETED, "/a"),
        ]
        for _ in range(2):
            self.live_and_die()
            self.assertEqual(self.one.told(), told)

    def test_recursive_watch_covers_descendants(self) -> None:
        """All of the node and its descendants; no lists of children."""
        self.add("/a", 1)
        told = [
            (CREATED, "/a"),
            (CREATED, "/a/b"),
            (CHANGED, "/a"),
            (CHANGED, "/a/b"),
            (DELETED, "/a/b"),
            (DELETED, "/a"),
        ]
        for _ in range(2):
            self.live_and_die()
            self.assertEqual(self.one.told(), told)
        self.other.create("/ab")
        self.assertEqual(self.one.told(), [])

    def test_a_recursive_watch_at_the_root_sees_everything(self) -> None:
        """At the root a recursive watch sees everything."""
        self.add("/", 1)
        self.other.create("/x")
        self.assertEqual(self.one.told(), [(CREATED, "/x")])

    def test_modes_are_independent(self) -> None:
        """All kinds of watches at one path: one event each time, the stayers stay."""
        self.other.create("/a")
        self.add("/a", 0)
        self.add("/a", 1)
        self.one.call(GetDataRequest("/a", True))
        self.one.call(GetChildrenRequest("/a", True))
        self.set("/a")
        self.assertEqual(self.one.told(), [(CHANGED, "/a")])
        self.set("/a")
        self.assertEqual(self.one.told(), [(CHANGED, "/a")])
        self.one.call(RemoveWatchesRequest("/a", 4))
        self.set("/a")
        self.assertEqual(self.one.told(), [(CHANGED, "/a")])

    def test_add_watch_reply_has_four_zero_bytes(self) -> None:
        """The reply's body is four zero bytes."""
        self.one.send(self.one.request(AddWatchRequest("foo", 0)))
        (frame,) = self.one.frames()
        self.assertEqual(frame[16:], bytes(4))

    def test_an_unknown_mode_is_refused(self) -> None:
        """There are two modes."""
        self.assertEqual(self.one.call(AddWatchRequest("/a", 2)).err, -5)


class RemoveTests(WatchTestCase):
    """Looking for watches and taking them away."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one.call(ExistsRequest("/", True))
        self.one.call(GetChildrenRequest("/", True))
        self.one.call(AddWatchRequest("/", 0))
        self.one.call(AddWatchRequest("/", 1))

    def present(self) -> list[int]:
        """The types that there are watches of."""
        return [
            type
            for type in (1, 2, 3, 4, 5)
            if self.one.call(CheckWatchesRequest("/", type)).err == 0
        ]

    def test_each_type_is_removed_by_itself(self) -> None:
        """Children, data, any, persistent, recursive: each for itself."""
        self.assertEqual(self.present(), [1, 2, 3, 4, 5])
        for type, left in ((1, [2, 3, 4, 5]), (2, [3, 4, 5]), (4, [3, 5]), (5, [])):
            self.assertEqual(self.one.call(RemoveWatchesRequest("/", type)).err, 0)
            self.assertEqual(self.present(), left)

    def test_any_type_removes_all(self) -> None:
        """ANY removes all; no event is sent, then or later."""
        self.assertEqual(self.one.call(RemoveWatchesRequest("/", 3)).err, 0)
        self.other.create("/a")
        self.set("/")
        self.assertEqual((self.present(), self.one.told()), ([], []))
        self.assertEqual(self.server.statistics().watches, 0)

    def test_removing_no_watch_is_an_error(self) -> None:
        """-121 without such a watch, also if another connection or path has one."""
        for request in (CheckWatchesRequest, RemoveWatchesRequest):
            self.assertEqual(self.other.call(request("/", 3)).err, -121)
            self.assertEqual(self.one.call(request("/a", 3)).err, -121)

    def test_an_unknown_type_gets_minus_5(self) -> None:
        """-5."""
        for request in (CheckWatchesRequest, RemoveWatchesRequest):
            for type in (0, 6, -1):
                self.assertEqual(self.one.call(request("/", type)).err, -5)


class OldWatchesTests(SynchronousTestCase):
    """The watches of ZooKeeper 3.6 to 3.8: one for a connection, a path and a table."""

    @override
    def setUp(self) -> None:
        self.server, _ = started(watch_semantics="3.8")
        self.one = connected_client(self.server)

    def test_the_last_one_replaces_the_others(self) -> None:
        """A plain read makes a persistent watch a one-shot one; events have no zxid."""
        self.one.create("/a")
        self.one.call(AddWatchRequest("/a", 1))
        self.one.call(GetDataRequest("/a", True))
        for _ in range(2):
            self.one.call(SetDataRequest("/a", b"", -1))
        self.assertEqual(self.one.told(), [(CHANGED, "/a")])
        self.assertEqual(self.one.event_zxids, [-1])

    def test_removal_does_not_know_the_mode(self) -> None:
        """Types of one-shot watches remove persistent ones; the types of 3.9 are refused."""
        self.one.call(AddWatchRequest("/a", 0))
        self.assertEqual(self.server.statistics().watches, 2)
        self.assertEqual(self.one.call(RemoveWatchesRequest("/a", 4)).err, -5)
        self.assertEqual(self.one.call(RemoveWatchesRequest("/a", 2)).err, 0)
        self.assertEqual(self.one.call(RemoveWatchesRequest("/a", 2)).err, -121)
        self.assertEqual(self.server.statistics().watches, 1)

    def test_gone_with_the_connection(self) -> None:
        """Watches die with a connection."""
        self.one.call(AddWatchRequest("/a", 0))
        self.one.call(AddWatchRequest("/", 1))
        self.one.lose()
        self.assertEqual(self.server.statistics().watches, 0)

    def test_an_unknown_release_is_refused(self) -> None:
        """There are two kinds of watches to choose from."""
        with self.assertRaises(ValueError) as caught:
            started(watch_semantics="4")
        self.assertIn("must be '3.8' or '3.9'", str(caught.exception))
