"""Several writes that happen together, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, fail
from typing_extensions import Unpack

from zkservice.client.calls import REPLY_HEADER_SIZE, Call
from zkservice.client.create_request import Data, NodeKind, as_bytes, create_request
from zkservice.errors import (
    ProtocolError,
    ServerError,
    TransactionFailedError,
    UnwritableError,
)
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.multi import decode_results, encode_requests
from zkservice.wire.paths import Chroot
from zkservice.wire.records import (
    CheckVersionRequest,
    Create2Response,
    DeleteRequest,
    ErrorResponse,
    OpCode,
    PathResponse,
    SetDataRequest,
    Stat,
    StatResponse,
)
from zkservice.znodes import validate

#: The result of one operation: the path created, the new Stat, or None for a deletion or a check.
Result = str | Stat | None

Send = Callable[[Call, float | None], Deferred[list[Result]]]


class Transaction:
    """A list of writes; nothing is sent before `commit`."""

    def __init__(self, chroot: Chroot, send: Send) -> None:
        self._chroot = chroot
        self._send = send
        self._requests: list[Any] = []
        self._paths: list[str] = []
        self._committed = False

    def create(
        self,
        path: str,
        data: Data = b"",
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        **kind: Unpack[NodeKind],
    ) -> None:
        """Create a node; its result is the actual path.  Arguments as in the client's create."""
        self._add(path, create_request(self._chroot, path, data, acl, **kind))

    def delete(self, path: str, version: int = -1) -> None:
        """Delete a node; its result is None."""
        self._add(path, DeleteRequest(self._server_path(path), version))

    def set(self, path: str, data: Data, version: int = -1) -> None:
        """Set a node's data; its result is the new Stat."""
        self._add(path, SetDataRequest(self._server_path(path), as_bytes(data), version))

    def check(self, path: str, version: int = -1) -> None:
        """Fail unless the node has this version (-1: unless it exists); its result is None."""
        self._add(path, CheckVersionRequest(self._server_path(path), version))

    def commit(self, *, timeout: float | None = None) -> Deferred[list[Result]]:
        """Send the transaction.

        Args:
            timeout: seconds to wait for the reply.

        Returns:
            Fires with a result for each operation, in their order.  Cancelling it stops
            the waiting, not the server.

        Fails with:
            TransactionFailedError: an operation failed, so none was carried out.
            ConnectionLossError: whether it was carried out is not known.
        """
        self._check_open()
        self._committed = True
        try:
            payload = encode_requests(self._requests)
        except UnwritableError:
            return fail()
        return self._send(Call(OpCode.MULTI, None, payload, self._read), timeout)

    def _server_path(self, path: str) -> str:
        return self._chroot.add(validate(path))

    def _add(self, path: str, request: Any) -> None:
        self._check_open()
        self._requests.append(request)
        self._paths.append(path)

    def _check_open(self) -> None:
        if self._committed:
            raise RuntimeError("this transaction has been committed: begin a new one")

    def _read(self, reply: bytes) -> list[Result]:
        results = decode_results(reply, REPLY_HEADER_SIZE)
        if len(results) != len(self._requests):
            raise ProtocolError(
                None, f"{len(results)} results for {len(self._requests)} operations"
            )
        for request, result in zip(self._requests, results, strict=True):
            if not isinstance(result, _possible_results(request)):
                raise ProtocolError(
                    None, f"a {type(result).__name__} for a {type(request).__name__}"
                )
        codes = [result.err if isinstance(result, ErrorResponse) else 0 for result in results]
        if any(codes):
            raise self._failure(codes)
        return [self._result(result) for result in results]

    def _failure(self, codes: list[int]) -> TransactionFailedError:
        errors = tuple(
            ServerError.from_code(code, path) if code else None
            for code, path in zip(codes, self._paths, strict=True)
        )
        failed = next(index for index, code in enumerate(codes) if code)
        return TransactionFailedError(failed, errors)

    def _result(self, result: Any) -> Result:
        if isinstance(result, PathResponse | Create2Response):
            return self._chroot.strip(result.path or "")
        if isinstance(result, StatResponse):
            return result.stat
        return None


def _possible_results(request: Any) -> tuple[type[Any], ...]:
    """The types of results that a server may send for a request.

    Some servers reply to a creation with a Stat, some without.
    """
    creation_replies = (PathResponse, Create2Response)
    if request.reply in creation_replies:
        return (ErrorResponse, *creation_replies)
    return (ErrorResponse, request.reply)
