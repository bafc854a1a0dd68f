"""The protocols of the client that recipes use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from zkservice.retries import RetriedClient
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
        """Commit the transaction; fires with the results."""


class NodeClaims(Protocol):
    """Records which object keeps which ephemeral nodes of the client."""

    def take(self, owner: object, paths: Iterable[str]) -> None:
        """Claim nodes; raises `NodeExistsError` if another owner has claimed one."""

    def release(self, owner: object, paths: Iterable[str]) -> None:
        """Release the nodes, so that other owners can claim them."""


class Client(RetriedClient, Protocol):
    """A session with ZooKeeper; `zkservice.client.ZooKeeperClient` implements it.

    Its calls wait for a connection.  They fail with `ConnectionLossError` when the connection
    breaks meanwhile, and with `SessionExpiredError` when the session ends before they are
    carried out.  Its watches survive a reconnect, and fail when the session ends.
    """

    @property
    def state(self) -> State:
        """The state of the session."""

    @property
    def client_id(self) -> tuple[int, bytes] | None:
        """Session id and password."""

    @property
    def claims(self) -> NodeClaims:
        """The claims on ephemeral nodes, so that only one object keeps each."""

    @property
    def session_timeout(self) -> float:
        """Seconds after which a server that receives nothing ends the session."""

    @property
    def silence(self) -> float:
        """Seconds since the latest answered request was sent, time of suspension included."""

    def ensure_path(self, path: str, acl: Iterable[ACL]) -> Deferred[None]:
        """Create a node and its ancestors, if they are missing."""

    def get(self, path: str) -> Deferred[tuple[bytes, Stat]]:
        """The node's data and Stat."""

    def set(self, path: str, data: bytes, version: int = -1) -> Deferred[Stat]:
        """Set the node's data."""

    def get_acl(self, path: str) -> Deferred[tuple[list[ACL], Stat]]:
        """The node's ACL and Stat."""

    def set_acl(self, path: str, acl: Iterable[ACL], version: int = -1) -> Deferred[Stat]:
        """Set the node's ACL."""

    def exists_and_watch(self, path: str) -> tuple[Deferred[Stat | None], Deferred[WatchEvent]]:
        """The Stat, and a Deferred that fires when the node changes."""

    def get_and_watch(self, path: str) -> tuple[Deferred[tuple[bytes, Stat]], Deferred[WatchEvent]]:
        """The data and the Stat, and a Deferred that fires when the node changes."""

    def get_children_and_watch(self, path: str) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        """The names, and a Deferred that fires when they change."""

    def transaction(self) -> Transaction:
        """Begin a list of writes."""
