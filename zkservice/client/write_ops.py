"""The operations that write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.python.failure import Failure
from typing_extensions import Unpack

from zkservice.client.calls import REPLY_HEADER_SIZE, Call, OptionalCall, read_nothing
from zkservice.client.create_request import Data, NodeKind, as_bytes, create_request
from zkservice.client.read_ops import CONFIG_PATH
from zkservice.client.replies import read_data, read_stat
from zkservice.client.request_mixin import RequestMixin
from zkservice.client.transaction import Transaction
from zkservice.errors import NodeExistsError, ZooKeeperError
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, acl_entries
from zkservice.wire.jute import decode, encode
from zkservice.wire.records import (
    Create2Response,
    CreateRequest,
    DeleteRequest,
    ExistsRequest,
    PathResponse,
    ReconfigRequest,
    SetACLRequest,
    SetDataRequest,
    Stat,
)


class WriteOperations(RequestMixin):
    """The operations that change something."""

    def create(
        self,
        path: str,
        data: Data = b"",
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> Deferred[str]:
        """Create a node.

        Args:
            path: absolute; with ``sequence`` it may end with a slash.
            data: bytes; None is a node without data.
            acl: the permissions.
            ephemeral: the node is deleted when the session ends.
            sequence: the server appends a number of ten digits.
            container: the node is deleted some time after its last child (servers from 3.5 on).
            ttl: seconds; the node is deleted when it has no children and was not set for so
                long (servers from 3.5 on that are configured for it).
            timeout: seconds to wait for the reply.

        Returns:
            Fires with the actual path.

        Fails with:
            NodeExistsError: the node exists already.
            NoNodeError: its parent does not exist.
            NoChildrenForEphemeralsError: its parent is ephemeral.
            InvalidACLError: the ACL is empty, has an unknown scheme or an invalid id, or is
                `CREATOR_ALL_ACL` on a connection without a credential.
            BadArgumentsError: there is no such kind of node.
            UnimplementedError: the server does not offer this kind.
        """
        try:
            record = create_request(
                self._chroot,
                path,
                data,
                acl,
                ephemeral=ephemeral,
                sequence=sequence,
                container=container,
                ttl=ttl,
            )
        except ZooKeeperError:
            return fail()
        plain = type(record) is CreateRequest
        read = self._read_path if plain else self._read_path_before_stat
        return self._send_record(record, path, read, timeout)

    def create_and_stat(
        self,
        path: str,
        data: Data = b"",
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        *,
        timeout: float | None = None,
        **kind: Unpack[NodeKind],
    ) -> Deferred[tuple[str, Stat]]:
        """As `create`, but fires with the actual path and the Stat (servers from 3.5 on)."""
        try:
            record = create_request(self._chroot, path, data, acl, with_stat=True, **kind)
        except ZooKeeperError:
            return fail()
        return self._send_record(record, path, self._read_path_and_stat, timeout)

    def ensure_path(
        self,
        path: str,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        *,
        timeout: float | None = None,
    ) -> Deferred[None]:
        """Create a node and all its ancestors, chroot included, as far as they are missing.

        Args:
            path: absolute.
            acl: for those that are created.
            timeout: seconds for each of the two round trips.

        Fails with:
            NoAuthError: this client may not create children of an existing ancestor.
        """
        return Deferred.fromCoroutine(self._ensure_path(path, acl_entries(acl), timeout))

    def _stat_or_none(self, path: str, timeout: float | None) -> Deferred[Stat | None]:
        return self._send_for_path(ExistsRequest, path, (False,), read_stat, timeout, OptionalCall)

    async def _ensure_path(self, path: str, acl: list[ACL], timeout: float | None) -> None:
        if await self._stat_or_none(path, timeout) is not None:
            return
        # All creations are sent at once.  Only the last one must succeed: for an ancestor that
        # exists, the server may reply with NoAuthError instead of NodeExistsError.
        creations = [
            self._submit(_creation(where, path, acl), timeout).addErrback(_ignore_existing)
            for where in _lineage(self._chroot.add(path))
        ]
        results = await DeferredList(creations, consumeErrors=True)
        created, _ = results[-1]
        if not created:
            first_failure: Any = next(failure for succeeded, failure in results if not succeeded)
            raise first_failure.value

    def delete(
        self, path: str, version: int = -1, *, timeout: float | None = None
    ) -> Deferred[None]:
        """Delete a node, if it has this version; -1 is any.

        Fails with:
            NoNodeError: it does not exist.
            BadVersionError: it has another version.
            NotEmptyError: it has children.
        """
        return self._send_for_path(DeleteRequest, path, (version,), read_nothing, timeout)

    def set(
        self, path: str, data: Data, version: int = -1, *, timeout: float | None = None
    ) -> Deferred[Stat]:
        """Set a node's data, if it has this version; -1 is any.  Fires with the new Stat.

        Fails with:
            NoNodeError: it does not exist.
            BadVersionError: it has another version.
        """
        return self._send_for_path(
            SetDataRequest, path, (as_bytes(data), version), read_stat, timeout
        )

    def set_acl(
        self,
        path: str,
        acl: Iterable[ACL],
        version: int = -1,
        *,
        timeout: float | None = None,
    ) -> Deferred[Stat]:
        """Set a node's ACL, if the ACL has this version (``aversion``); -1 is any.

        Fires with the new Stat.

        Fails with:
            NoNodeError: it does not exist.
            BadVersionError: its ACL has another version.
            InvalidACLError: the ACL is empty, has an unknown scheme or an invalid id, or is
                `CREATOR_ALL_ACL` on a connection without a credential.
        """
        entries = acl_entries(acl)
        return self._send_for_path(SetACLRequest, path, (entries, version), read_stat, timeout)

    def transaction(self) -> Transaction:
        """Begin a list of writes that happen together or not at all."""
        return Transaction(self._chroot, self._submit)

    def reconfig(
        self,
        *,
        joining: str | None = None,
        leaving: str | None = None,
        new_members: str | None = None,
        version: int = -1,
        timeout: float | None = None,
    ) -> Deferred[tuple[bytes, Stat]]:
        """Change the members of the ensemble; fires with what `get_config` then returns.

        Args:
            joining: servers to add, ``server.4=host:2888:3888;2181``, separated by commas.
            leaving: numbers of servers to remove, separated by commas.
            new_members: instead of both, all servers of the new configuration.
            version: that the configuration must have; -1 is any.
            timeout: seconds to wait for the reply.

        Fails with:
            ReconfigDisabledError: it is switched off on the servers.
            UnimplementedError: the server is standalone.
            NewConfigNoQuorumError: too few of the new members are up to date.
            ReconfigInProgressError: another reconfiguration is in progress.
            BadVersionError: the configuration has another version.
            NoAuthError: the client is not an administrator.
        """
        record = ReconfigRequest(joining, leaving, new_members, version)
        return self._send_record(record, CONFIG_PATH, read_data, timeout)

    # -- decoding ---------------------------------------------------------------------

    def _read_path(self, reply: bytes) -> str:
        return self._chroot.strip(decode(PathResponse, reply, REPLY_HEADER_SIZE).path or "")

    def _read_path_and_stat(self, reply: bytes) -> tuple[str, Stat]:
        body = decode(Create2Response, reply, REPLY_HEADER_SIZE)
        return self._chroot.strip(body.path), body.stat

    def _read_path_before_stat(self, reply: bytes) -> str:
        return self._read_path_and_stat(reply)[0]


def _ignore_existing(failure: Failure) -> None:
    failure.trap(NodeExistsError)


def _lineage(path: str) -> list[str]:
    """The paths of a node's ancestors and itself, from the top, without the root."""
    names = path.strip("/").split("/")
    return ["/" + "/".join(names[: count + 1]) for count in range(len(names))]


def _creation(server_path: str, path: str, acl: list[ACL]) -> Call:
    record = CreateRequest(server_path, b"", acl, 0)
    return Call(record.opcode, path, encode(record), read_nothing)
