"""Several changes at once."""

from __future__ import annotations

from typing_extensions import override

from tests.embedded.raw_client import Multi
from tests.embedded.test_nodes import NodeTestCase
from zkservice.wire.acl import ACL, ANYONE, OPEN_ACL_UNSAFE
from zkservice.wire.records import (
    CheckVersionRequest,
    Create2Request,
    CreateContainerRequest,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    ExistsRequest,
    GetChildrenRequest,
    GetDataRequest,
    OpCode,
    SetDataRequest,
)

OPEN = list(OPEN_ACL_UNSAFE)


class TransactionTests(NodeTestCase):
    """Several changes at once."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one.create("/a", b"old")

    def test_each_operation_has_a_result_and_one_zxid(self) -> None:
        """Each result, and one number for all."""
        reply = self.one.call(
            Multi(
                CreateRequest("/b", b"", OPEN, 0),
                Create2Request("/c", b"", OPEN, 0),
                CreateContainerRequest("/d", b"", OPEN, 4),
                CreateTTLRequest("/e", b"", OPEN, 5, 1000),
                SetDataRequest("/a", b"new", 0),
                CheckVersionRequest("/b", 0),
                DeleteRequest("/b", -1),
            )
        )
        made, made2, container, mortal, changed, checked, deleted = reply.body
        self.assertEqual((made.path, made2.path), ("/b", "/c"))
        self.assertEqual((container.path, mortal.path), ("/d", "/e"))
        zxids = {made2.stat.czxid, container.stat.czxid, mortal.stat.czxid, changed.stat.mzxid}
        self.assertEqual(zxids, {reply.zxid})
        self.assertEqual([type(one).__name__ for one in (checked, deleted)], ["EmptyResponse"] * 2)

    def test_failure_rolls_back_everything(self) -> None:
        """What came before is undone (0), what comes after is not tried (-2)."""
        before = {path: self.server.node(path) for path in self.server.tree()}
        self.one.call(ExistsRequest("/a", True))
        self.one.call(ExistsRequest("/b", True))
        reply = self.one.call(
            Multi(
                SetDataRequest("/a", b"new", -1),
                SetDataRequest("/a", b"newer", -1),
                CreateRequest("/b", b"", OPEN, 0),
                CreateRequest("/s-", b"", OPEN, 3),
                DeleteRequest("/b", -1),
                DeleteRequest("/a", -1),
                DeleteRequest("/no", -1),
                SetDataRequest("/a", b"never", -1),
            )
        )
        self.assertEqual(reply.err, 0)
        self.assertEqual([one.err for one in reply.body], [0, 0, 0, 0, 0, 0, -101, -2])
        self.assertEqual(self.one.told(), [])
        after = {path: self.server.node(path) for path in self.server.tree()}
        self.assertEqual(after, before)
        self.assertEqual(self.one.call(GetDataRequest("/a", False)).body.data, b"old")
        self.assertEqual(self.server.statistics().ephemerals, 0)
        self.assertEqual(self.one.create("/s-", flags=2).body.path, "/s-0000000001")

    def test_operations_see_earlier_ones(self) -> None:
        """Later operations see what earlier ones did."""
        reply = self.one.call(
            Multi(
                CreateRequest("/p", b"", OPEN, 0),
                CreateRequest("/p/q", b"", OPEN, 0),
                SetDataRequest("/p", b"", 0),
                CheckVersionRequest("/p", 1),
                DeleteRequest("/p/q", -1),
                DeleteRequest("/p", 1),
            )
        )
        self.assertEqual(len(reply.body), 6)
        self.assertEqual(self.error(ExistsRequest("/p", False)), -101)

    def test_check_compares_versions(self) -> None:
        """A version, or (-1) existence."""
        for path, version, error in (
            ("/a", 0, None),
            ("/a", -1, None),
            ("/a", 1, -103),
            ("/no", -1, -101),
            ("foo", -1, -8),
        ):
            (result,) = self.one.call(Multi(CheckVersionRequest(path, version))).body
            self.assertEqual(getattr(result, "err", None), error)

    def test_events_come_in_order_before_the_reply(self) -> None:
        """One for each operation, in their order, before the reply."""
        self.one.call(ExistsRequest("/x", True))
        self.one.call(ExistsRequest("/a", True))
        self.one.call(GetChildrenRequest("/", True))
        self.one.call(Multi(SetDataRequest("/a", b"", -1), CreateRequest("/x", b"", OPEN, 0)))
        self.assertEqual(self.one.told(), [(3, "/a"), (1, "/x"), (4, "/")])

    def test_empty_transaction_succeeds(self) -> None:
        """Nothing to do is fine."""
        self.assertEqual(self.one.call(Multi()).body, [])

    def test_the_flag_or_the_request_makes_a_container(self) -> None:
        """In a transaction create with the flag makes a container, createContainer any time."""
        reply = self.one.call(
            Multi(CreateRequest("/c", b"", OPEN, 4), CreateContainerRequest("/d", b"", OPEN, 0))
        )
        self.assertEqual([container.stat.czxid for container in reply.body], [reply.zxid] * 2)
        self.assertEqual(list(self.server.state.tree.reap_candidates), ["/c", "/d"])

    def test_malformed_operations_are_refused(self) -> None:
        """Operations that have no place in it, or a TTL flag without a TTL: -5 for all."""
        for request in (
            Multi(GetDataRequest("/a", False)),
            Multi(CreateRequest("/b", b"", OPEN, 0), GetDataRequest("/a", False)),
            Multi(CreateRequest("/b", b"", OPEN, 0), CreateRequest("/t", b"", OPEN, 5)),
            Multi(SetDataRequest("/a", b"", -1), opcode=OpCode.MULTI_READ),
        ):
            self.assertEqual(self.error(request), -5, request)
        self.assertEqual(self.error(ExistsRequest("/b", False)), -101)

    def test_an_invalid_flag_refuses_the_whole_transaction(self) -> None:
        """Flags are read with the request, before any of its operations, as by 3.9.6."""
        for flags in (5, 6, 7, -1):
            for operation in (CreateRequest, Create2Request, CreateContainerRequest):
                reply = self.one.call(
                    Multi(CheckVersionRequest("/no", 0), operation("/c", b"", OPEN, flags))
                )
                self.assertEqual((reply.err, reply.body), (-5, None), flags)

    def test_multi_read_has_a_result_for_each_read(self) -> None:
        """Each read has its own result or error; none sets a watch."""
        self.one.create("/secret", acl=[ACL(0, ANYONE)])
        reply = self.one.call(
            Multi(
                GetDataRequest("/a", True),
                GetDataRequest("/no", True),
                GetChildrenRequest("/", True),
                GetDataRequest("/secret", False),
                opcode=OpCode.MULTI_READ,
            )
        )
        data, missing, children, secret = reply.body
        self.assertEqual((data.data, missing.err, secret.err), (b"old", -101, -102))
        self.assertEqual(sorted(children.children), ["a", "secret", "zookeeper"])
        self.assertEqual(self.server.statistics().watches, 0)

    def test_reads_that_ask_for_too_much(self) -> None:
        """A multiRead with a reply over the frame limit gets -5; one large node does not."""
        limit = self.server.settings.max_frame
        self.one.create("/big", bytes(limit - 100))
        read = GetDataRequest("/big", False)
        self.assertEqual(self.error(Multi(*[read] * 300, opcode=OpCode.MULTI_READ)), -5)
        reply = self.one.call(Multi(read, opcode=OpCode.MULTI_READ))
        self.assertEqual(len(reply.body[0].data), limit - 100)
        for number in range(300):
            self.one.create(f"/big/{'n' * 1000}{number}")
        names = GetChildrenRequest("/big", False)
        self.assertEqual(self.error(Multi(*[names] * 4, opcode=OpCode.MULTI_READ)), -5)
