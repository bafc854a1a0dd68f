"""Quotas: counters that the server keeps, limits that it may enforce."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.embedded.raw_client import Multi, RawClient, connected_client, started
from zkservice.wire.acl import OPEN_ACL_UNSAFE
from zkservice.wire.records import (
    CloseSession,
    CreateRequest,
    DeleteRequest,
    ExistsRequest,
    GetDataRequest,
    SetDataRequest,
)

OPEN = list(OPEN_ACL_UNSAFE)
STATS = "/zookeeper/quota/a/zookeeper_stats"


def quota(path: str, limits: bytes) -> list[CreateRequest]:
    """What a client does to set a quota, as zkCli does."""
    return [
        CreateRequest(f"/zookeeper/quota{path}", None, OPEN, 0),
        CreateRequest(f"/zookeeper/quota{path}/zookeeper_limits", limits, OPEN, 0),
        CreateRequest(f"/zookeeper/quota{path}/zookeeper_stats", b"count=0,bytes=0", OPEN, 0),
    ]


class CounterTests(SynchronousTestCase):
    """What is counted."""

    @override
    def setUp(self) -> None:
        self.server, _ = started()
        self.one: RawClient = connected_client(self.server)
        self.one.create("/a", b"abc")
        self.one.create("/a/old", b"xy")
        for request in quota("/a", b"count=2,bytes=-1"):
            self.assertEqual(self.one.call(request).err, 0)

    def counted(self, path: str = STATS) -> bytes:
        """What a counter says."""
        data: bytes = self.one.call(GetDataRequest(path, False)).body.data
        return data

    def after(self, request: Any) -> bytes:
        """What the counter says after a request."""
        self.one.call(request)
        return self.counted()

    def test_changes_are_counted(self) -> None:
        """Nodes and bytes at and below the node; soft limits forbid nothing."""
        self.assertEqual(self.counted(), b"count=2,bytes=5")
        for request, counted in (
            (CreateRequest("/a/b", b"12", OPEN, 0), b"count=3,bytes=7"),
            (CreateRequest("/a/b/c", None, OPEN, 0), b"count=4,bytes=7"),
            (SetDataRequest("/a", None, -1), b"count=4,bytes=4"),
            (SetDataRequest("/a/b", b"12345", -1), b"count=4,bytes=7"),
            (CreateRequest("/ab", b"elsewhere", OPEN, 0), b"count=4,bytes=7"),
            (DeleteRequest("/a/b/c", -1), b"count=3,bytes=7"),
            (DeleteRequest("/a/b", -1), b"count=2,bytes=2"),
            (DeleteRequest("/no", -1), b"count=2,bytes=2"),
        ):
            self.assertEqual(self.after(request), counted, request)

    def test_numbers_that_are_too_long(self) -> None:
        """An invalid count is ignored; counting begins again."""
        for digits in (19, 5000):
            self.one.call(SetDataRequest(STATS, b"count=" + b"9" * digits + b",bytes=2", -1))
            self.assertEqual(
                self.after(CreateRequest(f"/a/{digits}", b"1", OPEN, 0)), b"count=1,bytes=3"
            )

    def test_ephemerals_of_a_session_that_ends(self) -> None:
        """All ephemeral nodes are deleted and watches fire, whatever a counter says."""
        other = connected_client(self.server)
        for path in ("/a/first", "/last"):
            other.create(path, flags=1)
            self.one.call(ExistsRequest(path, True))
        self.one.call(SetDataRequest(STATS, b"count=" + b"9" * 5000, -1))
        other.call(CloseSession())
        self.assertEqual(self.one.told(), [(2, "/a/first"), (2, "/last")])

    def test_rolled_back_changes_are_not_counted(self) -> None:
        """What is undone is not counted."""
        made = CreateRequest("/a/b", b"1", OPEN, 0)
        self.assertEqual(self.after(Multi(made, DeleteRequest("/no", -1))), b"count=2,bytes=5")
        self.assertEqual(self.after(Multi(made)), b"count=3,bytes=6")

    def test_expired_ephemerals_are_subtracted(self) -> None:
        """What goes with a session goes from the counter."""
        other = connected_client(self.server)
        other.create("/a/e", b"1", flags=1)
        self.assertEqual(self.counted(), b"count=3,bytes=6")
        other.call(CloseSession())
        self.assertEqual(self.counted(), b"count=2,bytes=5")

    def test_counting_makes_no_event_version_or_zxid(self) -> None:
        """A counter changes without a version, a transaction number or an event."""
        before = self.one.call(GetDataRequest(STATS, True)).body.stat
        self.one.create("/a/b", b"1")
        self.assertEqual(self.one.told(), [])
        after = self.one.call(GetDataRequest(STATS, False)).body.stat
        self.assertEqual(after, before._replace(data_length=15))

    def test_change_is_counted_at_the_closest_quota(self) -> None:
        """A change is counted once, at the closest node with a quota."""
        self.one.create("/a/b")
        for request in quota("/a/b", b"count=5,bytes=5"):
            self.one.call(request)
        self.one.create("/a/b/c", b"1")
        self.assertEqual(self.counted(), b"count=3,bytes=5")
        stats = "/zookeeper/quota/a/b/zookeeper_stats"
        self.assertEqual(self.counted(stats), b"count=2,bytes=1")

    def test_without_limits_nothing_is_counted(self) -> None:
        """Without limits there is no quota, and without a counter nothing is counted."""
        self.one.call(DeleteRequest(STATS, -1))
        self.assertEqual(self.one.create("/a/b").err, 0)
        self.one.call(DeleteRequest("/zookeeper/quota/a/zookeeper_limits", -1))
        self.assertEqual(self.one.create("/a/c").err, 0)

    def test_before_the_node(self) -> None:
        """A quota may be there before the node is."""
        for request in quota("/later", b"count=5,bytes=5"):
            self.one.call(request)
        self.one.create("/later", b"1")
        counted = self.counted("/zookeeper/quota/later/zookeeper_stats")
        self.assertEqual(counted, b"count=1,bytes=1")


class LimitTests(SynchronousTestCase):
    """Hard limits, where they are enforced."""

    def errors(self, limits: bytes, *requests: Any, enforce: bool = True) -> list[int]:
        """The errors of requests below a node with a quota."""
        server, _ = started(enforce_quota=enforce)
        one = connected_client(server)
        one.create("/a", b"abc")
        for request in quota("/a", limits):
            one.call(request)
        return [one.call(request).err for request in requests]

    def test_node_limit_is_enforced(self) -> None:
        """Not more nodes."""
        made = [CreateRequest(f"/a/{number}", b"", OPEN, 0) for number in range(3)]
        limits = b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2"
        self.assertEqual(self.errors(limits, *made), [0, -125, -125])
        self.assertEqual(self.errors(limits, *made, enforce=False), [0, 0, 0])

    def test_byte_limit_is_enforced(self) -> None:
        """Not more bytes, by new nodes or by longer data; fewer are fine."""
        limits = b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=-1"
        requests = [
            CreateRequest("/a/b", b"12345678", OPEN, 0),
            CreateRequest("/a/b", b"1234567", OPEN, 0),
            SetDataRequest("/a", b"abcd", -1),
            SetDataRequest("/a", b"abcd", 77),
            SetDataRequest("/a", b"ab", -1),
        ]
        self.assertEqual(self.errors(limits, *requests), [-125, 0, -125, -125, 0])

    def test_soft_limits_refuse_nothing(self) -> None:
        """Soft limits forbid nothing."""
        made = CreateRequest("/a/b", b"12345678", OPEN, 0)
        self.assertEqual(self.errors(b"count=1,bytes=1", made), [0])
