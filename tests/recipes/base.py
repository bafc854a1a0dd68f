"""What the tests of the recipes share: several clients on a network without sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred

from tests.client.base import ClientTestCase
from tests.client.network import Cable
from zkservice.client import ZooKeeperClient
from zkservice.embedded import ZooKeeperServer


class RecipeTestCase(ClientTestCase):
    """A server, and what happens on it."""

    def session(self, client: ZooKeeperClient) -> int:
        """A client's session id."""
        identity = client.client_id
        assert identity is not None
        return identity[0]

    def expire(self, client: ZooKeeperClient) -> None:
        """The server ends a client's session."""
        self.assertTrue(self.server.expire(self.session(client)))
        self.network.advance(1)

    def children(self, path: str) -> list[str]:
        """The names of a node's children on the server."""
        return children(self.server, path)

    def deleting(self, path: str) -> None:
        """Somebody else deletes a node."""
        self.result(self.bystander.delete(path))

    @property
    def bystander(self) -> ZooKeeperClient:
        """A client that takes no part; always the same one."""
        found: ZooKeeperClient | None = getattr(self, "_bystander", None)
        if found is None:
            found = self._bystander = self.connected()
        return found


def children(server: ZooKeeperServer, path: str) -> list[str]:
    """The names of a node's children on a server; none if the node is not there."""
    node = server.keeper.tree.nodes.get(path)
    return sorted(node.children or ()) if node is not None else []


def cut_points(cable: Cable) -> Iterator[tuple[str, int]]:
    """Every place at which a connection can break, by the frames that have been carried."""
    for side, end in (("server", cable.server), ("client", cable.client)):
        received, position = bytes(end.received), 0
        while position < len(received):
            yield side, position + 2  # in the middle of the frame's length
            position += 4 + int.from_bytes(received[position : position + 4], "big")
            yield side, position


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """A list that what it fires with will be in."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results
