"""Base class of the client's tests: embedded servers on a network without sockets."""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.client.network import Cable, Network
from zkservice.client import ZooKeeperClient
from zkservice.embedded import ZooKeeperServer
from zkservice.errors import ClientClosedError
from zkservice.wire.session import State

HOST, PORT = "10.0.0.1", 2181
TIMEOUT = 6.0  # seconds; granted as it is by a server with ticks of a second

T = TypeVar("T")


class ClientTestCase(SynchronousTestCase):
    """A network with one server on it."""

    @override
    def setUp(self) -> None:
        self.network = Network()
        self.server = self.start_server()
        self.clients: list[ZooKeeperClient] = []

    @override
    def tearDown(self) -> None:
        """Close the clients, and check that no timer and no connection is left."""
        closed = [client.close() for client in self.clients]
        self.network.settle()
        self.network.advance(3)
        for one in closed:
            self.successResultOf(one)
        self.server.stop()
        self.network.settle()
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.assertEqual([cable for cable in self.network.cables if cable.up], [])

    def start_server(self, host: str = HOST, port: int = PORT, **options: Any) -> ZooKeeperServer:
        """Start a server that listens at an address."""
        server = ZooKeeperServer(self.network, tick_time=1.0, secret=b"s", **options)
        self.network.listen(host, port, server.factory)
        server.start()
        return server

    def client(self, hosts: str = f"{HOST}:{PORT}", **options: Any) -> ZooKeeperClient:
        """A client on which `connect` was not called."""
        options.setdefault("random", Random(1))
        options.setdefault("clock", self.network.seconds)
        made = ZooKeeperClient(hosts, TIMEOUT, reactor=self.network, **options)
        self.clients.append(made)
        return made

    def connecting(self, hosts: str = f"{HOST}:{PORT}", **options: Any) -> ZooKeeperClient:
        """A client on which `connect` was called, whether it has succeeded or not."""
        client = self.client(hosts, **options)
        ignore_close(client.connect())
        self.network.settle()
        return client

    def connected(self, hosts: str = f"{HOST}:{PORT}", **options: Any) -> ZooKeeperClient:
        """A client that is connected."""
        client = self.client(hosts, **options)
        self.assertIs(self.result(client.connect()), client)
        self.assertIs(client.state, State.CONNECTED)
        return client

    def result(self, deferred: Deferred[T]) -> T:
        """The result of a Deferred, once the network is idle."""
        self.network.settle()
        return self.successResultOf(deferred)

    def failure(self, deferred: Deferred[Any], kind: type[Exception]) -> Any:
        """The error of a Deferred, once the network is idle."""
        self.network.settle()
        return self.failureResultOf(deferred, kind).value

    @property
    def cable(self) -> Cable:
        """The newest connection."""
        return self.network.cables[-1]


def ignore_close(*deferreds: Deferred[Any]) -> None:
    """Ignore that these fail because the client is closed; no other error."""
    for deferred in deferreds:
        deferred.addErrback(lambda failure: failure.trap(ClientClosedError))
