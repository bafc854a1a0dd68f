"""A lock that many readers, or one writer, can hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from zkservice.recipes.client_protocol import Client
from zkservice.recipes.lock import LOCK, Lock
from zkservice.recipes.queue_order import LockKind
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE

#: What kazoo calls the nodes of its readers.
READ: Final = "__rlock__"


class ReadWriteLock:
    """A pair of locks on one path; kazoo's ``ReadLock`` and ``WriteLock`` take part.

    A writer waits for everybody before him, a reader only for writers: readers that come
    after a waiting writer let him pass, so neither starves.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        identifier: str = "",
        *,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        reactor: Any = None,
    ) -> None:
        """Make it; arguments as for `zkservice.recipes.Lock`."""
        acl = tuple(acl)
        self.path = path
        self._read = _Side(client, path, identifier, LockKind(READ, (LOCK,)), acl, reactor)
        self._write = _Side(client, path, identifier, LockKind(LOCK, (LOCK, READ)), acl, reactor)

    def read(self) -> Lock:
        """The lock that any number can hold while nobody writes."""
        return self._read

    def write(self) -> Lock:
        """The lock that one alone can hold."""
        return self._write


class _Side(Lock):
    def __init__(
        self,
        client: Client,
        path: str,
        identifier: str,
        turn: LockKind,
        acl: tuple[ACL, ...],
        reactor: Any,
    ) -> None:
        super().__init__(client, path, identifier, acl=acl, reactor=reactor)
        self._stand_as(turn)
