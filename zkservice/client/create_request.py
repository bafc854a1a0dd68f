"""The record of a create request, for the kind of node that is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypedDict

from zkservice.errors import BadArgumentsError
from zkservice.wire.acl import ACL, acl_entries
from zkservice.wire.paths import Chroot
from zkservice.wire.records import (
    Create2Request,
    CreateContainerRequest,
    CreateFlag,
    CreateRequest,
    CreateTTLRequest,
)
from zkservice.znodes import validate

#: Milliseconds, about 34.8 years; EphemeralType.TTL.maxValue.
MAX_TTL: Final = 2**40 - 1

#: The data of a node; None means no data, which is read as ``b""``.
Data = bytes | bytearray | memoryview | None


class NodeKind(TypedDict, total=False):
    """The keywords that say what kind of node is created, as in `create_request`."""

    ephemeral: bool
    sequence: bool
    container: bool
    ttl: float | None


def create_request(
    chroot: Chroot,
    path: str,
    data: Data,
    acl: Iterable[ACL],
    *,
    ephemeral: bool = False,
    sequence: bool = False,
    container: bool = False,
    ttl: float | None = None,
    with_stat: bool = False,
) -> Any:
    """The record for a new node.

    Args:
        chroot: is put before the path.
        path: the client's; with ``sequence`` it may end with a slash.
        data: bytes, or None for a node without data.
        acl: the permissions.
        ephemeral: the node is deleted when the session ends.
        sequence: the server appends a number of ten digits.
        container: the node is deleted some time after its last child.
        ttl: seconds; the node is deleted when it has no children and was not set for so long.
        with_stat: ask for the Stat in the reply.

    Raises:
        InvalidPathError: the path is invalid.
        BadArgumentsError: ZooKeeper does not support this combination.
        TypeError: the data are not bytes, or the ACL is not a list of entries.
    """
    server_path = chroot.add(validate(path, sequence=sequence), sequence=sequence)
    content = as_bytes(data)
    entries = acl_entries(acl)
    if ttl is not None:
        if ephemeral or container:
            raise BadArgumentsError(path, "a node with a TTL is neither ephemeral nor a container")
        flag = CreateFlag.PERSISTENT_SEQUENTIAL_TTL if sequence else CreateFlag.PERSISTENT_TTL
        return CreateTTLRequest(server_path, content, entries, flag, _milliseconds(path, ttl))
    if container:
        if ephemeral or sequence:
            raise BadArgumentsError(path, "a container is neither ephemeral nor a sequence node")
        return CreateContainerRequest(server_path, content, entries, CreateFlag.CONTAINER)
    flags = (CreateFlag.EPHEMERAL if ephemeral else 0) | (
        CreateFlag.PERSISTENT_SEQUENTIAL if sequence else 0
    )
    record = Create2Request if with_stat else CreateRequest
    return record(server_path, content, entries, flags)


def _milliseconds(path: str, ttl: float) -> int:
    milliseconds = round(ttl * 1000)
    if not 1 <= milliseconds <= MAX_TTL:
        raise BadArgumentsError(
            path, f"a TTL must be between 0.001 s and {MAX_TTL // 1000} s, not {ttl} s"
        )
    return milliseconds


def as_bytes(data: Data) -> bytes | None:
    """The data as immutable bytes.

    Raises:
        TypeError: they are not bytes.
    """
    if data is None or isinstance(data, bytes):
        return data
    if isinstance(data, str):
        raise TypeError(f"data must be bytes, not str; encode it: {data[:20]!r}")
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise TypeError(f"data must be bytes, not {type(data).__name__}") from None
