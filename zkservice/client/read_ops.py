"""The operations that read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred, fail

from zkservice.client.calls import REPLY_HEADER_SIZE, Call, OptionalCall
from zkservice.client.replies import (
    read_acl,
    read_children,
    read_children_and_stat,
    read_data,
    read_ephemerals,
    read_identities,
    read_stat,
    read_total,
)
from zkservice.client.request_mixin import RequestMixin
from zkservice.errors import MarshallingError, ProtocolError, ServerError, ZooKeeperError
from zkservice.wire.acl import ACL, Id
from zkservice.wire.multi import decode_results, encode_requests
from zkservice.wire.records import (
    ExistsRequest,
    GetACLRequest,
    GetAllChildrenNumberRequest,
    GetChildren2Request,
    GetChildrenRequest,
    GetChildrenResponse,
    GetDataRequest,
    GetDataResponse,
    GetEphemeralsRequest,
    OpCode,
    Stat,
    SyncRequest,
    WhoAmIRequest,
)

#: The node with the members of the ensemble; it is outside of every chroot.
CONFIG_PATH = "/zookeeper/config"


class Get(NamedTuple):
    """For `ReadOperations.read_all`: a node's data and Stat."""

    path: str  #: the node


class GetChildren(NamedTuple):
    """For `ReadOperations.read_all`: the names of a node's children."""

    path: str  #: the node


#: The field ``watch`` of a request that reads.
_NO_WATCH: Final = (False,)

#: The result of one read: data and Stat, names of children, or its error.
ReadResult = tuple[bytes, Stat] | list[str] | ServerError


class ReadOperations(RequestMixin):
    """The operations that change nothing."""

    def exists(self, path: str, *, timeout: float | None = None) -> Deferred[Stat | None]:
        """The node's Stat, or None if it does not exist."""
        return self._send_for_path(ExistsRequest, path, _NO_WATCH, read_stat, timeout, OptionalCall)

    def get(self, path: str, *, timeout: float | None = None) -> Deferred[tuple[bytes, Stat]]:
        """The node's data (``b""`` if it has none) and Stat.

        Fails with:
            NoNodeError: it does not exist.
        """
        return self._send_for_path(GetDataRequest, path, _NO_WATCH, read_data, timeout)

    def get_children(self, path: str, *, timeout: float | None = None) -> Deferred[list[str]]:
        """The names of the node's children, in no order.

        Fails with:
            NoNodeError: it does not exist.
        """
        return self._send_for_path(GetChildrenRequest, path, _NO_WATCH, read_children, timeout)

    def get_children_and_stat(
        self, path: str, *, timeout: float | None = None
    ) -> Deferred[tuple[list[str], Stat]]:
        """The names of the node's children, in no order, and its own Stat.

        Fails with:
            NoNodeError: it does not exist.
        """
        return self._send_for_path(
            GetChildren2Request, path, _NO_WATCH, read_children_and_stat, timeout
        )

    def get_acl(
        self, path: str, *, timeout: float | None = None
    ) -> Deferred[tuple[list[ACL], Stat]]:
        """The node's ACL and Stat.

        If this client may not change the ACL, the server replaces digests by ``user:x``.

        Fails with:
            NoNodeError: it does not exist.
        """
        return self._send_for_path(GetACLRequest, path, (), read_acl, timeout)

    def sync(self, path: str = "/", *, timeout: float | None = None) -> Deferred[str]:
        """Wait until the server has caught up with the leader; fires with the path."""
        return self._send_for_path(SyncRequest, path, (), lambda _: path, timeout)

    def read_all(
        self, reads: Iterable[Get | GetChildren], *, timeout: float | None = None
    ) -> Deferred[list[ReadResult]]:
        """Read several nodes in one request (servers from 3.6 on).

        Args:
            reads: what to read.
            timeout: seconds to wait for the reply.

        Returns:
            Fires with a result for each, in their order: data and Stat, names of children,
            or the error of this one read.
        """
        reads = list(reads)
        try:
            payload = encode_requests(self._read_request(read) for read in reads)
        except ZooKeeperError:
            return fail()

        def read_reply(reply: bytes) -> list[ReadResult]:
            results = decode_results(reply, REPLY_HEADER_SIZE)
            if len(results) != len(reads):
                raise ProtocolError(None, f"{len(results)} results for {len(reads)} reads")
            return [
                _read_result(read.path, result) for read, result in zip(reads, results, strict=True)
            ]

        return self._submit(Call(OpCode.MULTI_READ, None, payload, read_reply), timeout)

    def _read_request(self, read: Get | GetChildren) -> GetDataRequest | GetChildrenRequest:
        record = GetDataRequest if isinstance(read, Get) else GetChildrenRequest
        return record(self._server_path(read.path), False)

    def get_ephemerals(
        self, prefix: str = "/", *, timeout: float | None = None
    ) -> Deferred[list[str]]:
        """The paths of this session's ephemeral nodes (servers from 3.6 on).

        Args:
            prefix: text with which the paths start, not necessarily a node; ``/`` for all.
            timeout: seconds to wait for the reply.
        """
        chroot = self._chroot

        def read(reply: bytes) -> list[str]:
            return [chroot.strip(path) for path in read_ephemerals(reply)]

        return self._send_for_path(GetEphemeralsRequest, prefix, (), read, timeout)

    def count_descendants(self, path: str, *, timeout: float | None = None) -> Deferred[int]:
        """How many nodes there are below this one, at any depth (servers from 3.6 on).

        Fails with:
            NoNodeError: it does not exist.
        """
        return self._send_for_path(GetAllChildrenNumberRequest, path, (), read_total, timeout)

    def who_am_i(self, *, timeout: float | None = None) -> Deferred[list[Id]]:
        """The identities of this connection: scheme and user (servers from 3.7 on)."""
        return self._send_record(WhoAmIRequest(), None, read_identities, timeout)

    def get_config(self, *, timeout: float | None = None) -> Deferred[tuple[bytes, Stat]]:
        """The members of the ensemble, as text, and the Stat of the node they are kept in.

        Lines like ``server.1=host:2888:3888:participant;2181`` and ``version=100000000``;
        empty data from a standalone server.
        """
        record = GetDataRequest(CONFIG_PATH, False)
        return self._send_record(record, CONFIG_PATH, read_data, timeout)


def _read_result(path: str, result: object) -> ReadResult:
    if isinstance(result, GetDataResponse):
        return result.data or b"", result.stat
    if isinstance(result, GetChildrenResponse):
        return result.children
    # A result of any other type is none for a read, so the reply is not understood.
    return ServerError.from_code(getattr(result, "err", MarshallingError.code), path)
