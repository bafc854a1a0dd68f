"""What a recipe needs of the client that it is handed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from zkservice.wire.acl import ACL
from zkservice.wire.records import Stat
from zkservice.wire.session import State
from zkservice.wire.watches import WatchEvent


class Transaction(Protocol):
    """Writes that happen together or not at all."""

    def create(
        self,
        path: str,
        data: bytes,
        acl: Iterable[ACL],
        *,
        ephemeral: bool = False,
        sequence: bool = False,
    ) -> None:
        """Create a node; its result is the actual path."""

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        """Set a node's data."""

    def delete(self, path: str, version: int = -1) -> None:
        """Delete a node."""

    def check(self, path: str, version: int = -1) -> None:
        """Fail unless the node exists."""

    def commit(self) -> Deferred[list[Any]]:
        """Carry all of it out."""


class Client(Protocol):
    """A session with ZooKeeper, as `zkservice.client.ZooKeeperClient` is one.

    Its calls wait for a connection; they fail with `ConnectionLossError` when it breaks
    under them, and with `SessionExpiredError` when the session ends before they are
    carried out.  Its watches survive a reconnect and fail when the session ends.
    """

    @property
    def state(self) -> State:
        """What the session is now."""

    @property
    def client_id(self) -> tuple[int, bytes] | None:
        """Session id and password."""

    @property
    def session_timeout(self) -> float:
        """Seconds after which a server that does not hear us ends the session."""

    @property
    def silence(self) -> float:
        """Seconds for which it may not have heard us; counts those in which we are suspended."""

    def create(
        self,
        path: str,
        data: bytes | None,
        acl: Iterable[ACL],
        *,
        ephemeral: bool = False,
        sequence: bool = False,
    ) -> Deferred[str]:
        """Create a node; fires with the actual path."""

    def ensure_path(self, path: str, acl: Iterable[ACL]) -> Deferred[None]:
        """Create a node and its ancestors, as far as they are missing."""

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        """Delete a node."""

    def exists(self, path: str) -> Deferred[Stat | None]:
        """The node's Stat, if it is there."""

    def get(self, path: str) -> Deferred[tuple[bytes, Stat]]:
        """The node's data and Stat."""

    def set(self, path: str, data: bytes, version: int = -1) -> Deferred[Stat]:
        """Set the node's data."""

    def get_children(self, path: str) -> Deferred[list[str]]:
        """The names of the node's children."""

    def get_acl(self, path: str) -> Deferred[tuple[list[ACL], Stat]]:
        """The node's ACL and Stat."""

    def set_acl(self, path: str, acl: Iterable[ACL], version: int = -1) -> Deferred[Stat]:
        """Set the node's ACL."""

    def sync(self, path: str) -> Deferred[str]:
        """Catch up with the leader."""

    def exists_and_watch(self, path: str) -> tuple[Deferred[Stat | None], Deferred[WatchEvent]]:
        """The Stat, and a Deferred that fires when the node changes."""

    def get_and_watch(self, path: str) -> tuple[Deferred[tuple[bytes, Stat]], Deferred[WatchEvent]]:
        """The data and the Stat, and a Deferred that fires when the node changes."""

    def get_children_and_watch(self, path: str) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        """The names, and a Deferred that fires when they change."""

    def transaction(self) -> Transaction:
        """Begin a list of writes."""
