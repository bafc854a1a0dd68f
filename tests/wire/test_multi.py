"""Tests of ``zkservice.wire.multi``."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.strategies import VALUES
from zkservice.errors import ProtocolError, UnwritableError
from zkservice.wire.jute import encode
from zkservice.wire.multi import (
    END,
    MultiHeader,
    decode_requests,
    decode_results,
    encode_requests,
    encode_results,
)
from zkservice.wire.records import (
    CheckVersionRequest,
    Create2Request,
    Create2Response,
    CreateContainerRequest,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    EmptyResponse,
    ErrorResponse,
    ExistsRequest,
    GetChildrenRequest,
    GetChildrenResponse,
    GetDataRequest,
    GetDataResponse,
    OpCode,
    PathResponse,
    SetDataRequest,
    Stat,
    StatResponse,
)

STAT = Stat(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
WRITES = [
    CreateRequest,
    Create2Request,
    CreateContainerRequest,
    CreateTTLRequest,
    DeleteRequest,
    SetDataRequest,
    CheckVersionRequest,
]
READS = [GetDataRequest, GetChildrenRequest]


class GoldenTests(SynchronousTestCase):
    """A transaction as a real server saw and answered it: check, then delete what is missing."""

    REQUEST = bytes.fromhex(
        "0000000d 00 ffffffff 00000001 2f ffffffff"
        "00000002 00 ffffffff 00000002 2f76 ffffffff"
        "ffffffff 01 ffffffff"
    )
    REPLY = bytes.fromhex(
        "ffffffff 00 00000000 00000000 ffffffff 00 ffffff9b ffffff9b ffffffff 01 ffffffff"
    )

    def test_a_request_has_its_golden_bytes(self) -> None:
        """Each operation has a header before it, and a last header ends them."""
        requests = [CheckVersionRequest("/", -1), DeleteRequest("/v", -1)]
        self.assertEqual(encode_requests(requests), self.REQUEST)
        self.assertEqual(decode_requests(OpCode.MULTI, self.REQUEST), requests)

    def test_failed_transaction_has_an_error_for_each_operation(self) -> None:
        """A transaction that failed has an error in every slot: 0 before the failed operation."""
        results = [ErrorResponse(0), ErrorResponse(-101)]
        self.assertEqual(encode_results([(OpCode.ERROR, one) for one in results]), self.REPLY)
        self.assertEqual(decode_results(self.REPLY), results)

    def test_every_proper_prefix_is_refused(self) -> None:
        """Every proper prefix is refused: the last header must be there."""
        for size in range(len(self.REQUEST)):
            with self.assertRaises(ProtocolError):
                decode_requests(OpCode.MULTI, self.REQUEST[:size])
        for size in range(len(self.REPLY)):
            with self.assertRaises(ProtocolError):
                decode_results(self.REPLY[:size])

    def test_empty_transaction_is_only_its_end(self) -> None:
        """A transaction of nothing is only its end, both ways."""
        self.assertEqual(encode_requests([]), encode(END))
        self.assertEqual(encode_results([]), bytes.fromhex("ffffffff 01 ffffffff"))
        self.assertEqual(decode_requests(OpCode.MULTI, encode(END)), [])
        self.assertEqual(decode_results(b"header" + encode(END), 6), [])


class LayoutTests(SynchronousTestCase):
    """Which operations and results there are."""

    def test_each_result_is_read_by_its_type(self) -> None:
        """Each result is read by the type in its header; servers differ in those of creates."""
        results: list[tuple[int, Any]] = [
            (OpCode.CREATE, PathResponse("/a")),
            (OpCode.CREATE2, Create2Response("/a", STAT)),
            (OpCode.CREATE_CONTAINER, Create2Response("/a", STAT)),
            (OpCode.CREATE_TTL, Create2Response("/a", STAT)),
            (OpCode.SET_DATA, StatResponse(STAT)),
            (OpCode.DELETE, EmptyResponse()),
            (OpCode.CHECK, EmptyResponse()),
            (OpCode.GET_CHILDREN, GetChildrenResponse(["a", "b"])),
            (OpCode.ERROR, ErrorResponse(-102)),
            (OpCode.GET_DATA, GetDataResponse(None, STAT)),
        ]
        written = encode_results(results)
        self.assertEqual(decode_results(written), [result for _, result in results])
        headers = [encode(MultiHeader(kind, False, 0)) for kind in (1, 15, 19, 21, 5, 2, 13, 8, 4)]
        for header in headers:
            self.assertIn(header, written)

    def test_operations_of_another_kind_are_refused(self) -> None:
        """Reads have no place among writes, nor writes among reads, nor unknown operations."""
        write, read = DeleteRequest("/a", 1), GetDataRequest("/a", False)
        for opcode, request in [
            (OpCode.MULTI, read),
            (OpCode.MULTI_READ, write),
            (OpCode.MULTI, ExistsRequest("/a", False)),
        ]:
            with self.assertRaises(ProtocolError):
                decode_requests(opcode, encode_requests([request]))
        for kind in (0, 3, 11, 14, 20, 99, -1):
            with self.assertRaises(ProtocolError):
                decode_requests(OpCode.MULTI, encode(MultiHeader(kind, False, -1)) + bytes(99))
        with self.assertRaises(ProtocolError):
            decode_results(encode(MultiHeader(99, False, 0)) + bytes(99))

    def test_an_unwritable_operation_is_named(self) -> None:
        """An operation that cannot be written is named."""
        with self.assertRaisesRegex(UnwritableError, "version of DeleteRequest"):
            encode_requests([DeleteRequest("/a", 1), DeleteRequest("/a", 2**31)])

    @given(st.lists(st.one_of(*(VALUES[record] for record in WRITES)), max_size=5))
    def test_any_list_of_writes_comes_back(self, requests: list[Any]) -> None:
        """Any list of writes is read as it was written."""
        self.assertEqual(decode_requests(OpCode.MULTI, encode_requests(requests)), requests)

    @given(st.lists(st.one_of(*(VALUES[record] for record in READS)), max_size=5))
    def test_any_list_of_reads_comes_back(self, requests: list[Any]) -> None:
        """Any list of reads is read as it was written."""
        self.assertEqual(decode_requests(OpCode.MULTI_READ, encode_requests(requests)), requests)

    @given(st.binary(max_size=60))
    def test_any_bytes_are_a_list_or_refused(self, noise: bytes) -> None:
        """Any bytes are a list or a ProtocolError, never another exception."""
        for opcode in (OpCode.MULTI, OpCode.MULTI_READ):
            try:
                self.assertIsInstance(decode_requests(opcode, noise), list)
            except ProtocolError:
                continue
