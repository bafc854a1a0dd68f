"""The handlers of all requests (FinalRequestProcessor.java).

Each frame after the handshake is a request: it is decoded, executed and replied to.  Handlers
raise the errors that the client will raise; only their codes are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final

from zkservice.embedded.access import redact_digests
from zkservice.embedded.connection import Connection
from zkservice.embedded.nodes import ZNode
from zkservice.embedded.sasl import DigestMd5
from zkservice.embedded.server_state import ServerState, encoded_event
from zkservice.embedded.transaction import Transaction, mode_of
from zkservice.errors import (
    AuthFailedError,
    BadArgumentsError,
    MarshallingError,
    NoAuthError,
    NoNodeError,
    NotReadOnlyError,
    ProtocolError,
    QuotaExceededError,
    ReconfigDisabledError,
    RuntimeInconsistencyError,
    ServerError,
    UnimplementedError,
)
from zkservice.wire import multi
from zkservice.wire.acl import Id, Permission
from zkservice.wire.jute import decode, encode
from zkservice.wire.records import (
    REQUESTS,
    AddWatchMode,
    AddWatchRequest,
    AuthPacket,
    CheckVersionRequest,
    CheckWatchesRequest,
    ClientInfo,
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
    GetChildrenRequest,
    GetChildrenResponse,
    GetDataRequest,
    GetDataResponse,
    GetEphemeralsRequest,
    GetEphemeralsResponse,
    GetSASLRequest,
    OpCode,
    PathResponse,
    ReconfigRequest,
    RemoveWatchesRequest,
    SetACLRequest,
    SetDataRequest,
    SetSASLResponse,
    SetWatches,
    SetWatches2,
    StatResponse,
    SyncRequest,
    WhoAmIRequest,
    WhoAmIResponse,
    Xid,
)
from zkservice.wire.watches import EventType, WatchKind

_HEADER: Final = Struct(">ii")  # RequestHeader: xid, opcode
_RESULT_HEADER: Final = 81  # bytes of a multiRead's result without its data: MultiHeader, Stat

#: Takes a request's connection and record; returns the body of the reply.
Handler = Callable[[Connection, Any], bytes]


class RequestProcessor:
    """Executes requests on a `ServerState`.

    Args:
        state: the server's state.
        random: returns as many random bytes as it is asked for; for SASL.
    """

    def __init__(self, state: ServerState, random: Callable[[int], bytes]) -> None:
        self._state = state
        self._random = random
        self._handlers: dict[int, Handler] = {
            OpCode.CREATE: self._change,
            OpCode.CREATE2: self._change,
            OpCode.CREATE_CONTAINER: self._change,
            OpCode.CREATE_TTL: self._change,
            OpCode.DELETE: self._change,
            OpCode.SET_DATA: self._change,
            OpCode.SET_ACL: self._change,
            OpCode.EXISTS: self._exists,
            OpCode.GET_DATA: self._get_data,
            OpCode.GET_ACL: self._get_acl,
            OpCode.GET_CHILDREN: self._get_children,
            OpCode.GET_CHILDREN2: self._get_children2,
            OpCode.GET_ALL_CHILDREN_NUMBER: self._count_descendants,
            OpCode.GET_EPHEMERALS: self._get_ephemerals,
            OpCode.SYNC: self._sync,
            OpCode.RECONFIG: self._reconfig,
            OpCode.SET_WATCHES: self._set_watches,
            OpCode.SET_WATCHES2: self._set_watches,
            OpCode.ADD_WATCH: self._add_watch,
            OpCode.CHECK_WATCHES: self._check_watches,
            OpCode.REMOVE_WATCHES: self._remove_watches,
            OpCode.WHO_AM_I: self._who_am_i,
        }
        # Requests whose reply needs more than a body after the usual header.
        self._special: dict[int, Callable[[Connection, int, bytes], None]] = {
            OpCode.PING: self._ping,
            OpCode.CLOSE_SESSION: self._close_session,
            OpCode.AUTH: self._auth,
            OpCode.SASL: self._sasl,
            OpCode.MULTI: self._multi,
            OpCode.MULTI_READ: self._multi_read,
        }
        self._changes: dict[type[Any], Callable[[Transaction, Any], Any]] = {
            CreateRequest: self._create,
            Create2Request: self._create2,
            CreateContainerRequest: self._create2,
            CreateTTLRequest: self._create2,
            DeleteRequest: self._delete,
            SetDataRequest: self._set_data,
            SetACLRequest: self._set_acl,
            CheckVersionRequest: self._check,
        }

    def unimplement(self, opcode: int) -> None:
        """Reply to an operation like an older release that does not implement it."""
        self._handlers.pop(opcode, None)
        self._special.pop(opcode, None)

    def serve(self, connection: Connection, frame: bytes) -> None:
        """Serve one request.  A frame too short for a header closes the connection."""
        if len(frame) < 8:
            return connection.close()
        xid, opcode = _HEADER.unpack_from(frame)
        stats = connection.stats
        stats.received += 1
        stats.last_xid, stats.last_opcode = xid, opcode
        state = self._state
        try:
            handler = self._handlers.get(opcode)
            if handler is not None:
                body = handler(connection, decode(REQUESTS[opcode], frame, 8))
                connection.reply(xid, state.zxid, body)
            elif opcode in self._special:
                self._special[opcode](connection, xid, frame)
            else:  # from a newer client: its next frames may mean anything
                connection.reply_error(xid, state.zxid, UnimplementedError.code)
                connection.close()
        except ServerError as error:
            connection.reply_error(xid, state.zxid, error.code)
        except ProtocolError:
            connection.reply_error(xid, state.zxid, MarshallingError.code)
        stats.last_zxid = state.zxid

    # -- changes

    def _change(self, connection: Connection, request: Any) -> bytes:
        transaction = self._state.begin(connection)
        try:
            response = self._changes[type(request)](transaction, request)
        except BaseException:  # no change may remain without its event, or unsaved
            transaction.rollback()
            raise
        self._state.commit(transaction)
        return encode(response)

    def _create(self, transaction: Transaction, request: CreateRequest) -> PathResponse:
        return PathResponse(self._create_node(transaction, request)[0])

    def _create2(
        self, transaction: Transaction, request: CreateRequest | CreateTTLRequest
    ) -> Create2Response:
        path, node = self._create_node(transaction, request)
        return Create2Response(path, node.stat())

    def _create_node(
        self, transaction: Transaction, request: CreateRequest | CreateTTLRequest
    ) -> tuple[str, ZNode]:
        mode = mode_of(
            request.flags,
            ttl=request.ttl if isinstance(request, CreateTTLRequest) else None,
            container=isinstance(request, CreateContainerRequest),
            ttl_enabled=self._state.settings.ttl_nodes,
        )
        return transaction.create(request.path, request.data, request.acl, mode)

    def _delete(self, transaction: Transaction, request: DeleteRequest) -> EmptyResponse:
        transaction.delete(request.path, request.version)
        return EmptyResponse()

    def _set_data(self, transaction: Transaction, request: SetDataRequest) -> StatResponse:
        node = transaction.set_data(request.path, request.data, request.version)
        return StatResponse(node.stat())

    def _set_acl(self, transaction: Transaction, request: SetACLRequest) -> StatResponse:
        node = transaction.set_acl(request.path, request.acl, request.version)
        return StatResponse(node.stat())

    def _check(self, transaction: Transaction, request: CheckVersionRequest) -> EmptyResponse:
        transaction.check(request.path, request.version)
        return EmptyResponse()

    def _multi(self, connection: Connection, xid: int, frame: bytes) -> None:
        # A transaction takes a number even if its operations cannot be decoded.
        transaction = self._state.begin(connection)
        operations = [
            _request_by_flag(operation)  # for all of them before the first one is executed
            for operation in multi.decode_requests(OpCode.MULTI, frame, 8)
        ]
        results: list[tuple[int, Any]] = []
        try:
            for operation in operations:
                change = self._changes[type(operation)]
                results.append((_result_type(operation), change(transaction, operation)))
        except ServerError as error:
            transaction.rollback()
            failed = len(results)
            codes = [0] * failed + [error.code]
            codes += [RuntimeInconsistencyError.code] * (len(operations) - failed - 1)
            results = [(OpCode.ERROR, ErrorResponse(code)) for code in codes]
            # The commit below has nothing to save then, but the reply is the same kind of list.
        except BaseException:
            transaction.rollback()
            raise
        self._state.commit(transaction)
        connection.reply(xid, transaction.zxid, multi.encode_results(results))

    # -- reads

    def _readable(self, connection: Connection, path: str) -> ZNode:
        node = self._state.tree.get(path)
        connection.identities.require(node.acl, Permission.READ, path)
        return node

    def _watch(self, connection: Connection, kind: WatchKind, path: str) -> None:
        most, watched = self._state.settings.max_watches, connection.watched
        if 0 < most <= len(watched) and (kind, path) not in watched:
            raise QuotaExceededError(path, f"a connection can have {most} watches")
        self._state.watches.add(kind, path, connection)

    def _exists(self, connection: Connection, request: ExistsRequest) -> bytes:
        if "\0" in request.path:
            raise BadArgumentsError(request.path)
        try:
            node = self._readable(connection, request.path)
        except NoNodeError:
            if request.watch:  # for the creation
                self._watch(connection, WatchKind.DATA, request.path)
            raise
        if request.watch:
            self._watch(connection, WatchKind.DATA, request.path)
        return node.packed_stat()

    # The most frequent reads pack what their reply records would; a test compares both.

    def _get_data(self, connection: Connection, request: GetDataRequest) -> bytes:
        node = self._readable(connection, request.path)
        if request.watch:
            self._watch(connection, WatchKind.DATA, request.path)
        return node.packed_data() + node.packed_stat()

    def _get_children(self, connection: Connection, request: GetChildrenRequest) -> bytes:
        return self._node_with_children(connection, request).packed_children()

    def _get_children2(self, connection: Connection, request: GetChildren2Request) -> bytes:
        node = self._node_with_children(connection, request)
        return node.packed_children() + node.packed_stat()

    def _node_with_children(self, connection: Connection, request: GetChildrenRequest) -> ZNode:
        node = self._readable(connection, request.path)
        if request.watch:
            self._watch(connection, WatchKind.CHILD, request.path)
        return node

    def _get_acl(self, connection: Connection, request: GetACLRequest) -> bytes:
        node = self._state.tree.get(request.path)
        identities = connection.identities
        identities.require(node.acl, Permission.READ | Permission.ADMIN, request.path)
        full = identities.may(node.acl, Permission.ADMIN)
        return encode(
            GetACLResponse(list(node.acl) if full else redact_digests(node.acl), node.stat())
        )

    def _count_descendants(
        self, connection: Connection, request: GetAllChildrenNumberRequest
    ) -> bytes:
        self._readable(connection, request.path)
        count = sum(1 for _ in self._state.tree.descendants(request.path))
        return encode(GetAllChildrenNumberResponse(count))

    def _get_ephemerals(self, connection: Connection, request: GetEphemeralsRequest) -> bytes:
        session = connection.session
        owned = self._state.tree.ephemerals_of(session.id) if session else ()
        prefix = request.prefix_path or ""
        return encode(GetEphemeralsResponse([path for path in owned if path.startswith(prefix)]))

    def _sync(self, connection: Connection, request: SyncRequest) -> bytes:
        if self._state.read_only:
            raise NotReadOnlyError
        return encode(PathResponse(request.path))

    def _reconfig(self, connection: Connection, request: ReconfigRequest) -> bytes:
        self._state.begin(connection)  # it takes a number, like every change that fails
        raise ReconfigDisabledError

    def _multi_read(self, connection: Connection, xid: int, frame: bytes) -> None:
        results: list[tuple[int, Any]] = []
        size, limit = 0, self._state.settings.max_frame
        for request in multi.decode_requests(OpCode.MULTI_READ, frame, 8):
            code, record, length = self._read_one(connection, request)
            size += length
            # A few bytes can request the same large node hundreds of times.
            if size > limit and results:
                raise MarshallingError(request.path, "the reply would be too large")
            results.append((code, record))
        connection.reply(xid, self._state.zxid, multi.encode_results(results))

    def _read_one(self, connection: Connection, request: Any) -> tuple[int, Any, int]:
        """One result of a multiRead: its operation code, record and approximate length in bytes."""
        try:
            node = self._readable(connection, request.path)
        except (NoNodeError, NoAuthError) as error:
            return OpCode.ERROR, ErrorResponse(error.code), _RESULT_HEADER
        if request.opcode == OpCode.GET_DATA:
            record = GetDataResponse(node.data, node.stat())
            return OpCode.GET_DATA, record, _RESULT_HEADER + len(node.data or b"")
        names = GetChildrenResponse(list(node.children or ()))
        return OpCode.GET_CHILDREN, names, _RESULT_HEADER + len(node.packed_children())

    # -- watches

    def _set_watches(self, connection: Connection, request: SetWatches) -> bytes:
        """Set watches again after a reconnect; events for missed changes come before the reply."""
        since = request.relative_zxid
        for path in request.data_watches:
            node = self._state.tree.nodes.get(path)
            if node is None:
                self._catch_up(connection, EventType.DELETED, path)
            elif node.mzxid > since:
                self._catch_up(connection, EventType.DATA_CHANGED, path)
            else:
                self._watch(connection, WatchKind.DATA, path)
        for path in request.exist_watches:
            if path in self._state.tree.nodes:
                self._catch_up(connection, EventType.CREATED, path)
            else:
                self._watch(connection, WatchKind.DATA, path)
        for path in request.child_watches:
            node = self._state.tree.nodes.get(path)
            if node is None:
                self._catch_up(connection, EventType.DELETED, path)
            elif node.pzxid > since:
                self._catch_up(connection, EventType.CHILDREN_CHANGED, path)
            else:
                self._watch(connection, WatchKind.CHILD, path)
        if isinstance(request, SetWatches2):
            for path in request.persistent_watches:
                self._watch(connection, WatchKind.PERSISTENT, path)
            for path in request.persistent_recursive_watches:
                self._watch(connection, WatchKind.RECURSIVE, path)
        return b""

    def _catch_up(self, connection: Connection, type: EventType, path: str) -> None:
        connection.notify(-1, encoded_event(type, path))

    def _add_watch(self, connection: Connection, request: AddWatchRequest) -> bytes:
        if request.mode == AddWatchMode.PERSISTENT:
            self._watch(connection, WatchKind.PERSISTENT, request.path)
        elif request.mode == AddWatchMode.PERSISTENT_RECURSIVE:
            self._watch(connection, WatchKind.RECURSIVE, request.path)
        else:
            raise MarshallingError(request.path)
        return encode(ErrorResponse(0))

    def _check_watches(self, connection: Connection, request: CheckWatchesRequest) -> bytes:
        self._state.watches.check(request.path, request.type, connection)
        return b""

    def _remove_watches(self, connection: Connection, request: RemoveWatchesRequest) -> bytes:
        self._state.watches.remove(request.path, request.type, connection)
        return b""

    # -- sessions and identities

    def _ping(self, connection: Connection, xid: int, frame: bytes) -> None:
        connection.reply(Xid.PING, self._state.zxid)

    def _close_session(self, connection: Connection, xid: int, frame: bytes) -> None:
        session = connection.session
        assert session is not None
        if session.local or not self._state.read_only:
            self._state.end_session(session)
        connection.reply(xid, self._state.zxid)
        connection.close()

    def _auth(self, connection: Connection, xid: int, frame: bytes) -> None:
        packet = decode(AuthPacket, frame, 8)
        try:
            connection.identities.authenticate(packet.scheme, packet.auth)
        except AuthFailedError as error:
            connection.reply_error(xid, 0, error.code)
            connection.close()
        else:
            connection.reply(xid, 0)

    def _sasl(self, connection: Connection, xid: int, frame: bytes) -> None:
        """Reply to one step of SASL, or close the connection.

        A missing token closes it without a reply: ZooKeeperServer.processSasl fails on it.
        """
        token = decode(GetSASLRequest, frame, 8).token
        if token is None:
            return connection.close()
        try:
            answer = self._sasl_answer(connection, token)
        except AuthFailedError as error:
            connection.reply_error(xid, 0, error.code, encode(SetSASLResponse(None)))
            connection.close()
        else:
            connection.reply(xid, 0, encode(SetSASLResponse(answer)))

    def _sasl_answer(self, connection: Connection, token: bytes) -> bytes | None:
        users = self._state.settings.sasl_users
        if users is not None:
            return self._negotiate(connection, users, token)
        # Without users the first reply has no token, like Java's without a JAAS file.  Java sends
        # that reply for ever, and kazoo requests it for ever; here the second request is refused.
        if connection.sasl is not None:
            raise AuthFailedError
        connection.sasl = DigestMd5({}, "")  # only marks that there was a first request
        return None

    def _negotiate(self, connection: Connection, users: Mapping[str, str], token: bytes) -> bytes:
        exchange = connection.sasl
        if exchange is None:
            exchange = connection.sasl = DigestMd5(users, self._random(20).hex())
            return exchange.challenge()
        answer = exchange.answer(token)
        connection.identities.add(Id("sasl", exchange.user or ""))
        return answer

    def _who_am_i(self, connection: Connection, request: WhoAmIRequest) -> bytes:
        names = connection.identities.names()
        return encode(WhoAmIResponse([ClientInfo(scheme, user) for scheme, user in names]))


def _request_by_flag(operation: Any) -> Any:
    """Convert a create in a multi to the request of its flag (MultiOperationRecord.java).

    Raises:
        ProtocolError: an unknown flag (servers before 3.9 refused the operation alone), or a
            TTL flag in a request without a TTL.
    """
    if not isinstance(operation, CreateRequest):
        return operation
    flags = operation.flags
    if not CreateFlag.PERSISTENT <= flags <= CreateFlag.PERSISTENT_SEQUENTIAL_TTL:
        raise ProtocolError(operation.path, f"invalid flag {flags} for create mode")
    if flags in (CreateFlag.PERSISTENT_TTL, CreateFlag.PERSISTENT_SEQUENTIAL_TTL):
        raise ProtocolError(operation.path, "a TTL node needs a TTL")
    if flags == CreateFlag.CONTAINER:  # outside of a transaction it takes createContainer
        return CreateContainerRequest(operation.path, operation.data, operation.acl, flags)
    return operation


def _result_type(operation: Any) -> int:
    """The type of a result in a multi: containers and TTL nodes have that of create2."""
    if operation.opcode in (OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL):
        return OpCode.CREATE2
    opcode: int = operation.opcode
    return opcode
