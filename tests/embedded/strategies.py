"""Random requests, for the comparison of servers.

The embedded server behaves like ZooKeeper 3.9.  The requests to which ZooKeeper 3.8.0
(Debian's) replies differently are only in `calls_since_3_9`:

* exists needs no READ permission;
* create2 in a transaction is answered like create;
* an invalid flag in a transaction fails one operation instead of the request;
* createContainer in a transaction makes a container only with its flag;
* a connection has one mode of watch at a path;
* checkWatches finds the watches of other connections.

Watches have their own requests, for a server with the watches of 3.8.  TTLs that do not
belong to their flags are left out everywhere: a client must not send them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import strategies as st
from typing_extensions import override

from tests.embedded.raw_client import Multi
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Id, digest_id
from zkservice.wire.records import (
    AddWatchRequest,
    AuthPacket,
    CheckVersionRequest,
    CheckWatchesRequest,
    Create2Request,
    CreateContainerRequest,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    ExistsRequest,
    GetACLRequest,
    GetAllChildrenNumberRequest,
    GetChildren2Request,
    GetChildrenRequest,
    GetDataRequest,
    GetEphemeralsRequest,
    OpCode,
    ReconfigRequest,
    RemoveWatchesRequest,
    SetACLRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
    SyncRequest,
    WhoAmIRequest,
)

PARTIES = 3

#: The root of one run; its number is filled in when the requests are sent.
ROOT = "/ROOT"
ORDINARY = st.sampled_from(["a", "b", "c", "s-", "é", "x y", "zookeeper"])
ODD = st.sampled_from(["", "..", ".", "\0", "\x1f", "\ue000", "\ufff0", "0000000001"])
NAMES = st.one_of(ORDINARY, ORDINARY, ORDINARY, ORDINARY, ORDINARY, ODD)
#: Nodes below this name may have ACLs that do not give READ to world:anyone.
LOCKED = "locked"

paths = st.builds(lambda names: "/".join([ROOT, *names]), st.lists(NAMES, min_size=0, max_size=3))
plain_paths = st.builds(
    lambda names: "/".join([ROOT, *names]), st.lists(ORDINARY, min_size=0, max_size=2)
)
locked_paths = st.builds(
    lambda names: "/".join([ROOT, LOCKED, *names]), st.lists(ORDINARY, min_size=0, max_size=1)
)
strange_paths = st.sampled_from(["", "foo", "foo/bar", "/", "/zookeeper", "/zookeeper/config"])
open_paths = st.one_of(plain_paths, plain_paths, plain_paths, paths, strange_paths)
any_paths = st.one_of(open_paths, open_paths, locked_paths)


def entry(permissions: int, scheme: str, id: str) -> ACL:
    """An entry of a list."""
    return ACL(permissions, Id(scheme, id))


USER, OTHER = digest_id("u", "p"), digest_id("v", "q")
readable_lists = st.sampled_from(
    [
        *[list(OPEN_ACL_UNSAFE)] * 10,
        list(READ_ACL_UNSAFE),
        [],
        None,
        [entry(31, "world", "someone")],
        [entry(31, "digest", "nocolon")],
        [entry(31, "digest", "a:b:c")],
        [entry(31, "ip", "999.1.1.1")],
        [entry(31, "ip", "10.0.0.0/33")],
        [entry(31, "super", "")],
        [entry(31, "sasl", "x")],
        [entry(31, "x509", "CN=x")],
        [entry(31, "", "x")],
        [entry(3, "world", "anyone"), entry(3, "world", "anyone")],
        [entry(5, "world", "anyone"), entry(31, "auth", "ignored")],
        [entry(99, "world", "anyone")],
        [entry(1, "world", "anyone"), entry(31, "digest", USER)],
        [entry(1, "world", "anyone"), entry(30, "ip", "127.0.0.0/8")],
        [entry(1, "world", "anyone"), entry(30, "ip", "10.0.0.0/8")],
    ]
)
locking_lists = st.sampled_from(
    [
        list(OPEN_ACL_UNSAFE),
        [entry(31, "auth", "")],
        [entry(31, "digest", USER)],
        [entry(31, "digest", OTHER), entry(16, "world", "anyone")],
        [entry(31, "ip", "127.0.0.1")],
        [entry(0, "world", "anyone")],
        [entry(30, "world", "anyone")],
        [entry(16, "world", "anyone"), entry(1, "digest", OTHER)],
    ]
)
data = st.sampled_from([None, b"", b"x", b"data" * 10])
versions = st.sampled_from([-1, -1, -1, 0, 1, 2, -2])
flags = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, -1])
container_flags = st.sampled_from([0, 1, 2, 3, 4, 4, 4, 5, 7])
watch = st.booleans()
kinds = st.sampled_from([1, 2, 3, 9])
ttls = st.sampled_from([1000, (1 << 40) - 1])

valid_flags = flags.filter(lambda flag: 0 <= flag < 5)  # no TTL in the request

creates = st.builds(CreateRequest, open_paths, data, readable_lists, flags)
locked_creates = st.builds(CreateRequest, locked_paths, data, locking_lists, flags)
_any_operations = [
    st.builds(DeleteRequest, any_paths, versions),
    st.builds(SetDataRequest, any_paths, data, versions),
    st.builds(CheckVersionRequest, any_paths, versions),
    st.builds(CreateTTLRequest, open_paths, data, readable_lists, st.sampled_from([5, 6]), ttls),
]
operations = st.one_of(
    st.builds(CreateRequest, open_paths, data, readable_lists, valid_flags),
    st.builds(CreateRequest, open_paths, data, readable_lists, valid_flags),
    st.builds(CreateRequest, locked_paths, data, locking_lists, valid_flags),
    st.builds(CreateContainerRequest, open_paths, data, readable_lists, st.just(4)),
    *_any_operations,
)
# Without a list of ACLs 3.9.6 throws a NullPointerException and loses count of its transactions.
given_lists = readable_lists.filter(lambda entries: entries is not None)
operations_since_3_9 = st.one_of(
    st.builds(CreateRequest, open_paths, data, given_lists, valid_flags),
    st.builds(CreateRequest, open_paths, data, given_lists, flags),
    st.builds(CreateRequest, locked_paths, data, locking_lists, flags),
    st.builds(Create2Request, open_paths, data, given_lists, flags),
    st.builds(CreateContainerRequest, open_paths, data, given_lists, container_flags),
    *_any_operations,
)
reads = st.one_of(
    st.builds(GetDataRequest, any_paths, st.just(False)),
    st.builds(GetChildrenRequest, any_paths, st.just(False)),
)


class Several:
    """The operations of a transaction, before their paths are settled."""

    def __init__(self, opcode: OpCode, parts: list[Any]) -> None:
        self.opcode, self.parts = opcode, parts

    @override
    def __repr__(self) -> str:
        return f"Several({self.opcode!r}, {self.parts!r})"


_any_requests = st.one_of(
    creates,
    creates,
    locked_creates,
    st.builds(Create2Request, open_paths, data, readable_lists, flags),
    st.builds(CreateContainerRequest, open_paths, data, readable_lists, container_flags),
    st.builds(CreateTTLRequest, open_paths, data, readable_lists, st.sampled_from([5, 6]), ttls),
    st.builds(DeleteRequest, any_paths, versions),
    st.builds(DeleteRequest, any_paths, versions),
    st.builds(ExistsRequest, open_paths, watch),
    st.builds(GetDataRequest, any_paths, watch),
    st.builds(GetDataRequest, any_paths, watch),
    st.builds(SetDataRequest, any_paths, data, versions),
    st.builds(SetDataRequest, any_paths, data, versions),
    st.builds(GetACLRequest, any_paths),
    st.builds(SetACLRequest, open_paths, readable_lists, versions),
    st.builds(SetACLRequest, locked_paths, locking_lists, versions),
    st.builds(GetChildrenRequest, any_paths, watch),
    st.builds(GetChildren2Request, any_paths, watch),
    st.builds(SyncRequest, any_paths),
    st.builds(GetEphemeralsRequest, st.one_of(st.none(), st.just(""), open_paths)),
    st.builds(GetAllChildrenNumberRequest, any_paths.filter(lambda path: path not in ("", "/"))),
    st.builds(
        SetWatches,
        st.just(0),
        st.lists(open_paths, max_size=2),
        st.lists(open_paths, max_size=2),
        st.lists(open_paths, max_size=2),
    ),
    st.builds(Several, st.just(OpCode.MULTI_READ), st.lists(reads, max_size=4)),
    st.builds(AuthPacket, st.just(0), st.just("digest"), st.sampled_from([b"u:p", b"v:q"])),
    st.builds(AddWatchRequest, st.just("/elsewhere"), st.sampled_from([0, 1, 2])),
    st.builds(RemoveWatchesRequest, plain_paths, kinds),
    st.just(WhoAmIRequest()),
    st.just(ReconfigRequest(None, None, None, -1)),
)
_transactions = st.builds(Several, st.just(OpCode.MULTI), st.lists(operations, max_size=4))
calls = st.tuples(st.integers(0, PARTIES - 1), st.one_of(*[_any_requests] * 7, _transactions))
_transactions_since_3_9 = st.builds(
    Several, st.just(OpCode.MULTI), st.lists(operations_since_3_9, max_size=4)
)
calls_since_3_9 = st.tuples(
    st.integers(0, PARTIES - 1),
    st.one_of(
        *[_any_requests] * 5,
        _transactions_since_3_9,
        st.builds(ExistsRequest, locked_paths, watch),
        st.builds(AddWatchRequest, any_paths, st.sampled_from([0, 1, 2])),
        st.builds(CheckWatchesRequest, plain_paths, kinds),
        st.builds(SetWatches2, st.just(0), *[st.lists(open_paths, max_size=2)] * 5),
    ),
)

# Few paths, so that watches of several modes meet at one of them.
_watched_paths = st.sampled_from([ROOT, f"{ROOT}/a", f"{ROOT}/a/b"])
_watched_lists = st.lists(_watched_paths, max_size=2, unique=True)
_NOTHING_MISSED = (1 << 63) - 1  # a zxid that no change is after
_watch_kinds = st.sampled_from([1, 2, 3, 3, 4, 5, 9])
watching = st.one_of(
    st.builds(CreateRequest, _watched_paths, data, st.just(list(OPEN_ACL_UNSAFE)), st.just(0)),
    st.builds(CreateRequest, _watched_paths, data, st.just(list(OPEN_ACL_UNSAFE)), st.just(0)),
    st.builds(DeleteRequest, _watched_paths, st.just(-1)),
    st.builds(SetDataRequest, _watched_paths, data, st.just(-1)),
    st.builds(AddWatchRequest, _watched_paths, st.sampled_from([0, 1])),
    st.builds(AddWatchRequest, _watched_paths, st.sampled_from([0, 1])),
    st.builds(ExistsRequest, _watched_paths, st.just(True)),
    st.builds(GetDataRequest, _watched_paths, st.just(True)),
    st.builds(GetChildrenRequest, _watched_paths, st.just(True)),
    st.builds(RemoveWatchesRequest, _watched_paths, _watch_kinds),
    st.builds(CheckWatchesRequest, _watched_paths, _watch_kinds),
    st.builds(SetWatches, st.just(_NOTHING_MISSED), _watched_lists, _watched_lists, _watched_lists),
    st.builds(SetWatches, st.just(0), _watched_lists, _watched_lists, _watched_lists),
    st.builds(SetWatches2, st.just(_NOTHING_MISSED), *[_watched_lists] * 5),
)
watch_calls = st.tuples(st.integers(0, PARTIES - 1), watching)


def settled(request: Any, root: str) -> Any:
    """The request with the root of this conversation in its paths."""
    if isinstance(request, Several):
        return Multi(*(settled(part, root) for part in request.parts), opcode=request.opcode)
    values = [getattr(request, field.name) for field in fields(request)]
    return type(request)(*(_settled(value, root) for value in values))


def _settled(value: Any, root: str) -> Any:
    if isinstance(value, str):
        return value.replace(ROOT, root, 1)
    if isinstance(value, list) and value and isinstance(value[0], str):
        return [_settled(one, root) for one in value]
    return value
