"""Tests of every record: golden bytes, truncation, round trips, layouts."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from struct import pack
from typing import Any, get_type_hints

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests import effort
from tests.wire.strategies import RECORDS, VALUES
from zkservice.errors import ProtocolError
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, Id
from zkservice.wire.frames import frame
from zkservice.wire.jute import TrailingBool, decode, decode_at, encode, encode_fields
from zkservice.wire.multi import MultiHeader
from zkservice.wire.records import (
    REQUESTS,
    AddWatchMode,
    AddWatchRequest,
    AuthPacket,
    CheckVersionRequest,
    CheckWatchesRequest,
    ClientInfo,
    CloseSession,
    ConnectRequest,
    ConnectResponse,
    Create2Request,
    Create2Response,
    CreateContainerRequest,
    CreateFlag,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    EmptyResponse,
    ErrorResponse,
    ExistsRequest,
    GetACLRequest,
    GetACLResponse,
    GetAllChildrenNumberRequest,
    GetAllChildrenNumberResponse,
    GetChildren2Request,
    GetChildren2Response,
    GetChildrenRequest,
    GetChildrenResponse,
    GetDataRequest,
    GetDataResponse,
    GetEphemeralsRequest,
    GetEphemeralsResponse,
    GetSASLRequest,
    OpCode,
    PathResponse,
    Ping,
    ReconfigRequest,
    RemoveWatchesRequest,
    ReplyHeader,
    RequestHeader,
    SetACLRequest,
    SetDataRequest,
    SetSASLResponse,
    SetWatches,
    SetWatches2,
    Stat,
    StatResponse,
    SyncRequest,
    WatcherEvent,
    WatcherType,
    WhoAmIRequest,
    WhoAmIResponse,
    Xid,
)

PASSWORD = bytes.fromhex("b02753d68dd6150fb4c4baf56c67cff0")
STAT = Stat(0x2676, 0x2677, 1_795_171_972_527, 1_795_171_972_528, 1, 2, 3, 0, 5, 4, 0x2678)
STAT_BYTES = (
    "0000000000002676 0000000000002677 000001a1f89675af 000001a1f89675b0"
    "00000001 00000002 00000003 0000000000000000 00000005 00000004 0000000000002678"
)

# Frames captured between a client and a ZooKeeper 3.8.0 server: what they hold, in order.
CAPTURED: list[tuple[str, list[Any]]] = [
    (
        "0000002d 00000000 0000000000000000 00001770 0000000000000000 00000010" + "00" * 16 + "00",
        [ConnectRequest(0, 0, 6000, 0, bytes(16), False)],
    ),
    (
        "00000025 00000000 00001770 0100001ce2300094 00000010 b02753d68dd6150fb4c4baf56c67cff0 00",
        [ConnectResponse(0, 6000, 0x0100001CE2300094, PASSWORD, False)],
    ),
    (
        "00000033 00000001 00000001 00000002 2f76 00000002 6869 00000001 0000001f"
        "00000005 776f726c64 00000006 616e796f6e65 00000000",
        [RequestHeader(1, OpCode.CREATE), CreateRequest("/v", b"hi", list(OPEN_ACL_UNSAFE), 0)],
    ),
    (
        "00000016 00000001 0000000000002676 00000000 00000002 2f76",
        [ReplyHeader(1, 0x2676, 0), PathResponse("/v")],
    ),
    (
        "0000000f 00000002 00000004 00000002 2f76 01",
        [RequestHeader(2, OpCode.GET_DATA), GetDataRequest("/v", True)],
    ),
    (
        "0000005a 00000002 0000000000002676 00000000 00000002 6869" + STAT_BYTES,
        [ReplyHeader(2, 0x2676, 0), GetDataResponse(b"hi", STAT)],
    ),
    (
        "00000016 00000003 00000005 00000002 2f76 00000000 ffffffff",
        [RequestHeader(3, OpCode.SET_DATA), SetDataRequest("/v", b"", -1)],
    ),
    (
        "0000001e ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f76",
        [ReplyHeader(Xid.NOTIFICATION, -1, 0), WatcherEvent(3, 3, "/v")],
    ),
    (
        "00000054 00000003 0000000000002677 00000000" + STAT_BYTES,
        [ReplyHeader(3, 0x2677, 0), StatResponse(STAT)],
    ),
    ("00000008 fffffffe 0000000b", [RequestHeader(Xid.PING, OpCode.PING), Ping()]),
    (
        "00000010 fffffffe 0000000000002677 00000000",
        [ReplyHeader(Xid.PING, 0x2677, 0), EmptyResponse()],
    ),
    (
        "00000012 00000004 00000002 00000002 2f76 ffffffff",
        [RequestHeader(4, OpCode.DELETE), DeleteRequest("/v", -1)],
    ),
    (
        "0000001d fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70",
        [RequestHeader(Xid.AUTH, OpCode.AUTH), AuthPacket(0, "digest", b"u:p")],
    ),
    ("00000010 fffffffc 0000000000000000 00000000", [ReplyHeader(Xid.AUTH, 0, 0)]),
    (
        "00000021 fffffff8 00000065 0000000000000000 00000000 00000001 00000001 2f 00000000",
        [RequestHeader(Xid.SET_WATCHES, OpCode.SET_WATCHES), SetWatches(0, [], ["/"], [])],
    ),
    (
        "0000001d ffffffff ffffffffffffffff 00000000 00000001 00000003 00000001 2f",
        [ReplyHeader(Xid.NOTIFICATION, -1, 0), WatcherEvent(1, 3, "/")],
    ),
    (
        "00000008 00000006 fffffff5",
        [RequestHeader(6, OpCode.CLOSE_SESSION), CloseSession()],
    ),
]

# The fields of zookeeper.jute by type, in order, with a value for each: i(nt), l(ong),
# b(oolean), u(string), B(uffer), S(tat), A(CL vector), U(string vector), C(lientInfo vector).
LAYOUTS: dict[type[Any], list[tuple[str, Any]]] = {
    Id: [("u", "ip"), ("u", "10.0.0.0/8")],
    ACL: [("i", 31), ("u", "ip"), ("u", "::")],
    ConnectRequest: [("i", 0), ("l", 1), ("i", 2), ("l", 3), ("B", b"p"), ("b", True)],
    ConnectResponse: [("i", 0), ("i", 2), ("l", 3), ("B", None), ("b", False)],
    RequestHeader: [("i", 1), ("i", 2)],
    ReplyHeader: [("i", 1), ("l", 2), ("i", 3)],
    WatcherEvent: [("i", 1), ("i", 2), ("u", "/é")],
    PathResponse: [("u", None)],
    Create2Response: [("u", "/x"), ("S", STAT)],
    StatResponse: [("S", STAT)],
    GetDataResponse: [("B", None), ("S", STAT)],
    GetChildrenResponse: [("U", ["a", "", "中"])],
    GetChildren2Response: [("U", []), ("S", STAT)],
    GetACLResponse: [("A", [(1, "world", "anyone")]), ("S", STAT)],
    GetEphemeralsResponse: [("U", ["/x"])],
    GetAllChildrenNumberResponse: [("i", 7)],
    ClientInfo: [("u", "digest"), ("u", "me")],
    WhoAmIResponse: [("C", [("digest", "me"), ("ip", "::1")])],
    SetSASLResponse: [("B", b"token")],
    ErrorResponse: [("i", -101)],
    EmptyResponse: [],
    CreateRequest: [("u", "/x"), ("B", None), ("A", None), ("i", 3)],
    Create2Request: [("u", "/x"), ("B", b""), ("A", [(31, "auth", "")]), ("i", 0)],
    CreateContainerRequest: [("u", "/x"), ("B", b""), ("A", []), ("i", 4)],
    CreateTTLRequest: [("u", "/x"), ("B", b"d"), ("A", []), ("i", 5), ("l", 2**40 - 1)],
    DeleteRequest: [("u", "/x"), ("i", -1)],
    ExistsRequest: [("u", "/x"), ("b", True)],
    GetDataRequest: [("u", "/x"), ("b", False)],
    SetDataRequest: [("u", "/x"), ("B", b"d"), ("i", 4)],
    GetACLRequest: [("u", "/x")],
    SetACLRequest: [("u", "/x"), ("A", [(1, "ip", "::"), (2, "x509", "CN=a")]), ("i", 4)],
    GetChildrenRequest: [("u", "/x"), ("b", True)],
    GetChildren2Request: [("u", "/x"), ("b", True)],
    SyncRequest: [("u", None)],
    CheckVersionRequest: [("u", "/x"), ("i", 4)],
    ReconfigRequest: [("u", "server.1=h"), ("u", None), ("u", ""), ("l", -1)],
    CheckWatchesRequest: [("u", "/x"), ("i", 3)],
    RemoveWatchesRequest: [("u", "/x"), ("i", 3)],
    AuthPacket: [("i", 0), ("u", "digest"), ("B", b"u:p")],
    GetSASLRequest: [("B", b"")],
    SetWatches: [("l", 9), ("U", ["/a"]), ("U", ["/b"]), ("U", ["/c"])],
    SetWatches2: [("l", 9), *[("U", [path]) for path in ("/a", "/b", "/c", "/d", "/e")]],
    AddWatchRequest: [("u", "/x"), ("i", 1)],
    GetEphemeralsRequest: [("u", None)],
    GetAllChildrenNumberRequest: [("u", "/x")],
    WhoAmIRequest: [],
    CloseSession: [],
    Ping: [],
    MultiHeader: [("i", 14), ("b", True), ("i", -1)],
}


def by_hand(kind: str, value: Any) -> bytes:
    """Jute once more, as plainly as it can be written."""
    if kind in "UAC":
        if value is None:
            return pack(">i", -1)
        fields = {"U": "u", "A": "iuu", "C": "uu"}[kind]
        rows = [(one,) if kind == "U" else one for one in value]
        parts = [by_hand(*pair) for row in rows for pair in zip(fields, row, strict=True)]
        return pack(">i", len(value)) + b"".join(parts)
    if kind in "uB":
        raw = value.encode() if isinstance(value, str) else value
        return pack(">i", -1) if raw is None else pack(">i", len(raw)) + raw
    if kind == "S":
        return pack(">qqqqiiiqiiq", *value)
    return pack({"i": ">i", "l": ">q", "b": ">?"}[kind], value)


def from_row(record: type[Any], row: list[tuple[str, Any]]) -> Any:
    """The record that a row of the table describes."""
    values = [value for _, value in row]
    if record is ACL:
        return ACL(values[0], Id(*values[1:]))
    for position, (kind, value) in enumerate(row):
        if kind == "A" and value is not None:
            values[position] = [ACL(perms, Id(scheme, id)) for perms, scheme, id in value]
        if kind == "C":
            values[position] = [ClientInfo(*pair) for pair in value]
    return record(*values)


class GoldenTests(SynchronousTestCase):
    """Bytes that a real server sent or understood."""

    def test_records_are_written_as_captured(self) -> None:
        """Each captured frame is what its records are written as."""
        for captured, values in CAPTURED:
            self.assertEqual(frame(b"".join(map(encode, values))), bytes.fromhex(captured))

    def test_captured_frames_are_read(self) -> None:
        """Each captured frame reads as its records, to its last byte."""
        for captured, values in CAPTURED:
            payload, offset = bytes.fromhex(captured)[4:], 0
            for value in values:
                found, offset = decode_at(type(value), payload, offset)
                self.assertEqual(found, value)
            self.assertEqual(offset, len(payload))

    def test_handshakes_before_3_4_lack_the_last_byte(self) -> None:
        """Programs from before 3.4 leave the last byte out; so does the answer to them."""
        request = ConnectRequest(0, 0, 6000, 0, bytes(16))
        self.assertEqual(len(encode(request)), 44)
        self.assertEqual(decode(ConnectRequest, encode(request)), request)
        response = ConnectResponse(0, 6000, 1, PASSWORD)
        self.assertEqual(len(encode(response)), 36)
        self.assertEqual(decode(ConnectResponse, encode(response)), response)

    def test_any_byte_but_zero_is_true(self) -> None:
        """Servers read every byte but zero as true."""
        self.assertEqual(decode(GetDataRequest, b"\0\0\0\x01/\x02"), GetDataRequest("/", True))


class EveryRecordTests(SynchronousTestCase):
    """What holds for all records."""

    def test_every_record_has_the_fields_of_zookeeper_jute(self) -> None:
        """Every record has the fields that zookeeper.jute gives it, in that order."""
        self.assertEqual({*LAYOUTS, Stat}, {*RECORDS, Stat})
        for record, row in LAYOUTS.items():
            expected = b"".join(by_hand(*field) for field in row)
            self.assertEqual(encode(from_row(record, row)), expected, record)

    @given(st.data())
    @settings(max_examples=effort(30, 8))
    def test_every_record_comes_back(self, data: st.DataObject) -> None:
        """What is written is read as it was, and ends where it ended."""
        for record in RECORDS:
            value = data.draw(VALUES[record])
            written = encode(value)
            self.assertEqual(decode_at(record, b"ab" + written, 2), (value, 2 + len(written)))

    @given(st.data())
    @settings(max_examples=effort(10, 3))
    def test_the_fields_alone_are_written_alike(self, data: st.DataObject) -> None:
        """The fields alone are written as the record is."""
        for record in filter(is_dataclass, RECORDS):
            value = data.draw(VALUES[record])
            values = [getattr(value, field.name) for field in fields(record)]
            self.assertEqual(encode_fields(record, *values), encode(value))

    @given(st.data())
    @settings(max_examples=effort(10, 3))
    def test_every_proper_prefix_is_refused(self, data: st.DataObject) -> None:
        """Every proper prefix is refused; none is misread."""
        for record in RECORDS:
            value = data.draw(VALUES[record])
            written = encode(value)
            for size in range(len(written)):
                # Without its last byte the handshake is the one of before 3.4.
                if size == len(written) - 1 and getattr(value, "read_only", None) is not None:
                    self.assertIsNone(decode(record, written[:size]).read_only)
                    continue
                with self.assertRaises(ProtocolError):
                    decode(record, written[:size])

    @given(st.data(), st.binary(min_size=1, max_size=8))
    @settings(max_examples=effort(10, 3))
    def test_trailing_bytes_are_ignored(self, data: st.DataObject, more: bytes) -> None:
        """What follows a record is ignored, as servers do."""
        for record in RECORDS:
            if TrailingBool in get_type_hints(record, include_extras=True).values():
                continue  # what follows the handshake is its own last byte
            value = data.draw(VALUES[record])
            self.assertEqual(decode(record, encode(value) + more), value)

    @given(st.binary(max_size=60))
    @settings(max_examples=effort(200, 50))
    def test_any_bytes_are_a_record_or_refused(self, noise: bytes) -> None:
        """Any bytes are a record or a ProtocolError, never another exception."""
        for record in RECORDS:
            try:
                value, end = decode_at(record, noise, 0)
            except ProtocolError:
                continue
            self.assertLessEqual(end, len(noise))
            self.assertIsInstance(value, record)

    def test_records_are_frozen(self) -> None:
        """A record is a value: it cannot be changed, and equals its like."""
        value = DeleteRequest("/x", 1)
        with self.assertRaises(AttributeError):
            value.version = 2  # type: ignore[misc]
        self.assertEqual(len({value, DeleteRequest("/x", 1)}), 1)
        self.assertNotEqual(GetChildrenRequest("/", True), GetChildren2Request("/", True))


class RequestTests(SynchronousTestCase):
    """The table of requests."""

    def test_requests_have_the_numbers_of_zoodefs(self) -> None:
        """Each request is sent with the number that ZooDefs.OpCode gives it."""
        numbers = {number: request.__name__ for number, request in REQUESTS.items()}
        self.assertEqual(
            numbers,
            {
                1: "CreateRequest",
                2: "DeleteRequest",
                3: "ExistsRequest",
                4: "GetDataRequest",
                5: "SetDataRequest",
                6: "GetACLRequest",
                7: "SetACLRequest",
                8: "GetChildrenRequest",
                9: "SyncRequest",
                11: "Ping",
                12: "GetChildren2Request",
                15: "Create2Request",
                16: "ReconfigRequest",
                17: "CheckWatchesRequest",
                18: "RemoveWatchesRequest",
                19: "CreateContainerRequest",
                21: "CreateTTLRequest",
                100: "AuthPacket",
                101: "SetWatches",
                102: "GetSASLRequest",
                103: "GetEphemeralsRequest",
                104: "GetAllChildrenNumberRequest",
                105: "SetWatches2",
                106: "AddWatchRequest",
                107: "WhoAmIRequest",
                -11: "CloseSession",
            },
        )

    def test_fields_have_the_numbers_of_java(self) -> None:
        """What fields of requests hold has the numbers of Java's enumerations."""
        for numbers, expected in [
            (CreateFlag, [0, 1, 2, 3, 4, 5, 6]),
            (AddWatchMode, [0, 1]),
            (WatcherType, [1, 2, 3, 4, 5]),
            (Xid, [-1, -2, -4, -8]),
        ]:
            self.assertEqual([int(one) for one in numbers], expected)
        inside = {OpCode.CHECK: 13, OpCode.MULTI: 14, OpCode.MULTI_READ: 22, OpCode.ERROR: -1}
        self.assertEqual([int(one) for one in inside], list(inside.values()))
        self.assertEqual(int(OpCode.DELETE_CONTAINER), 20)

    def test_every_request_names_its_reply(self) -> None:
        """Every request says what its reply is."""
        requests: list[type[Any]] = [*REQUESTS.values(), CheckVersionRequest]
        for request in requests:
            self.assertIn(request.reply, RECORDS, request)
        with_path_and_stat = {r for r in REQUESTS.values() if r.reply is Create2Response}
        self.assertEqual(
            with_path_and_stat, {Create2Request, CreateContainerRequest, CreateTTLRequest}
        )
        self.assertIs(AddWatchRequest.reply, ErrorResponse)
        self.assertIs(SetACLRequest.reply, StatResponse)
        self.assertIs(ReconfigRequest.reply, GetDataResponse)


class NullTests(SynchronousTestCase):
    """Null and empty are different, except in what kazoo writes."""

    def test_no_data_is_not_empty_data(self) -> None:
        """No data is not empty data."""
        self.assertIsNone(decode(SetDataRequest, encode(SetDataRequest("/", None, 0))).data)
        self.assertEqual(decode(SetDataRequest, encode(SetDataRequest("/", b"", 0))).data, b"")

    def test_a_null_path_is_refused(self) -> None:
        """A path that is null is refused; the server answers MARSHALLINGERROR."""
        with self.assertRaises(ProtocolError):
            decode(GetDataRequest, b"\xff\xff\xff\xff\x00")

    def test_a_null_list_of_watches_is_refused(self) -> None:
        """A list of watches that is null is refused; a null ACL is the server's to judge."""
        with self.assertRaises(ProtocolError):
            decode(SetWatches, bytes(8) + b"\xff\xff\xff\xff" * 3)
        self.assertIsNone(decode(CreateRequest, encode(CreateRequest("/", b"", None, 0))).acl)

    def test_a_null_identity_is_empty(self) -> None:
        """kazoo writes the empty id of scheme ``auth`` as null; it reads as empty."""
        self.assertEqual(decode(Id, b"\0\0\0\x04auth\xff\xff\xff\xff"), Id("auth", ""))
        self.assertEqual(encode(Id("auth", "")), b"\0\0\0\x04auth\0\0\0\0")
