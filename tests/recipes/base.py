"""Base class of the recipes' tests."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.client.base import TIMEOUT, ClientTestCase
from tests.recipes.world import children
from zkservice.client import ZooKeeperClient


class RecipeTestCase(ClientTestCase):
    """A server, and methods that cause faults."""

    def session(self, client: ZooKeeperClient) -> int:
        """A client's session id."""
        identity = client.client_id
        assert identity is not None
        return identity[0]

    def expire(self, client: ZooKeeperClient) -> None:
        """Expire a client's session on the server."""
        self.assertTrue(self.server.expire(self.session(client)))
        self.network.advance(1)

    def drop(self, client: ZooKeeperClient) -> None:
        """Break a client's connection."""
        self.assertTrue(self.server.drop(self.session(client)))
        self.network.run_due()

    def give_up(self, client: ZooKeeperClient) -> None:
        """A client without a connection takes its session for expired; the server does not.

        Until `accept_again` the server neither expires sessions nor accepts connections.
        """
        self.server.refuse = True
        self.drop(client)
        self.server.pause()
        self.network.advance(TIMEOUT * 4 / 3 + 0.1)

    def accept_again(self) -> None:
        """The server goes on after `give_up`."""
        self.server.resume()
        self.server.refuse = False

    def lose_reply(self, client: ZooKeeperClient, *, second: bool = False) -> None:
        """Break a client's first connection at the server's next reply, or at the one after it."""
        cable = self.network.cables[self.clients.index(client)]

        def cut() -> None:
            cable.server_may_send = len(cable.client.received)

        if second:
            cable.call_after = len(cable.client.received) + 1, cut
        else:
            cut()

    def children(self, path: str) -> list[str]:
        """The names of a node's children on the server."""
        return children(self.server, path)

    def deleting(self, path: str) -> None:
        """Delete a node with another client."""
        self.result(self.bystander.delete(path))

    @property
    def bystander(self) -> ZooKeeperClient:
        """Another client, always the same one."""
        found: ZooKeeperClient | None = getattr(self, "_bystander", None)
        if found is None:
            found = self._bystander = self.connected()
        return found


def nodes_left(test: RecipeTestCase, waiter: Deferred[Any], *paths: str) -> list[int]:
    """The numbers of children that paths have at the moment at which a Deferred fires."""
    left: list[int] = []
    waiter.addBoth(lambda _: left.extend(len(test.children(path)) for path in paths))
    return left
