"""Frames and headers, good ones and bad ones."""

from __future__ import annotations

from struct import pack
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests import effort
from tests.embedded.raw_client import Multi, RawClient, connected_client, framed, started
from zkservice.wire.acl import OPEN_ACL_UNSAFE
from zkservice.wire.frames import JUTE_MAXBUFFER
from zkservice.wire.jute import encode
from zkservice.wire.records import (
    REQUESTS,
    AddWatchRequest,
    AuthPacket,
    CheckVersionRequest,
    CheckWatchesRequest,
    ConnectRequest,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    ExistsRequest,
    GetACLRequest,
    GetAllChildrenNumberRequest,
    GetChildren2Request,
    GetDataRequest,
    GetEphemeralsRequest,
    GetSASLRequest,
    OpCode,
    ReconfigRequest,
    RemoveWatchesRequest,
    SetACLRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
    SyncRequest,
)

OPEN = list(OPEN_ACL_UNSAFE)
REQUESTS_OF_ALL_KINDS: list[Any] = [
    CreateRequest("/a", b"x", OPEN, 0),
    CreateTTLRequest("/t", b"x", OPEN, 5, 1000),
    DeleteRequest("/a", -1),
    ExistsRequest("/a", True),
    GetDataRequest("/a", True),
    SetDataRequest("/", b"y", -1),
    GetACLRequest("/"),
    SetACLRequest("/", OPEN, -1),
    GetChildren2Request("/", True),
    SyncRequest("/"),
    ReconfigRequest(None, None, None, -1),
    CheckWatchesRequest("/", 1),
    RemoveWatchesRequest("/", 1),
    AuthPacket(0, "digest", b"u:p"),
    GetSASLRequest(b""),
    SetWatches(0, ["/"], ["/"], ["/"]),
    SetWatches2(0, ["/"], ["/"], ["/"], ["/"], ["/"]),
    AddWatchRequest("/", 0),
    GetEphemeralsRequest(""),
    GetAllChildrenNumberRequest("/"),
    Multi(CreateRequest("/m", b"", OPEN, 0), CheckVersionRequest("/", -1)),
    Multi(GetDataRequest("/", False), opcode=OpCode.MULTI_READ),
]


class FramingTests(SynchronousTestCase):
    """What a server makes of bytes."""

    @override
    def setUp(self) -> None:
        self.server, self.clock = started()
        self.one = connected_client(self.server)

    def after(self, data: bytes) -> tuple[list[tuple[int, int]], bool]:
        """What is answered (number and error), and whether the connection stays."""
        self.one.send(data)
        answers = [
            (
                int.from_bytes(frame[:4], "big", signed=True),
                int.from_bytes(frame[12:16], "big", signed=True),
            )
            for frame in self.one.frames()
        ]
        return answers, self.one.connected

    def test_several_in_one_segment(self) -> None:
        """They are answered in order, in a single write."""
        requests = [GetDataRequest("/", False), ExistsRequest("/no", False), SyncRequest("/")]
        writes = self.one.transport.writes
        self.one.send(b"".join(self.one.request(request) for request in requests))
        replies = self.one.replies(requests)
        self.assertEqual([(reply.xid, reply.err) for reply in replies], [(1, 0), (2, -101), (3, 0)])
        self.assertEqual(self.one.transport.writes - writes, 1)

    def test_error_replies_are_a_header_only(self) -> None:
        """They are a header and nothing else."""
        self.one.send(self.one.request(GetDataRequest("/no", False)))
        self.assertEqual([len(frame) for frame in self.one.frames()], [16])

    def test_numbers_are_echoed(self) -> None:
        """The server does not mind which numbers a client uses."""
        for xid in (0, -5, 7, 7, 3, 2**31 - 1):
            self.assertEqual(self.one.call(SyncRequest("/"), xid).xid, xid)

    def test_invalid_lengths_close_the_connection(self) -> None:
        """Negative, too long, or too short for a header: closed without a reply."""
        for data in (pack(">i", -1), pack(">i", JUTE_MAXBUFFER + 1), framed(b""), framed(bytes(7))):
            self.one = connected_client(self.server)
            self.assertEqual(self.after(data), ([], False), data)

    def test_longest_frame_is_served(self) -> None:
        """A request of exactly the limit is carried out."""
        request = CreateRequest("/big", b"", OPEN, 0)
        fixed = len(encode(request)) + 8
        request = CreateRequest("/big", bytes(JUTE_MAXBUFFER - fixed), OPEN, 0)
        self.assertEqual(self.one.call(request).err, 0)
        reply = self.one.call(GetDataRequest("/big", False))  # the reply is longer than that
        self.assertEqual(reply.body.stat.data_length, JUTE_MAXBUFFER - fixed)

    def test_requests_before_an_invalid_length_get_replies(self) -> None:
        """Requests before the invalid length get their replies."""
        ping = framed(pack(">ii", -2, 11))
        self.assertEqual(self.after(ping + pack(">i", -1)), ([(-2, 0)], False))

    def test_a_word_after_the_handshake(self) -> None:
        """Four letters are a length by then, and far too long a one."""
        self.assertEqual(self.after(b"ruok"), ([], False))

    def test_unknown_operations_get_minus_6_and_are_dropped(self) -> None:
        """-6, and the connection is closed."""
        for opcode in (10, 13, 20, 23, 99, 108, 1000, 0, -1, -10):
            self.one = connected_client(self.server)
            self.assertEqual(self.after(framed(pack(">ii", 9, opcode))), ([(9, -6)], False), opcode)

    def test_truncated_bodies_get_minus_5(self) -> None:
        """Every proper prefix of every request is answered with -5, and the connection stays."""
        for request in REQUESTS_OF_ALL_KINDS:
            whole = self.one.request(request, 5)[4:]
            for size in range(8, len(whole)):
                answers, stays = self.after(framed(whole[:size]))
                self.assertEqual((answers[-1], stays), ((5, -5), True), (request, size))

    def test_bytes_behind_a_request(self) -> None:
        """They are ignored."""
        whole = self.one.request(SyncRequest("/"), 5)[4:]
        self.assertEqual(self.after(framed(whole + b"more")), ([(5, 0)], True))

    def test_a_null_path_gets_minus_5(self) -> None:
        """The reply to a null path has the error -5."""
        self.assertEqual(
            self.after(framed(pack(">iii", 5, OpCode.GET_DATA, -1) + b"\0")), ([(5, -5)], True)
        )

    def test_every_request_is_known(self) -> None:
        """The server implements each request that the wire format has."""
        for opcode in REQUESTS:
            self.one = connected_client(self.server)
            answers, _ = self.after(framed(pack(">ii", 5, opcode)))
            self.assertNotIn((5, -6), answers, opcode)

    @settings(max_examples=effort(300, 60))
    @given(st.lists(st.binary(max_size=60), max_size=5), st.booleans())
    def test_any_bytes_get_a_reply_or_are_dropped(self, chunks: list[bytes], greeted: bool) -> None:
        """Whatever is sent, the server answers or hangs up, and forgets the connection."""
        before = self.server.statistics()
        one = RawClient(self.server)
        if greeted:
            one.hello()
        for chunk in chunks:
            if one.connected:
                one.send(chunk)
        self.one.ping()  # it still serves
        if one.connected:
            one.lose()
        after = self.server.statistics()
        self.assertEqual((after.connections, after.watches), (before.connections, before.watches))

    @settings(max_examples=effort(300, 60))
    @given(st.sampled_from([*REQUESTS, OpCode.MULTI, OpCode.MULTI_READ]), st.binary(max_size=80))
    def test_any_body_gets_exactly_one_reply(self, opcode: int, body: bytes) -> None:
        """Whatever is in a request's body, there is exactly one reply to it."""
        one = connected_client(self.server)
        one.send(framed(pack(">ii", 77, opcode) + body))
        xids = [int.from_bytes(frame[:4], "big", signed=True) for frame in one.frames()]
        wanted = -2 if opcode == OpCode.PING else 77
        self.assertEqual([xid for xid in xids if xid != -1], [wanted])
        if one.connected:
            one.lose()

    def test_any_handshake_prefix(self) -> None:
        """A handshake whose length is neither of the two valid ones opens no session."""
        whole = encode(ConnectRequest(0, 0, 6000, 0, bytes(16), False))
        before = self.server.statistics().sessions
        for size in range(len(whole) - 1):
            one = RawClient(self.server)
            one.send(framed(whole[:size]))
            self.assertEqual((one.read(), one.connected), (b"", False), size)
        self.assertEqual(self.server.statistics().sessions, before)


class TransactionNumberTests(SynchronousTestCase):
    """The transaction numbers (zxids) in the headers of replies."""

    @override
    def setUp(self) -> None:
        self.server, _ = started()
        self.one = connected_client(self.server)
        self.last = self.server.statistics().zxid

    def used(self, request: Any) -> int:
        """How many numbers a request took; its reply has the last one."""
        reply = self.one.call(request)
        used, self.last = reply.zxid - self.last, reply.zxid
        self.assertEqual(reply.zxid, self.server.statistics().zxid)
        return used

    def test_reads_take_no_zxid(self) -> None:
        """Reads, sync and failed reads take no number."""
        for request in (
            GetDataRequest("/", True),
            ExistsRequest("/no", True),
            SyncRequest("/"),
            GetChildren2Request("/", False),
            SetWatches(0, [], [], []),
        ):
            self.assertEqual(self.used(request), 0, request)
        self.assertEqual(self.one.ping().zxid, self.last)

    def test_writes_take_one_zxid(self) -> None:
        """A write takes one number, also if it fails; so does a whole transaction."""
        for request in (
            CreateRequest("/a", b"", OPEN, 0),
            CreateRequest("/a", b"", OPEN, 0),
            CreateRequest("/b", b"", [], 0),
            CreateRequest("/b", b"", OPEN, 77),
            DeleteRequest("/no", -1),
            SetDataRequest("/a", b"", 5),
            Multi(CreateRequest("/c", b"", OPEN, 0), DeleteRequest("/c", -1)),
            Multi(DeleteRequest("/no", -1)),
            Multi(),
            ReconfigRequest(None, None, None, -1),
        ):
            self.assertEqual(self.used(request), 1, request)

    def test_session_start_and_end_take_a_zxid_each(self) -> None:
        """Starting and ending a session take one number each; resuming takes none."""
        before = self.server.statistics().zxid
        other = RawClient(self.server)
        hello = other.hello()
        self.assertEqual(self.server.statistics().zxid, before + 1)
        other.lose()
        RawClient(self.server).hello(session_id=hello.session_id, password=hello.password)
        self.assertEqual(self.server.statistics().zxid, before + 1)
        self.server.expire(hello.session_id)
        self.assertEqual(self.server.statistics().zxid, before + 2)

    def test_auth_reply_has_no_zxid(self) -> None:
        """The reply to an auth packet has none, in its turn among the others."""
        one = self.one
        requests = [SyncRequest("/"), AuthPacket(0, "digest", b"u:p"), SyncRequest("/")]
        one.send(one.request(requests[0], 1) + one.request(requests[1], -4))
        one.send(one.request(requests[2], 2))
        replies = one.replies(requests)
        self.assertEqual([reply.xid for reply in replies], [1, -4, 2])
        self.assertEqual((replies[1].zxid, replies[1].err), (0, 0))
