"""A network, a server and clients, for tests that break their connections at any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests import sample
from tests.client.base import HOST, PORT, TIMEOUT
from tests.client.network import Cable, Network
from zkservice.client import ZooKeeperClient
from zkservice.embedded import ZooKeeperServer

#: Which side's bytes are counted, and after how many of them the connection breaks.
Cut = tuple[str, int]


class World:
    """A server and connected clients."""

    def __init__(
        self, test: SynchronousTestCase, clients: int, cut: Cut | None = None, seed: int = 1
    ) -> None:
        """Connect them.

        Args:
            test: fails if something is left in the end.
            clients: how many.
            cut: where the first connection of the last client breaks.
            seed: of the clients' random numbers.
        """
        self.test = test
        self.cut = cut
        self.network = Network()
        self.server = ZooKeeperServer(self.network, tick_time=1.0, secret=b"s")
        self.network.listen(HOST, PORT, self.server.factory)
        self.server.start()
        self.clients: list[ZooKeeperClient] = []
        self._first = clients - 1  # the cable of the last client's first connection
        for number in range(clients):
            if number == clients - 1:
                self.network.on_connect = self._on_connect
            client = ZooKeeperClient(
                f"{HOST}:{PORT}",
                TIMEOUT,
                reactor=self.network,
                random=Random(seed),
                clock=self.network.seconds,
            )
            client.connect()
            self.network.settle()
            self.clients.append(client)

    def _on_connect(self, cable: Cable) -> None:
        if self.cut is not None and self.network.cables[self._first :] == [cable]:
            side, position = self.cut
            setattr(cable, f"{side}_may_send", position)

    def wait(self, seconds: float = 3.5) -> None:
        """Advance the clock: by default enough to notice a lost connection and to reconnect."""
        self.network.advance(seconds)

    def result(self, deferred: Deferred[Any]) -> Any:
        """The result of a Deferred, after time to reconnect."""
        self.wait()
        return self.test.successResultOf(deferred)

    def children(self, path: str) -> list[str]:
        """The names of a node's children."""
        return children(self.server, path)

    def session(self, number: int) -> int:
        """A client's session id; 0 if it has none."""
        identity = self.clients[number].client_id
        return 0 if identity is None else identity[0]

    def end(self) -> Cable:
        """Close all, and check that nothing is left; returns the first cable of the last client."""
        cable = self.network.cables[self._first]
        for client in self.clients:
            statistics = client.statistics()
            self.test.assertEqual((statistics.watches, statistics.waiting), (0, 0), self.cut)
        closing = [client.close() for client in self.clients]
        self.wait()
        for closed in closing:
            self.test.successResultOf(closed)
        self.server.stop()
        self.network.settle()
        self.test.assertEqual(self.network.getDelayedCalls(), [], self.cut)
        return cable


def at_every_step(
    test: SynchronousTestCase, clients: int, scenario: Callable[[World], object]
) -> None:
    """Run a scenario with a good connection, then with one that breaks at each step of it."""

    def run(cut: Cut | None) -> Cable:
        world = World(test, clients, cut)
        try:
            scenario(world)
        except Exception as error:
            raise AssertionError(f"cut at {cut}: {error!r}") from error
        return world.end()

    points = list(_steps(run(None)))
    test.assertGreater(len(points), 20)
    for point in sample(points, 60):
        run(point)


def _steps(cable: Cable) -> Iterator[Cut]:
    """Before, in and after each frame, from both sides."""
    for side, end in (("client", cable.server), ("server", cable.client)):
        received, position = bytes(end.received), 0
        while position < len(received):
            yield side, position + 2  # in the middle of the frame's length
            position += 4 + int.from_bytes(received[position : position + 4], "big")
            yield side, position


def children(server: ZooKeeperServer, path: str) -> list[str]:
    """The names of a node's children on a server; none if the node is not there."""
    node = server.node(path)
    return sorted(node.children) if node is not None else []


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """A list to which the result of a Deferred will be appended."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results
