"""Transactions: a list of operations with a header before each (MultiOperationRecord.java)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from zkservice.errors import ProtocolError
from zkservice.wire.jute import Bool, Int, append, decode_at, record
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
    GetChildrenRequest,
    GetChildrenResponse,
    GetDataRequest,
    GetDataResponse,
    OpCode,
    PathResponse,
    SetDataRequest,
    StatResponse,
)


@record
class MultiHeader:
    """Comes before each operation and each result; one with ``done`` ends the list."""

    type: Int
    done: Bool
    err: Int


END: Final = MultiHeader(-1, True, -1)

_REQUESTS: Final[dict[OpCode, dict[int, type[Any]]]] = {
    OpCode.MULTI: {
        request.opcode: request
        for request in (
            CreateRequest,
            Create2Request,
            CreateContainerRequest,
            CreateTTLRequest,
            DeleteRequest,
            SetDataRequest,
            CheckVersionRequest,
        )
    },
    OpCode.MULTI_READ: {
        request.opcode: request for request in (GetDataRequest, GetChildrenRequest)
    },
}

_RESULTS: Final[dict[int, type[Any]]] = {
    OpCode.CREATE: PathResponse,
    OpCode.CREATE2: Create2Response,
    OpCode.CREATE_CONTAINER: Create2Response,
    OpCode.CREATE_TTL: Create2Response,
    OpCode.SET_DATA: StatResponse,
    OpCode.DELETE: EmptyResponse,
    OpCode.CHECK: EmptyResponse,
    OpCode.GET_CHILDREN: GetChildrenResponse,
    OpCode.GET_DATA: GetDataResponse,
    OpCode.ERROR: ErrorResponse,
}


def encode_requests(requests: Iterable[Any]) -> bytes:
    """The body of a multi (or multiRead) request."""
    out = bytearray()
    for request in requests:
        append(out, MultiHeader(request.opcode, False, -1))
        append(out, request)
    append(out, END)
    return bytes(out)


def decode_requests(opcode: OpCode, data: bytes, offset: int = 0) -> list[Any]:
    """The operations of a `OpCode.MULTI` or `OpCode.MULTI_READ` request.

    Raises:
        ProtocolError: an operation is not allowed in it, or the bytes end too early.
    """
    return [request for _, request in _decode(_REQUESTS[opcode], data, offset)]


def encode_results(results: Sequence[tuple[int, Any]]) -> bytes:
    """The body of the reply: pairs of operation code and result record.

    An operation that failed has `OpCode.ERROR` and an `ErrorResponse`.
    """
    out = bytearray()
    for opcode, result in results:
        append(out, MultiHeader(opcode, False, result.err if opcode == OpCode.ERROR else 0))
        append(out, result)
    append(out, END)
    return bytes(out)


def decode_results(data: bytes, offset: int = 0) -> list[Any]:
    """The result records of the reply, an `ErrorResponse` for what failed.

    Raises:
        ProtocolError: the bytes are not such a reply.
    """
    return [result for _, result in _decode(_RESULTS, data, offset)]


def _decode(known: dict[int, type[Any]], data: bytes, offset: int) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    while True:
        header, offset = decode_at(MultiHeader, data, offset)
        if header.done:
            return found
        if header.type not in known:
            raise ProtocolError(None, f"operation {header.type} is not allowed in a transaction")
        one, offset = decode_at(known[header.type], data, offset)
        found.append((header.type, one))
