"""Every request and reply (zookeeper.jute), and the operation codes (ZooDefs.OpCode)."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Any, ClassVar, Final, NamedTuple

from zkservice.errors import ProtocolError
from zkservice.wire.acl import ACL
from zkservice.wire.jute import (
    Bool,
    Buffer,
    Codec,
    Int,
    Long,
    NullableUString,
    TrailingBool,
    UString,
    record,
)

#: A class made by `record`.  It has a name of its own because ``type[...]`` would mean the field in
#: records that have a field ``type``.
RecordType = type[Any]


class OpCode(IntEnum):
    """What a request asks for."""

    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    RECONFIG = 16
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    DELETE_CONTAINER = 20
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    SASL = 102
    GET_EPHEMERALS = 103
    GET_ALL_CHILDREN_NUMBER = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107
    CLOSE_SESSION = -11
    ERROR = -1


class Xid(IntEnum):
    """Request numbers with a meaning of their own; ordinary ones are positive."""

    NOTIFICATION = -1
    PING = -2
    AUTH = -4
    SET_WATCHES = -8


class CreateFlag(IntEnum):
    """The flags of a create request (CreateMode.java)."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    PERSISTENT_TTL = 5
    PERSISTENT_SEQUENTIAL_TTL = 6


class AddWatchMode(IntEnum):
    """Modes of addWatch (AddWatchMode.java)."""

    PERSISTENT = 0
    PERSISTENT_RECURSIVE = 1


class WatcherType(IntEnum):
    """Which watches checkWatches and removeWatches mean (Watcher.WatcherType)."""

    CHILDREN = 1  #: those of ``get_children_and_watch``
    DATA = 2  #: those of ``get_and_watch`` and ``exists_and_watch``
    ANY = 3  #: all
    PERSISTENT = 4  #: those of ``add_watch`` (servers from 3.9 on)
    PERSISTENT_RECURSIVE = 5  #: those of ``add_watch(recursive=True)`` (servers from 3.9 on)


# A NamedTuple takes no ClassVar, so the codec is attached below.
class Stat(NamedTuple):
    """What ZooKeeper knows about a znode beside its data.  Times are milliseconds since 1970."""

    czxid: int  #: the transaction that created it
    mzxid: int  #: the transaction that last set its data
    ctime: int  #: when it was created
    mtime: int  #: when its data were last set
    version: int  #: counts changes of the data
    cversion: int  #: counts creations and deletions of children
    aversion: int  #: counts changes of the ACL
    ephemeral_owner: int  #: the id of the session that owns it; 0 if it is not ephemeral
    data_length: int  #: bytes
    num_children: int  #: the number of children, without their descendants
    pzxid: int  #: the transaction that last created or deleted a child


_STAT: Final = Struct(">qqqqiiiqiiq")


def _put_stat(out: bytearray, stat: Stat) -> None:
    out += _STAT.pack(*stat)


def _get_stat(data: bytes, offset: int) -> tuple[Stat, int]:
    end = offset + _STAT.size
    if end > len(data):
        raise ProtocolError(None, f"a Stat is due at {offset} of {len(data)} bytes")
    return Stat._make(_STAT.unpack_from(data, offset)), end


Stat.__jute__ = Codec(_put_stat, _get_stat)  # type: ignore[attr-defined]


# -- the handshake and the headers ----------------------------------------------


@record
class ConnectRequest:
    """The first frame of a connection.  ``timeout`` is in milliseconds, id 0 is a new session."""

    protocol_version: Int
    last_zxid_seen: Long
    timeout: Int
    session_id: Long
    password: Buffer
    read_only: TrailingBool = None  # servers before 3.4 do not know it


@record
class ConnectResponse:
    """The reply to it.  A ``timeout`` (milliseconds) of 0 or less: the session has expired."""

    protocol_version: Int
    timeout: Int
    session_id: Long
    password: Buffer
    read_only: TrailingBool = None  # there if and only if it was in the request


@record
class RequestHeader:
    """Before every request: its number and its `OpCode`."""

    xid: Int
    opcode: Int


@record
class ReplyHeader:
    """Before every reply; a body follows only if ``err`` is 0."""

    xid: Int
    zxid: Long
    err: Int


@record
class WatcherEvent:
    """The body of a notification."""

    type: Int
    state: Int
    path: UString


# -- replies ----------------------------------------------------------------------


@record
class PathResponse:
    """A path: the reply to create, and (echoed, null or not) to sync."""

    path: NullableUString


@record
class Create2Response:
    """A path and its Stat: the reply to create2, createContainer and createTTL."""

    path: UString
    stat: Stat


@record
class StatResponse:
    """A Stat: the reply to exists, setData and setACL."""

    stat: Stat


@record
class GetDataResponse:
    """Data and Stat; also the reply to reconfig."""

    data: Buffer
    stat: Stat


@record
class GetChildrenResponse:
    """Names of children, in no order."""

    children: list[UString]


@record
class GetChildren2Response:
    """Names of children, in no order, and the parent's Stat."""

    children: list[UString]
    stat: Stat


@record
class GetACLResponse:
    """A znode's ACL and its Stat."""

    acl: list[ACL]
    stat: Stat


@record
class GetEphemeralsResponse:
    """Paths of this session's ephemerals."""

    ephemerals: list[UString]


@record
class GetAllChildrenNumberResponse:
    """How many descendants a znode has."""

    total_number: Int


@record
class ClientInfo:
    """One identity of a connection."""

    auth_scheme: UString
    user: UString


@record
class WhoAmIResponse:
    """The identities of the connection."""

    client_info: list[ClientInfo]


@record
class SetSASLResponse:
    """The server's SASL token."""

    token: Buffer


@record
class ErrorResponse:
    """An error code: a failed operation of a transaction, and (0) the reply to addWatch."""

    err: Int


@record
class EmptyResponse:
    """A reply without a body."""


# -- requests -----------------------------------------------------------------------
# ``opcode`` is the number it is sent with, ``reply`` what its reply's body is.


@record
class CreateRequest:
    """Create a znode; the reply is its path."""

    opcode: ClassVar[OpCode] = OpCode.CREATE
    reply: ClassVar[RecordType] = PathResponse
    path: UString
    data: Buffer
    acl: list[ACL] | None
    flags: Int  # CreateFlag


@record
class Create2Request(CreateRequest):
    """Create a znode; the reply is its path and Stat."""

    opcode: ClassVar[OpCode] = OpCode.CREATE2
    reply: ClassVar[RecordType] = Create2Response


@record
class CreateContainerRequest(CreateRequest):
    """Create a container: a znode that goes when its last child goes."""

    opcode: ClassVar[OpCode] = OpCode.CREATE_CONTAINER
    reply: ClassVar[RecordType] = Create2Response


@record
class CreateTTLRequest:
    """Create a znode that goes when it has no children and was not set for ``ttl`` ms."""

    opcode: ClassVar[OpCode] = OpCode.CREATE_TTL
    reply: ClassVar[RecordType] = Create2Response
    path: UString
    data: Buffer
    acl: list[ACL] | None
    flags: Int
    ttl: Long


@record
class DeleteRequest:
    """Delete a znode without children; version -1 is any."""

    opcode: ClassVar[OpCode] = OpCode.DELETE
    reply: ClassVar[RecordType] = EmptyResponse
    path: UString
    version: Int


@record
class ExistsRequest:
    """Ask for a Stat; the watch is set even if the znode is missing."""

    opcode: ClassVar[OpCode] = OpCode.EXISTS
    reply: ClassVar[RecordType] = StatResponse
    path: UString
    watch: Bool


@record
class GetDataRequest:
    """Ask for data and Stat."""

    opcode: ClassVar[OpCode] = OpCode.GET_DATA
    reply: ClassVar[RecordType] = GetDataResponse
    path: UString
    watch: Bool


@record
class SetDataRequest:
    """Set the data; version -1 is any."""

    opcode: ClassVar[OpCode] = OpCode.SET_DATA
    reply: ClassVar[RecordType] = StatResponse
    path: UString
    data: Buffer
    version: Int


@record
class GetACLRequest:
    """Ask for the ACL."""

    opcode: ClassVar[OpCode] = OpCode.GET_ACL
    reply: ClassVar[RecordType] = GetACLResponse
    path: UString


@record
class SetACLRequest:
    """Set the ACL; the version is the ACL's (``aversion``), -1 is any."""

    opcode: ClassVar[OpCode] = OpCode.SET_ACL
    reply: ClassVar[RecordType] = StatResponse
    path: UString
    acl: list[ACL] | None
    version: Int


@record
class GetChildrenRequest:
    """Ask for the names of the children."""

    opcode: ClassVar[OpCode] = OpCode.GET_CHILDREN
    reply: ClassVar[RecordType] = GetChildrenResponse
    path: UString
    watch: Bool


@record
class GetChildren2Request(GetChildrenRequest):
    """Ask for the names of the children and the Stat."""

    opcode: ClassVar[OpCode] = OpCode.GET_CHILDREN2
    reply: ClassVar[RecordType] = GetChildren2Response


@record
class SyncRequest:
    """Wait until the server has caught up with the leader; the path is echoed."""

    opcode: ClassVar[OpCode] = OpCode.SYNC
    reply: ClassVar[RecordType] = PathResponse
    path: NullableUString


@record
class CheckVersionRequest:
    """In a transaction: fail unless the znode has this version (-1: unless it exists)."""

    opcode: ClassVar[OpCode] = OpCode.CHECK
    reply: ClassVar[RecordType] = EmptyResponse
    path: UString
    version: Int


@record
class ReconfigRequest:
    """Change the members of the ensemble; unused fields are null, config id -1 matches any."""

    opcode: ClassVar[OpCode] = OpCode.RECONFIG
    reply: ClassVar[RecordType] = GetDataResponse
    joining_servers: NullableUString
    leaving_servers: NullableUString
    new_members: NullableUString
    current_config_id: Long


@record
class CheckWatchesRequest:
    """Ask whether this connection has such a watch."""

    opcode: ClassVar[OpCode] = OpCode.CHECK_WATCHES
    reply: ClassVar[RecordType] = EmptyResponse
    path: UString
    type: Int  # WatcherType


@record
class RemoveWatchesRequest:
    """Remove this connection's watches of one type."""

    opcode: ClassVar[OpCode] = OpCode.REMOVE_WATCHES
    reply: ClassVar[RecordType] = EmptyResponse
    path: UString
    type: Int  # WatcherType


@record
class AuthPacket:
    """Add an identity to the connection; sent with `Xid.AUTH`."""

    opcode: ClassVar[OpCode] = OpCode.AUTH
    reply: ClassVar[RecordType] = EmptyResponse
    type: Int  # always 0
    scheme: UString
    auth: Buffer


@record
class GetSASLRequest:
    """A client's SASL token."""

    opcode: ClassVar[OpCode] = OpCode.SASL
    reply: ClassVar[RecordType] = SetSASLResponse
    token: Buffer


@record
class SetWatches:
    """Set watches again after a reconnect; ``relative_zxid`` is the last one seen before it."""

    opcode: ClassVar[OpCode] = OpCode.SET_WATCHES
    reply: ClassVar[RecordType] = EmptyResponse
    relative_zxid: Long
    data_watches: list[UString]
    exist_watches: list[UString]
    child_watches: list[UString]


@record
class SetWatches2(SetWatches):
    """The same with persistent watches; servers from 3.6 on."""

    opcode: ClassVar[OpCode] = OpCode.SET_WATCHES2
    persistent_watches: list[UString]
    persistent_recursive_watches: list[UString]


@record
class AddWatchRequest:
    """Add a persistent watch; servers from 3.6 on."""

    opcode: ClassVar[OpCode] = OpCode.ADD_WATCH
    reply: ClassVar[RecordType] = ErrorResponse
    path: UString
    mode: Int  # AddWatchMode


@record
class GetEphemeralsRequest:
    """Ask for this session's ephemerals whose path starts with a string; null is all."""

    opcode: ClassVar[OpCode] = OpCode.GET_EPHEMERALS
    reply: ClassVar[RecordType] = GetEphemeralsResponse
    prefix_path: NullableUString


@record
class GetAllChildrenNumberRequest:
    """Ask how many descendants a znode has."""

    opcode: ClassVar[OpCode] = OpCode.GET_ALL_CHILDREN_NUMBER
    reply: ClassVar[RecordType] = GetAllChildrenNumberResponse
    path: UString


@record
class WhoAmIRequest:
    """Ask for the identities of the connection; servers from 3.7 on."""

    opcode: ClassVar[OpCode] = OpCode.WHO_AM_I
    reply: ClassVar[RecordType] = WhoAmIResponse


@record
class CloseSession:
    """End the session; the server replies, then closes the connection."""

    opcode: ClassVar[OpCode] = OpCode.CLOSE_SESSION
    reply: ClassVar[RecordType] = EmptyResponse


@record
class Ping:
    """Keep the session alive; sent with `Xid.PING`."""

    opcode: ClassVar[OpCode] = OpCode.PING
    reply: ClassVar[RecordType] = EmptyResponse


#: What a client may send outside a transaction, by operation code.
REQUESTS: Final[dict[int, type[Any]]] = {
    request.opcode: request
    for request in (
        CreateRequest,
        Create2Request,
        CreateContainerRequest,
        CreateTTLRequest,
        DeleteRequest,
        ExistsRequest,
        GetDataRequest,
        SetDataRequest,
        GetACLRequest,
        SetACLRequest,
        GetChildrenRequest,
        GetChildren2Request,
        SyncRequest,
        ReconfigRequest,
        CheckWatchesRequest,
        RemoveWatchesRequest,
        AuthPacket,
        GetSASLRequest,
        SetWatches,
        SetWatches2,
        AddWatchRequest,
        GetEphemeralsRequest,
        GetAllChildrenNumberRequest,
        WhoAmIRequest,
        CloseSession,
        Ping,
    )
}
